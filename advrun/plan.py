"""From an experiment to its cells: what is to be trained, attacked and measured, each with a key of its content.

The key of a cell hashes its settings, the data, the source code it runs, and the keys of the cells it is made from. An
edited setting, another data set or a corrected attack therefore gives another cell, and old results are never mixed in.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from advrun import registry
from advrun.data import Dataset
from advrun.errors import ConfigError, DataError
from advrun.geometry import GEOMETRIES, format_eps
from advrun.results import CLEAN
from advrun.store import content_key

STAGES = ("train", "attack", "defend")
"""The commands that compute, in order; each does what is missing of the ones before it."""

CORE = {
    "train": ("engine", "train", "losses", "data", "classifier"),
    "attack": ("engine", "attack", "craft", "executor", "losses", "geometry", "classifier", "data"),
    "measure": ("engine", "geometry", "craft", "evaluate", "executor", "results", "classifier", "data"),
}
"""Modules and packages whose source belongs to the key of a cell, beside the plugin's own file and the helpers of its folder."""


@dataclass(frozen=True, eq=False)
class Cell:
    """One unit of work. kind: train (a model, defended or not), attack (adversarial images), measure (a row)."""

    kind: str
    stage: str
    label: str
    key: str
    needs: tuple[Cell, ...]
    model: Any
    defense: Any
    seed: int
    attack: Any = None
    eps: float | None = None
    threat: str = "none"

    @property
    def stem(self) -> str:
        """File name without ending: readable, and unique by the start of the key."""
        return f"{re.sub(r'[^A-Za-z0-9.]+', '-', self.label).strip('-')[:150]}-{self.key[:8]}"

    @property
    def system(self) -> Cell:
        """The trained system that this cell attacks or measures; itself when it is one."""
        return self if self.kind == "train" else self.needs[0]

    @property
    def attack_label(self) -> str:
        return CLEAN if self.attack is None else self.attack.label

    @property
    def defense_label(self) -> str:
        return "none" if self.defense is None else self.defense.label


@dataclass(frozen=True)
class Plan:
    """All cells of an experiment, each after the ones it needs, those of one system together."""

    experiment: Any
    data: Dataset
    cells: tuple[Cell, ...] = field(default=())

    def upto(self, stage: str) -> tuple[Cell, ...]:
        """The cells that `advrun train`, `attack` or `defend` is responsible for."""
        wanted = STAGES[: STAGES.index(stage) + 1]
        return tuple(cell for cell in self.cells if cell.stage in wanted)


def make_plan(experiment: Any, data: Dataset) -> Plan:
    """Raises ModelError when a model file is missing, ConfigError when a target is no class of the data set, DataError when training
    images are missing that something learns from."""
    learners = [*(model for model in experiment.models if is_trained(model)), *experiment.defenses]
    if learners and not len(data.y_train):
        raise DataError(f"{data.name}: there are no training images for {learners[0].label!r}; add them, or give a trained model alone")
    for attack in experiment.attacks:
        if isinstance(attack.target, int) and attack.target >= data.classes:
            raise ConfigError(f"attack {attack.label!r}: target is {attack.target}; {data.name} has the classes 0 to {data.classes - 1}")
    return Plan(experiment, data, tuple(_Planner(experiment, data).cells()))


