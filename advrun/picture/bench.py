"""What a picture can meet: the finished systems of a results folder, its test images, and the attacks of its configuration."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from advrun import defend, engine, registry
from advrun.config import AttackEntry, Experiment
from advrun.data import Dataset
from advrun.errors import ConfigError, DataError, ModelError, did_you_mean
from advrun.results import REJECTED
from advrun.runs.needs import is_oracle
from advrun.runs.opened import fitted, known_classes
from advrun.runs.plan import Cell, make_plan
from advrun.runs.runner import folder, load_data
from advrun.runs.store import Store
from advrun.system import Classifier
from advrun.types import SystemName

POOL = 512
"""Test images that attacks start from which start from other images."""


@dataclass(frozen=True)
class Attacking:
    """An attack of the configuration, and the radii that it has there, the smallest first; none for one without a ball."""

    entry: AttackEntry
    radii: tuple[float, ...]

    @property
    def label(self) -> str:
        return self.entry.label

    @property
    def is_bounded(self) -> bool:
        """True for attacks inside a ball, whose eps can be chosen."""
        return registry.get("attacks", self.entry.name).needs_eps


class Bench:
    """The systems, images and attacks of one experiment, its first seed.

    systems: those that are finished. missing: names of those that are not. omitted: attacks that no single picture can meet, and why.
    """

    def __init__(self, experiment: Experiment, data: Dataset, store: Store, cells: dict[SystemName, Cell], missing: list[SystemName]):
        self.experiment, self.data, self.store, self.missing = experiment, data, store, missing
        self._cells = cells
        self._loaded: dict[SystemName, Classifier] = {}
        self._loading = threading.Lock()
        learning = [entry for entry in experiment.attacks if _learns_first(entry)]
        self.omitted = {entry.label: "it learns from many images before it attacks the first" for entry in learning}
        self.attacks = tuple(Attacking(entry, tuple(sorted(entry.eps))) for entry in experiment.attacks if entry not in learning)
        rows = data.evaluation_order()[:POOL]
        self.pool = np.asarray(data.x_test[np.sort(rows)]), data.y_test[np.sort(rows)]

    @property
    def systems(self) -> tuple[SystemName, ...]:
        return tuple(self._cells)

    @property
    def models(self) -> tuple[str, ...]:
        """Labels of the models whose undefended system is finished."""
        return tuple(dict.fromkeys(name.model for name in self._cells))

    def defenses(self, model: str) -> tuple[SystemName, ...]:
        """The finished defended systems of a model."""
        return tuple(name for name in self._cells if name.model == model and name.defended)

    def attack(self, label: str) -> Attacking:
        """Raises ConfigError where there is none of this label."""
        known = {each.label: each for each in self.attacks}
        if label in self.omitted:
            raise ConfigError(f"attack {label!r} meets no single picture: {self.omitted[label]}")
        if label not in known:
            raise ConfigError(f"there is no attack {label!r}{did_you_mean(label, known)}")
        return known[label]

    def system(self, model: str, defense: str = "none") -> SystemName:
        """Raises ModelError where there is none, or it is not finished."""
        name = SystemName(model, defense)
        if name in self.missing:
            raise ModelError(f"{name} is not built yet: advrun run CONFIG builds it")
        if name not in self._cells:
            raise ModelError(f"there is no system {str(name)!r}{did_you_mean(str(name), map(str, self._cells))}")
        return name

    def classifier(self, name: SystemName) -> Classifier:
        """The trained system, read when it is first asked for."""
        with self._loading:
            if name not in self._loaded:
                cell = self._cells[name]
                ending = defend.FILE if self.store.finished(cell).has(defend.FILE) else ".keras"
                self._loaded[name] = Classifier(self.store.read(cell, ending, defend.load), name=str(name))
            return self._loaded[name]

    def loaded(self, name: SystemName) -> Classifier | None:
        """The system where it was asked for before; never waits."""
        return self._loaded.get(name)

    def class_name(self, label: int) -> str:
        return self.data.class_names[label] if label < self.data.classes else REJECTED

    def label(self, text: str) -> int:
        """The class of a name, whatever its capitals, or of a number. Raises DataError."""
        names = [name.casefold() for name in self.data.class_names]
        if names.count(text.strip().casefold()) == 1:
            return names.index(text.strip().casefold())
        if text.strip().isdecimal() and int(text) < self.data.classes:
            return int(text)
        raise DataError(f"there is no class {text!r:.100}{did_you_mean(text, self.data.class_names)}")


def open_bench(experiment: Experiment, config: Path | str) -> Bench:
    """What is there for a picture to meet. config: how messages name the configuration.

    Raises:
        ModelError: where no undefended model is finished, or models can only be asked. ConfigError: where there is no attack for a picture.
        DataError: where the data set cannot be read.
    """
    asked = [entry.label for entry in experiment.models if is_oracle(entry)]
    if asked:
        raise ModelError(f"{config}: model {asked[0]!r} can only be asked, and each answer may cost; take a model that lies on the disk")
    data, store = load_data(experiment), folder(experiment)
    plan = make_plan(experiment, data)
    trained = [cell for cell in plan.cells if cell.kind == "train" and cell.seed == experiment.seeds[0]]
    cells, missing, known = {}, [], {}
    for model in experiment.models:
        for defense in (None, *experiment.defended):
            cell = next(each for each in trained if each.model == model and each.defense == defense)
            manifest = store.manifest(cell)
            if manifest is None:
                missing.append(cell.name)
                continue
            cells[cell.name] = cell
            if defense is None and (classes := known_classes(manifest.info)) is not None:
                known[model.label] = classes
    if not cells:
        raise ModelError(f"{store.root}: no system is trained yet; make them by: advrun run {config}")
    data = fitted(replace(data, x_train=data.x_train[:0], y_train=data.y_train[:0], group=None), known, experiment)
    bench = Bench(experiment, data, store, cells, missing)
    if not bench.attacks:
        why = f": {next(iter(bench.omitted.values()))}" if bench.omitted else ""
        raise ConfigError(f"{config}: it has no attack for one picture{why}; add one, such as {{name: pgd, eps: 8/255}}")
    compute = experiment.compute
    engine.start(experiment.seeds[0], deterministic=compute.deterministic, mixed_precision=False, jit=compute.jit)
    return bench


def not_built(bench: Bench, config: Path | str) -> str:
    """One line about what is missing, "" where nothing is."""
    names = ", ".join(map(str, bench.missing))
    return (
        f"not built yet, and left out: {names}; advrun run {config} builds {'it' if len(bench.missing) == 1 else 'them'}" if names else ""
    )


def _learns_first(entry: AttackEntry) -> bool:
    from advrun.runs.keys import stages

    return any(registry.get("attacks", name).fit is not None for name in (entry.name, *stages(entry)))
