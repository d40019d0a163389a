"""Certifying: classifier + images + bound -> for each image, how far no attack can reach.

A bound is a pure function of tensors, compiled whole, that is given a batch of images which the system gets right (one that is about
another system, such as a smoothed one, is given all images). What it asks of the system is counted.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from advrun import engine, registry
from advrun.config import BoundEntry
from advrun.console import Bar
from advrun.craft import choose_targets
from advrun.engine import Rng, ops
from advrun.errors import PluginError
from advrun.geometry import GEOMETRIES, Ball
from advrun.images import AnyImages
from advrun.registry import Plugin
from advrun.system import Classifier
from advrun.system.classifier import check_images, check_labels, pad
from advrun.turns import batches
from advrun.types import Tensor

DETAIL = "detail "
"""What the names of further numbers begin with in a checkpoint."""


@dataclass(frozen=True)
class Bound:
    """A bound with all its settings and its norm."""

    plugin: Plugin
    norm: Ball
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Bounds with the same key share one compiled graph."""
        return json.dumps([self.plugin.kind, self.plugin.name, self.norm.form, self.plugin.identity(self.settings)], sort_keys=True)

    def __call__(self, model: Classifier, x: Tensor, y: Tensor, rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        """Radius (n,) and further numbers (n,) by name. Raises UnboundedError where such a system has none.

        Args:
            model: the classifier, or its targeted view.
            x: (n, h, w, c) float32.
            y: (n,) int32, the true classes, or those whose distance is wanted.
            rng: for everything random.
        """
        offered = {"model": model, "system": model.chain, "x": x, "y": y, "norm": self.norm, "rng": rng}
        with engine.keyed(self.plugin.function):
            said = self.plugin.function(**{name: offered[name] for name in self.plugin.arguments}, **self.settings)
        radius, details = said if isinstance(said, tuple) and len(said) == 2 else (said, {})
        return ops.cast(radius, "float32"), {name: ops.cast(value, "float32") for name, value in details.items()}


@dataclass(frozen=True, eq=False)
class Certified:
    """What a bound says. radius: (n,) float32. details: (n,) float32 by name. gradients, queries: (n,) int64. asked: (n,) bool, the
    images that it was given; the radius of the others is 0, and they have no details (NaN). seconds: compilation included. about: what
    the radii are about, in words, where that is another system; else ""."""

    radius: np.ndarray
    details: Mapping[str, np.ndarray]
    gradients: np.ndarray
    queries: np.ndarray
    asked: np.ndarray
    seconds: float
    about: str = ""

    def mean(self, cost: np.ndarray) -> float:
        """Mean over the images that the bound was given."""
        return float(cost[self.asked].mean()) if self.asked.any() else 0.0


def bind(entry: BoundEntry) -> Bound:
    """The bound of a YAML entry."""
    return Bound(registry.get("bounds", entry.name), GEOMETRIES[entry.norm](), dict(entry.settings))


def certify(
    classifier: Classifier,
    bound: Bound,
    x: AnyImages,
    y: np.ndarray,
    *,
    seed: int = 0,
    batch_size: int = 256,
    target: str | int | None = None,
    checkpoints: Any = None,
    bar: Bar | None = None,
    logits: np.ndarray | None = None,
) -> Certified:
    """How far each image's answer holds.

    Args:
        classifier: the system.
        bound: what to run.
        x: (n, h, w, c), uint8 or float32 in [0, 1].
        y: (n,) true classes.
        seed: of everything random.
        batch_size: images at once; halved, with a warning, when they do not fit into memory.
        target: None for the distance to the nearest other class, or that class: a number, "random", "least_likely", "second".
        checkpoints: a `Checkpoints` that finished batches are kept in, and taken from.
        bar: advanced by one for each image.
        logits: (n, classes) of the images where they are known.

    Raises:
        UnboundedError: where the bound cannot be had of such a system. PluginError: where it returns anything but (n,) numbers from 0 on.
    """
    x = engine.to_unit(check_images(x, classifier.image_shape))
    y = check_labels(y, len(x), classifier.classes)
    logits = classifier.predict(x, batch_size) if logits is None else logits
    about = bound.plugin.about_of(classifier.chain, bound.settings)
    asked = np.ones(len(x), bool) if bound.plugin.about else classifier.right(logits, y)
    labels, view = y, classifier
    if target is not None:
        labels, view = choose_targets(target, logits, x, y, seed), classifier.toward()
        asked = asked & (labels != y)
    rows = np.flatnonzero(asked)
    runner = _Batches(view, bound, seed, max(min(batch_size, len(rows)), 1), lambda part: (np.asarray(x[rows[part]]), labels[rows[part]]))
    radius, costs = np.zeros(len(x), np.float32), np.zeros((2, len(x)), np.int64)
    details: dict[str, np.ndarray] = {}
    seconds = 0.0
    for part, found in batches(runner, len(rows), checkpoints):
        batch = rows[part]
        radius[batch], costs[0, batch], costs[1, batch] = found["radius"], found["gradients"], found["queries"]
        for name in (name for name in found if name.startswith(DETAIL)):
            details.setdefault(name.removeprefix(DETAIL), np.full(len(x), np.nan, np.float32))[batch] = found[name]
        seconds += float(found["seconds"])
        if bar is not None:
            bar.advance(len(batch))
    if bar is not None:
        bar.advance(len(x) - len(rows))
    return Certified(radius, details, costs[0], costs[1], asked, seconds, about)


class _Batches:
    """Runs the compiled bound on one batch after the other, all of one shape; a `turns.Runner`."""

    def __init__(
        self, view: Classifier, bound: Bound, seed: int, batch_size: int, images: Callable[[slice], tuple[np.ndarray, np.ndarray]]
    ) -> None:
        self.view, self.bound, self.seed, self.batch_size, self._images = view, bound, seed, batch_size, images

    @cached_property
    def run(self) -> Any:
        def build() -> Any:
            return lambda x, y, key: self.bound(self.view, x, y, Rng(key).of(x))

        return self.view.compiled(self.bound.key, build, xla=not self.bound.plugin.in_python)

    def make(self, rows: slice) -> dict[str, np.ndarray]:
        """Radius, costs, seconds and details."""
        return self._certify(*self._images(rows))

    def room(self, rows: slice) -> int:
        """Plenty."""
        return 1 << 26

    def checked(self, saved: dict[str, np.ndarray], rows: slice) -> dict[str, np.ndarray]:
        """A batch from a checkpoint, if it is one of so many images. Raises ValueError where it is not."""
        return _checked(saved, rows.stop - rows.start)

    def _certify(self, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
        size, counter = self.batch_size, self.view.counter
        clock = time.perf_counter()
        counter.start(size)
        radius, details = self.run(pad(x, size), pad(y, size), Rng.from_seed(self.seed, 0xB0D).key)
        place = registry.place("bounds", self.bound.plugin.name)
        for name, value in {"radius": radius, **details}.items():
            if tuple(value.shape) != (size,):
                raise PluginError(f"{place}: {name!r} is {tuple(value.shape)} for {size} images; expected ({size},)")
        found = {"radius": np.asarray(radius)[: len(x)]}
        found |= {f"{DETAIL}{name}": np.asarray(value)[: len(x)] for name, value in details.items()}
        if not (np.isfinite(found["radius"]) & (found["radius"] >= 0)).all():
            worst = found["radius"][np.argmin(np.isfinite(found["radius"]) & (found["radius"] >= 0))]
            raise PluginError(f"{place}: a radius is {worst:g}; expected numbers from 0 on, 0 where nothing is known")
        counts = {name: count[: len(x)] for name, count in counter.read().items()}
        return {**found, **counts, "seconds": np.array(time.perf_counter() - clock)}


def _checked(saved: dict[str, np.ndarray], n: int) -> dict[str, np.ndarray]:
    """A batch from a checkpoint, if it is one of n images. Raises ValueError where it is not."""
    kinds = {name: (array.shape, array.dtype.kind) for name, array in saved.items() if not name.startswith(DETAIL)}
    expected = {"radius": ((n,), "f"), "gradients": ((n,), "i"), "queries": ((n,), "i"), "seconds": ((), "f")}
    if kinds != expected or any(array.shape not in ((n,), ()) or array.dtype.kind not in "fi" for array in saved.values()):
        raise ValueError(f"it holds {kinds}; expected {expected}")
    if not (saved["radius"] >= 0).all() or not math.isfinite(float(saved["radius"].max(initial=0.0))):
        raise ValueError("radii below zero, or infinite")
    return saved
