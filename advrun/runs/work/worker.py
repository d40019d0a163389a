"""What the kinds of work share: the data, and the system that the last cell had loaded."""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from advrun import defend, engine
from advrun.config import Experiment
from advrun.console import Console
from advrun.data import Dataset
from advrun.errors import ModelError
from advrun.images import AnyImages
from advrun.runs.opened import Opened
from advrun.runs.plan import Cell, Plan, draws_at_random
from advrun.runs.store import Store
from advrun.system import Classifier
from advrun.system.check import check_against_keras
from advrun.system.stages import Chain

CHECKED_IMAGES = 2000
"""Images on which a system must predict what plain Keras does."""

Files = Mapping[str, Callable[[Path], Any]]
T = TypeVar("T")
Done = tuple[Files, dict[str, Any]]


class Worker:
    """Does single cells, one after the other; keeps the system of the last one loaded."""

    def __init__(self, plan: Plan, store: Store, console: Console, opened: Opened) -> None:
        self.experiment: Experiment = plan.experiment
        self.data: Dataset = opened.data
        self.opened = opened
        self.store, self.console = store, console
        self.order = opened.data.evaluation_order()
        self._loaded: Loaded | None = None
        self._last: dict[str, tuple[str, Any]] = {}

    def run(self, cell: Cell) -> None:
        """Do the work of a cell, and finish it in the store."""
        compute = self.experiment.compute
        engine.start(cell.seed, deterministic=compute.deterministic, mixed_precision=compute.mixed_precision, jit=compute.jit)
        work: Callable[[Worker, Cell], Done] = getattr(importlib.import_module(f"advrun.runs.work.{cell.kind}"), cell.kind)
        files, info = work(self, cell)
        self.store.finish(cell, files, {**info, **environment()})
        self.store.checkpoints(cell).clear()

    def last(self, key: str, make: Callable[[], T], slot: str = "row") -> T:
        """What `make` makes, which the next cell may ask for again under the same key. One thing is kept in each slot."""
        if self._last.get(slot, ("", None))[0] != key:
            self._last.pop(slot, None)
            self._last[slot] = key, make()
        made: T = self._last[slot][1]
        return made

    @property
    def batch_size(self) -> int:
        return self.experiment.compute.batch_size

    @cached_property
    def checked(self) -> AnyImages:
        """The images that `check_against_keras` sees, uint8."""
        return self.data.x_test[self.order[:CHECKED_IMAGES]]

    def system(self, cell: Cell) -> Loaded:
        """The trained system of a cell, checked against plain Keras."""
        if self._loaded is None or self._loaded.key != cell.key:
            self._loaded = None
            self._loaded = Loaded(cell.key, self.opened.boxes.get(cell.model.label) or self._classifier(cell), self)
        return self._loaded

    def _classifier(self, cell: Cell) -> Classifier:
        chain = self.read(cell)
        self.check_fits(chain.network)  # the file may be older than the data
        if chain.random and not draws_at_random(cell):
            raise ModelError(f"defence {cell.defense_label!r}: it makes a random purifier; write random=True where its file makes it")
        classifier = Classifier(chain, name=cell.label, draws=self.experiment.draws, seed=cell.seed)
        check_against_keras(classifier, chain, self.checked, self.batch_size)
        return classifier

    def read(self, cell: Cell) -> Chain:
        """The trained system of a cell, from its file."""
        return self.store.read(cell, self.ending(cell), defend.load)

    def ending(self, cell: Cell) -> str:
        """Of the file that holds the trained system of a cell."""
        return defend.FILE if self.store.finished(cell).has(defend.FILE) else ".keras"

    def check_fits(self, model: Any) -> None:
        """Raise ModelError unless the model takes the data's images and knows its classes."""
        if model.output_shape[-1] != self.data.classes:
            raise ModelError(
                f"model {model.name!r} has {model.output_shape[-1]} classes, data set {self.data.name} has {self.data.classes}"
            )
        if any(side not in (None, ours) for side, ours in zip(model.input_shape[1:], self.data.image_shape, strict=True)):
            raise ModelError(
                f"model {model.name!r} takes images {model.input_shape[1:]}, data set {self.data.name} has {self.data.image_shape}"
            )


class Loaded:
    """A loaded classifier, with what it says to the clean test images."""

    def __init__(self, key: str, classifier: Classifier, worker: Worker) -> None:
        self.key, self.classifier, self._worker = key, classifier, worker
        self._clean = np.empty((0, classifier.classes), np.float32)

    def clean(self, count: int) -> np.ndarray:
        """Logits (count, classes) of the first clean images of the evaluation order; each image is asked about once."""
        known = len(self._clean)
        if known < count:
            images = self._worker.data.x_test[self._worker.order[known:count]]
            logits = self.classifier.predict(images, self._worker.batch_size)
            self._clean = np.concatenate([self._clean, logits]) if known else logits
        return self._clean[:count]

    def clean_of(self, rows: np.ndarray) -> np.ndarray:
        """Logits (m, classes) of those clean test images."""
        places = np.argsort(self._worker.order)[rows]  # the order is a permutation
        return self.clean(int(places.max()) + 1)[places]


def environment() -> dict[str, str]:
    """Versions and device, for the manifest."""
    packages = ("advrun", "tensorflow", "keras", "numpy")
    return {
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in packages},
        "device": engine.devices()[0],
    }
