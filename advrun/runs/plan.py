"""From an experiment to its cells: what is to be trained, attacked and measured, each with a key of its content.

The key of a cell hashes its settings, the data, the source code it runs, and the keys of the cells it is made from. An
edited setting, another data set or a corrected attack therefore gives another cell, and old results are never mixed in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from advrun import registry
from advrun.config import AttackEntry, DefenseEntry, Experiment, ModelEntry
from advrun.data import Dataset
from advrun.errors import ConfigError, DataError
from advrun.files import content_key
from advrun.geometry import format_eps
from advrun.results import CLEAN
from advrun.runs.keys import described, source_key, stages, work_key

STAGES = ("train", "attack", "defend")
"""The commands that compute, in order; each does what is missing of the ones before it."""


@dataclass(frozen=True, eq=False)
class Cell:
    """One unit of work.

    kind: train (a model, defended or not), attack (adversarial images), measure (a row), metric (further columns of a row).
    """

    kind: str
    stage: str
    label: str
    key: str
    needs: tuple[Cell, ...]
    model: ModelEntry
    defense: DefenseEntry | None
    seed: int
    attack: AttackEntry | None = None
    eps: float | None = None
    threat: str = "none"
    metric: str = ""

    @property
    def stem(self) -> str:
        """File name without ending: readable, and unique by the start of the key."""
        return f"{re.sub(r'[^A-Za-z0-9.]+', '-', self.label).strip('-')[:150]}-{self.key[:8]}"

    @property
    def system(self) -> Cell:
        """The trained system that this cell attacks or measures; itself when it is one."""
        return self if self.kind == "train" else self.needs[0].system

    @property
    def images(self) -> Cell | None:
        """The cell that crafted the images of a row; None for clean ones."""
        return next((cell for cell in self.needs if cell.kind == "attack"), None)

    @property
    def attack_label(self) -> str:
        return CLEAN if self.attack is None else self.attack.label

    @property
    def norm(self) -> str:
        """The norm of its attack, "" without."""
        return "" if self.attack is None else self.attack.norm

    @property
    def defense_label(self) -> str:
        return "none" if self.defense is None else self.defense.label


@dataclass(frozen=True)
class Plan:
    """All cells of an experiment, each after the ones it needs, those of one system together."""

    experiment: Experiment
    data: Dataset
    cells: tuple[Cell, ...] = field(default=())

    def upto(self, stage: str) -> tuple[Cell, ...]:
        """The cells that `advrun train`, `attack` or `defend` is responsible for."""
        wanted = STAGES[: STAGES.index(stage) + 1]
        return tuple(cell for cell in self.cells if cell.stage in wanted)


def make_plan(experiment: Experiment, data: Dataset) -> Plan:
    """Raises ModelError when a model file is missing, ConfigError when a target is no class of the data set, DataError when training
    images are missing that something learns from."""
    learners: list[ModelEntry | DefenseEntry] = [*(model for model in experiment.models if is_trained(model)), *experiment.defenses]
    if learners and not len(data.y_train):
        raise DataError(f"{data.name}: there are no training images for {learners[0].label!r}; add them, or give a trained model alone")
    for attack in experiment.attacks if all(map(is_trained, experiment.models)) else ():  # trained models may know more classes
        if isinstance(attack.target, int) and attack.target >= data.classes:
            raise ConfigError(f"attack {attack.label!r}: target is {attack.target}; {data.name} has the classes 0 to {data.classes - 1}")
    for attack in experiment.attacks:
        _check_source(attack, data)
    return Plan(experiment, data, tuple(_Planner(experiment, data).cells()))


def _check_source(attack: AttackEntry, data: Dataset) -> None:
    """Raise ConfigError where an attack concerns a class that has no test images, or is its own target."""
    source = attack.source_class
    if source is None:
        return
    if source not in data.y_test:
        raise ConfigError(f"attack {attack.label!r}: source_class is {source}, of which {data.name} has no test image")
    if attack.target == source:
        raise ConfigError(f"attack {attack.label!r}: source_class and target are both {source}; aim at another class")
    if attack_learns(attack) and len(data.y_train) and source not in data.y_train:
        raise ConfigError(f"attack {attack.label!r}: source_class is {source}, of which {data.name} has no training image to learn from")


class _Planner:
    def __init__(self, experiment: Experiment, data: Dataset) -> None:
        self.experiment, self.data = experiment, data
        self._measuring = work_key("measure")

    def cells(self) -> Iterator[Cell]:
        for seed in self.experiment.seeds:
            for model in self.experiment.models:
                yield from self._one_model(model, seed)

    def _one_model(self, model: ModelEntry, seed: int) -> Iterator[Cell]:
        undefended = self._train(model, None, seed, needs=())
        yield undefended
        yield from self._measured(undefended, None, "none", stage="train")
        crafted = []
        for attack, eps in self._attacks():
            images = self._attack(undefended, attack, eps, stage="attack")
            crafted.append(images)
            yield images
            yield from self._measured(undefended, images, "adaptive", stage="attack")
        for defense in self.experiment.defenses:
            system = self._train(model, defense, seed, needs=(undefended,))
            yield system
            yield from self._measured(system, None, "none", stage="defend")
            for images in crafted:
                yield from self._measured(system, images, "static", stage="defend")
            for attack, eps in self._attacks():
                images = self._attack(system, attack, eps, stage="defend")
                yield images
                yield from self._measured(system, images, "adaptive", stage="defend")

    def _attacks(self) -> Iterator[tuple[AttackEntry, float | None]]:
        for attack in self.experiment.attacks:
            for eps in attack.eps or (None,):
                yield attack, eps

    def _train(self, model: ModelEntry, defense: DefenseEntry | None, seed: int, needs: tuple[Cell, ...]) -> Cell:
        plugin = defense or model
        kind = "defenses" if defense else "models"
        training = defense.train if defense else self.experiment.train
        content: dict[str, Any] = {
            "plugin": [kind, plugin.name, described(kind, plugin.name, plugin.settings)],
            "source": source_key(kind, plugin.name, "train"),
        }
        if kind == "defenses" or is_trained(model):
            content |= {
                "train": training.model_dump(),
                "validation": self.experiment.data.validation,
                "mixed_precision": self.experiment.compute.mixed_precision,
                "data": self.data.fingerprint,  # of both splits: a defence may look at either
                "seed": seed,
            }
        else:  # it is read as it is for these images
            content["data"] = self.data.test_fingerprint
        label = f"{model.label}{f' {defense.label}' if defense else ''} seed {seed}"
        stage = "defend" if defense else "train"
        return self._cell("train", stage, label, content, needs, model=model, defense=defense, seed=seed)

    def _attack(self, system: Cell, attack: AttackEntry, eps: float | None, stage: str) -> Cell:
        content = {
            "plugin": ["attacks", attack.name, described("attacks", attack.name, attack.settings)],
            "norm": attack.norm,
            "eps": eps,
            "target": attack.target,
            "examples": min(attack.examples or len(self.data.y_test), len(self.data.y_test)),
            "batch_size": self.experiment.compute.batch_size,
            "seed": system.seed,
            "data": self.data.fingerprint if attack_learns(attack) else self.data.test_fingerprint,
            "source": [source_key("attacks", attack.name, "attack"), *(source_key("attacks", name) for name in stages(attack))],
        }
        if attack.source_class is not None:
            content["source_class"] = attack.source_class
        ball = attack.norm if eps is None else f"{attack.norm} {format_eps(eps).replace('/', ' over ')}"
        label = f"{system.label} {attack.label} {ball}".strip()
        return self._cell("attack", stage, label, content, (system,), like=system, attack=attack, eps=eps)

    def _measured(self, system: Cell, images: Cell | None, threat: str, stage: str) -> Iterator[Cell]:
        """A row, and a cell for each metric of it: another metric makes no row anew."""
        measured = self._measure(system, images, threat, stage)
        yield measured
        for name in registry.names("metrics"):
            content = {"source": source_key("metrics", name, "metric")}
            yield self._cell("metric", stage, f"{measured.label} {name}", content, (measured,), like=measured, metric=name)

    def _measure(self, system: Cell, images: Cell | None, threat: str, stage: str) -> Cell:
        content = {
            "threat": threat,
            "source": self._measuring,
            "data": self.data.test_fingerprint,
            "labels": [system.model.label, system.defense_label, images.attack_label if images else CLEAN],
        }
        needs = (system,) if images is None else (system, images)
        attacked = "clean" if images is None else images.label.removeprefix(images.system.label).strip()
        label = f"{system.label} {attacked} {threat}" if images else f"{system.label} clean"
        attack, eps = (images.attack, images.eps) if images else (None, None)
        return self._cell("measure", stage, label, content, needs, like=system, attack=attack, eps=eps, threat=threat)

    @staticmethod
    def _cell(kind: str, stage: str, label: str, content: Any, needs: tuple[Cell, ...], like: Cell | None = None, **rest: Any) -> Cell:
        if like is not None:
            rest = {name: getattr(like, name) for name in ("model", "defense", "seed", "attack", "eps", "threat")} | rest
        key = content_key([kind, label, content, [needed.key for needed in needs]])
        return Cell(kind=kind, stage=stage, label=label, key=key, needs=needs, **rest)


def is_trained(model: ModelEntry) -> bool:
    """True for architectures, which advrun trains; False for a model that comes with its weights."""
    return bool(registry.get("models", model.name).arguments)


def attack_learns(attack: AttackEntry) -> bool:
    """True for an attack that sees training images, or one of whose stages does."""
    return any(registry.get("attacks", name).learns for name in (attack.name, *stages(attack)))


def learns(experiment: Experiment) -> bool:
    """True where anything of the experiment sees training images: a classifier to be trained, a defence, an attack that learns."""
    return bool(experiment.defenses) or any(map(is_trained, experiment.models)) or any(map(attack_learns, experiment.attacks))
