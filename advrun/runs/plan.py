"""From an experiment to its cells: what is to be trained, attacked and measured, each with a key of its content.

The key of a cell hashes its settings, the data, the source code it runs, and the keys of the cells it is made from. An
edited setting, another data set or a corrected attack therefore gives another cell, and old results are never mixed in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from advrun import registry
from advrun.config import AttackEntry, BoundEntry, DefenseEntry, Experiment, ModelEntry
from advrun.data import Dataset
from advrun.errors import ConfigError, DataError
from advrun.files import content_key
from advrun.geometry import format_eps
from advrun.process import uncollected
from advrun.results import CLEAN
from advrun.runs.keys import described, inner, is_random, learning, learning_label, source_key, stages, work_key
from advrun.runs.meetings import ADAPTIVE, NONE, UNDEFENDED, Cast, Meeting, access_of, meet
from advrun.runs.metering import metric_source
from advrun.runs.needs import ability, attack_learns, check_oracles, is_fitted, is_oracle, is_trained, training_of
from advrun.runs.possible import check_batches, check_chains, check_sources, check_targets, check_validation
from advrun.types import SystemName

STAGES = ("train", "attack", "defend")
"""The commands that compute, in order; each does what is missing of the ones before it."""


@dataclass(frozen=True, eq=False)
class Cell:
    """One unit of work.

    kind: train (a model, defended or not), learn (what attacks learn from images alone), attack (adversarial images), measure (a row),
    metric (further columns of a row), probe (the same, by a metric that tries the row's attack again), bound (how far no attack can reach).
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
    access: str = ""
    metric: str = ""
    draws: int | None = None
    """Of a random system, of an attack or of a row; None elsewhere."""
    bound: BoundEntry | None = None

    @property
    def stem(self) -> str:
        """File name without ending: readable, and unique by the start of the key."""
        return stem_of(self.label, self.key)

    @property
    def system(self) -> Cell:
        """The trained system that this cell attacks or measures; itself when it is one."""
        return self if self.kind in ("train", "learn") else self.needs[0].system

    @property
    def learnt(self) -> Cell | None:
        """The cell that learnt what an attack needs, where others may share it."""
        return next((cell for cell in self.needs if cell.kind == "learn"), None)

    @property
    def images(self) -> Cell | None:
        """The cell that crafted the images of a row; None for clean ones."""
        return next((cell for cell in self.needs if cell.kind == "attack"), None)

    @property
    def own(self) -> Cell | None:
        """Of a row whose images were crafted on another system: what that system makes of them, which is a row too. None for others."""
        return next((cell for cell in self.needs if cell.kind == "measure"), None) if self.kind == "measure" else None

    @property
    def source_label(self) -> str:
        """The system that a row's images were crafted on, where it is neither this one nor its undefended model; "" elsewhere."""
        return "" if self.own is None else str(self.own.name)

    @property
    def name(self) -> SystemName:
        """The system, as threats see it."""
        return SystemName(self.model.label, self.defense_label)

    @property
    def stage_of_attacks(self) -> str:
        """The stage in which a system is attacked."""
        return "attack" if self.defense is None else "defend"

    @property
    def attack_label(self) -> str:
        return CLEAN if self.attack is None else self.attack.label

    @property
    def is_widest(self) -> bool:
        """Whether its eps is the largest of its attack's sweep."""
        return self.attack is not None and self.eps is not None and self.eps == max(self.attack.eps)

    @property
    def norm(self) -> str:
        """The norm of its attack, "" without."""
        return "" if self.attack is None else self.attack.norm

    @property
    def defense_label(self) -> str:
        return UNDEFENDED if self.defense is None else self.defense.label


def stem_of(label: str, key: str) -> str:
    """How the files of a cell are called, but for their endings."""
    return f"{re.sub(r'[^A-Za-z0-9.]+', '-', label).strip('-')[:150]}-{key[:8]}"


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


@uncollected()
def make_plan(experiment: Experiment, data: Dataset) -> Plan:
    """Raises ModelError when a model file is missing, ConfigError when a target is no class of the data set, when defences do not fit
    together, or when a model can only be asked where more is needed, DataError when training images are missing that something learns from,
    or have no halves."""
    check_oracles(experiment)
    check_chains(experiment)
    learners: list[ModelEntry | DefenseEntry] = [*filter(is_trained, experiment.models), *filter(is_fitted, experiment.defended)]
    if learners and not len(data.y_train):
        place = experiment.at("models" if isinstance(learners[0], ModelEntry) else "defenses", learners[0].label)
        raise DataError(f"{place}: {data.name} has no training images for {learners[0].label!r}; add them, or give a trained model alone")
    if all(map(is_trained, experiment.models)):  # trained models may know more classes
        check_targets(experiment, data.classes, f"{data.name} has")
    check_sources(experiment, data)
    check_validation(experiment, data)
    trainings = [
        training_of(model, part) for model in experiment.models for part in (None, *sum((e.chain for e in experiment.defended), ()))
    ]
    if any(training and training.half != "all" for training in trainings):
        data.half("a")  # raises where there are no halves
    check_batches(experiment, data)
    cells = tuple(_Planner(experiment, data).cells())
    threats = [threat.name for threat in experiment.threats]
    if experiment.attacks and set(threats) != {NONE} and not any(cell.kind == "attack" for cell in cells):
        place, hint = experiment.at("threats"), "transfer needs a second model, static a defence; add adaptive"
        raise ConfigError(f"{place}: with [{', '.join(threats)}] no example meets any system; {hint}")
    return Plan(experiment, data, cells)


class _Planner:
    """In each seed, system by system: clean images, examples of systems before it, then its own; last what comes from systems behind it."""

    def __init__(self, experiment: Experiment, data: Dataset) -> None:
        self.experiment, self.data = experiment, data
        self._measuring = work_key("measure")
        self._metrics = [(name, metric_source(name)) for name in registry.names("metrics")]
        self._images: dict[tuple[str, Cast], Cell] = {}  # by the key of the system that they were crafted on
        self._learnt: set[str] = set()

    def cells(self) -> Iterator[Cell]:
        for seed in self.experiment.seeds:
            yield from self._one_seed(seed)

    def _one_seed(self, seed: int) -> Iterator[Cell]:
        casts = list(self._attacks())
        defenses = (None, *self.experiment.defended)
        names = [
            SystemName(model.label, defense.label if defense else UNDEFENDED) for model in self.experiment.models for defense in defenses
        ]
        meetings: dict[SystemName, list[Meeting]] = {name: [] for name in names}
        crafted: set[tuple[SystemName | None, Cast | None]] = set()
        for meeting in meet(self.experiment.threats, names, casts, ability(self.experiment)):
            meetings[meeting.target].append(meeting)
            crafted.add((meeting.source, meeting.cast))
        known: dict[SystemName, Cell] = {}
        later: list[Meeting] = []
        for model in self.experiment.models:
            built: dict[str, Cell] = {}
            for defense in defenses:
                system, new = self._system(model, defense, seed, built)
                known[system.name] = system
                yield from new
                own: dict[Cast | None, list[Meeting]] = {cast: [] for cast in casts}
                for meeting in meetings[system.name]:
                    if meeting.source == system.name:
                        own[meeting.cast].append(meeting)
                    elif meeting.source is None or meeting.source in known:
                        yield from self._met(meeting, known)
                    else:
                        later.append(meeting)
                yield from (self._bound(system, bound) for bound in self.experiment.bounds if not is_oracle(model))
                for cast in casts:
                    if (system.name, cast) in crafted:
                        self._images[system.key, cast] = images = self._attack(system, cast.attack, cast.eps, stage=system.stage_of_attacks)
                        if images.learnt and images.learnt.key not in self._learnt:
                            self._learnt.add(images.learnt.key)
                            yield images.learnt
                        yield images
                    for meeting in own[cast]:
                        yield from self._met(meeting, known)
        for meeting in later:
            yield from self._met(meeting, known)

    def _system(self, model: ModelEntry, defense: DefenseEntry | None, seed: int, built: dict[str, Cell]) -> tuple[Cell, list[Cell]]:
        """A model with the parts of a chain upon it, and those of its cells that are new: chains with the same beginning share it."""
        system, new = self._train(model, None, seed, needs=()), []
        for part in (None, *(defense.chain if defense else ())):
            made = self._train(model, part, seed, needs=(system,)) if part else system
            if made.key not in built:
                built[made.key] = made
                new.append(made)
            system = built[made.key]
        return system, new

    def _met(self, meeting: Meeting, known: Mapping[SystemName, Cell]) -> Iterator[Cell]:
        """The row of a meeting, with a cell for each metric."""
        system = known[meeting.target]
        if meeting.source is None or meeting.cast is None:
            yield from self._measured(system, None, meeting.threat, stage=system.stage)
            return
        source = known[meeting.source]
        images = self._images[source.key, meeting.cast]
        own = self._measure(source, images, ADAPTIVE, source.stage_of_attacks) if meeting.foreign else None
        stage = max(system.stage_of_attacks, images.stage, key=STAGES.index)
        yield from self._measured(system, images, meeting.threat, stage, own)

    def _attacks(self) -> Iterator[Cast]:
        for attack in self.experiment.attacks:
            for eps in attack.eps or (None,):
                yield Cast(attack, eps)

    def _train(self, model: ModelEntry, defense: DefenseEntry | None, seed: int, needs: tuple[Cell, ...]) -> Cell:
        plugin = defense or model
        kind = "defenses" if defense else "models"
        training = training_of(model, defense)
        with self.experiment.naming(kind, plugin.label):
            settings = described(kind, plugin.name, plugin.settings)
        content: dict[str, Any] = {
            "plugin": [kind, plugin.name, settings],
            "source": source_key(kind, plugin.name, "train"),
        }
        if training and (defense or is_trained(model)):
            content |= {
                "train": training.identity() | ({"attack": inner(training.robust_attack)} if training.robust_attack else {}),
                "validation": self.experiment.data.validation,
                "mixed_precision": self.experiment.compute.mixed_precision,
                "data": self.data.fingerprint,  # of both splits: a defence may look at either
                "seed": seed,
            }
        elif training:  # it is read as it is for these images
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
        draws = None
        if draws_at_random(system):
            sees_gradients = registry.get("attacks", attack.name).access == "gradients"
            content["draws"] = draws = (attack.draws or self.experiment.draws) if sees_gradients else 1
            content["scored"] = self.experiment.draws  # which images are right without an attack
        ball = attack.norm if eps is None else f"{attack.norm} {format_eps(eps).replace('/', ' over ')}"
        label = f"{system.label} {attack.label} {ball}".strip()
        needs = (system, self._learn(system, attack, stage)) if registry.get("attacks", attack.name).learns_alone else (system,)
        return self._cell("attack", stage, label, content, needs, like=system, attack=attack, eps=eps, draws=draws)

    def _learn(self, system: Cell, attack: AttackEntry, stage: str) -> Cell:
        """What an attack learns from images alone: the key knows neither the attack nor the system."""
        settings, source = learning(attack)
        content: dict[str, Any] = {"settings": settings, "source": source, "seed": system.seed, "data": self.data.fingerprint}
        if attack.source_class is not None:
            content["source_class"] = attack.source_class
        label = f"{learning_label(attack)} seed {system.seed}"
        return self._cell("learn", stage, label, content, (), like=system, attack=attack, eps=None)

    def _bound(self, system: Cell, bound: BoundEntry) -> Cell:
        content = {
            "plugin": ["bounds", bound.name, described("bounds", bound.name, bound.settings)],
            "norm": bound.norm,
            "target": bound.target,
            "examples": min(bound.examples or len(self.data.y_test), len(self.data.y_test)),
            "batch_size": self.experiment.compute.batch_size,
            "seed": system.seed,
            "data": self.data.test_fingerprint,
            "labels": [system.model.label, system.defense_label, bound.label],
            "source": source_key("bounds", bound.name, "bound"),
        }
        label = f"{system.label} {bound.label} {bound.norm}"
        return self._cell("bound", system.stage_of_attacks, label, content, (system,), like=system, bound=bound)

    def _measured(self, system: Cell, images: Cell | None, threat: str, stage: str, own: Cell | None = None) -> Iterator[Cell]:
        """A row, and a cell for each metric of it: another metric makes no row anew."""
        measured = self._measure(system, images, threat, stage, own)
        yield measured
        for name, metric in self._metrics:
            if metric.concerns(measured):
                content = metric.content(measured)
                yield self._cell(metric.work, stage, f"{measured.label} {name}", content, (measured,), like=measured, metric=name)

    def _measure(self, system: Cell, images: Cell | None, threat: str, stage: str, own: Cell | None = None) -> Cell:
        """own: the row of the source under its own images, where these come from elsewhere."""
        content: dict[str, Any] = {
            "threat": threat,
            "source": self._measuring,
            "data": self.data.test_fingerprint,
            "labels": [system.model.label, system.defense_label, images.attack_label if images else CLEAN],
        }
        access = "" if images is None or images.attack is None else access_of(threat, images.attack)
        if access:
            content["access"] = access
        draws = self.experiment.draws if draws_at_random(system) else None
        if draws:
            content["draws"] = draws
        needs = tuple(cell for cell in (system, images, own) if cell is not None)
        attacked = "clean" if images is None else images.label.removeprefix(images.system.label).strip()
        label = f"{system.label} {attacked} {threat}" if images else f"{system.label} clean"
        label += f" from {own.name}" if own else ""
        attack, eps = (images.attack, images.eps) if images else (None, None)
        rest: dict[str, Any] = {"attack": attack, "eps": eps, "threat": threat, "access": access, "draws": draws}
        return self._cell("measure", stage, label, content, needs, like=system, **rest)

    @staticmethod
    def _cell(kind: str, stage: str, label: str, content: Any, needs: tuple[Cell, ...], like: Cell | None = None, **rest: Any) -> Cell:
        if like is not None:
            rest = {name: getattr(like, name) for name in ("model", "defense", "seed", "attack", "eps", "threat", "access", "draws")} | rest
        key = content_key([kind, label, content, [needed.key for needed in needs]])
        return Cell(kind=kind, stage=stage, label=label, key=key, needs=needs, **rest)


def draws_at_random(system: Cell) -> bool:
    """Whether a trained system draws random numbers: one of the defences in it does."""
    return system.defense is not None and any(is_random(part.name) for part in system.defense.chain)