class _Planner:
    def __init__(self, experiment: Any, data: Dataset) -> None:
        self.experiment, self.data = experiment, data

    def cells(self) -> Iterator[Cell]:
        for seed in self.experiment.seeds:
            for model in self.experiment.models:
                yield from self._one_model(model, seed)

    def _one_model(self, model: Any, seed: int) -> Iterator[Cell]:
        undefended = self._train(model, None, seed, needs=())
        yield undefended
        yield self._measure(undefended, None, "none", stage="train")
        crafted = []
        for attack, eps in self._attacks():
            images = self._attack(undefended, attack, eps, stage="attack")
            crafted.append(images)
            yield images
            yield self._measure(undefended, images, "adaptive", stage="attack")
        for defense in self.experiment.defenses:
            system = self._train(model, defense, seed, needs=(undefended,))
            yield system
            yield self._measure(system, None, "none", stage="defend")
            for images in crafted:
                yield self._measure(system, images, "static", stage="defend")
            for attack, eps in self._attacks():
                images = self._attack(system, attack, eps, stage="defend")
                yield images
                yield self._measure(system, images, "adaptive", stage="defend")

    def _attacks(self) -> Iterator[tuple[Any, float | None]]:
        for attack in self.experiment.attacks:
            for eps in attack.eps or (None,):
                yield attack, eps

    def _train(self, model: Any, defense: Any, seed: int, needs: tuple[Cell, ...]) -> Cell:
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
                "data": self.data.fingerprint,
                "seed": seed,
            }
        label = f"{model.label}{f' {defense.label}' if defense else ''} seed {seed}"
        stage = "defend" if defense else "train"
        return self._cell("train", stage, label, content, needs, model=model, defense=defense, seed=seed)

    def _attack(self, system: Cell, attack: Any, eps: float | None, stage: str) -> Cell:
        content = {
            "plugin": ["attacks", attack.name, described("attacks", attack.name, attack.settings)],
            "norm": attack.norm,
            "eps": eps,
            "target": attack.target,
            "examples": min(attack.examples or len(self.data.y_test), len(self.data.y_test)),
            "batch_size": self.experiment.compute.batch_size,
            "seed": system.seed,
            "data": self.data.fingerprint,
            "source": [source_key("attacks", name, "attack") for name in (attack.name, *stages(attack))],
        }
        ball = attack.norm if eps is None else f"{attack.norm} {format_eps(eps).replace('/', ' over ')}"
        label = f"{system.label} {attack.label} {ball}".strip()
        return self._cell("attack", stage, label, content, (system,), like=system, attack=attack, eps=eps)

    def _measure(self, system: Cell, images: Cell | None, threat: str, stage: str) -> Cell:
        metrics = {name: source_key("metrics", name, "measure") for name in registry.names("metrics")}
        content = {
            "threat": threat,
            "metrics": metrics,
            "data": self.data.fingerprint,
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
            rest = {"model": like.model, "defense": like.defense, "seed": like.seed, **rest}
        key = content_key([kind, label, content, [needed.key for needed in needs]])
        return Cell(kind=kind, stage=stage, label=label, key=key, needs=needs, **rest)


def stages(attack: Any) -> list[str]:
    """Names of the attacks that a cascade is made of."""
    plugin = registry.get("attacks", attack.name)
    if not plugin.is_cascade:
        return []
    return sorted({stage.attack for stage in plugin.function(GEOMETRIES[attack.norm](), **attack.settings)})


def is_trained(model: Any) -> bool:
    """True for architectures, which advrun trains; False for a model that comes with its weights."""
    return bool(registry.get("models", model.name).arguments)


def described(kind: str, name: str, settings: Any) -> dict[str, Any]:
    """The settings as plain data; a file is described by its bytes instead of its path. Raises ModelError where one is missing."""
    plugin = registry.get(kind, name)
    plain = plugin.identity(settings)
    for key, value in settings.items():
        if plugin.settings[key].is_attack:
            inner = described("attacks", value.name, value.settings)
            plain[key] = [value.name, value.norm, value.eps, inner, source_key("attacks", value.name, "attack")]
    return plain


@cache
def source_key(kind: str, name: str, work: str) -> str:
    """Hash of the code that a cell runs, comments and docstrings aside."""
    return content_key([_code(file) for file in sources(kind, name, work)])


def sources(kind: str, name: str, work: str) -> list[Path]:
    """The files of the code that a cell runs: the plugin's own, the helpers of its folder, and the core's."""
    folder = registry.PACKAGE / kind
    files = [folder / f"{name}.py", *sorted(folder.glob("_*.py"))]
    for module in CORE[work]:
        files += sorted((registry.PACKAGE / module).glob("*.py")) or [registry.PACKAGE / f"{module}.py"]
    return files


@cache
def _code(file: Path) -> str:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)
