"""Rows -> the summary: accuracy per system, attack and threat, over seeds. No formatting here.

A system is a model with a defence. Everything is shown in one order: models, defences and attacks as they first appear in
the results, except that the undefended model and the clean images come first and worst cases last; then eps ascending
(no eps last), threats as in `results.THREATS`, sources as they first appear, seeds ascending.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, wraps
from statistics import fmean, stdev
from typing import Any, TypeVar, cast

from advrun.config import Sweep
from advrun.flags import in_order
from advrun.meanings import ATTACKS_MISSING, SEEDS_MISSING
from advrun.optimality import COLUMN
from advrun.process import uncollected
from advrun.results import CLEAN, CLOSEST, THREATS, WORST_CASE, Result, Row
from advrun.worst import worst_cases

T = TypeVar("T")
Function = TypeVar("Function", bound=Callable[..., Any])
UNDEFENDED = "none"


@dataclass(frozen=True)
class System:
    """What is under attack."""

    model: str
    defense: str

    @property
    def undefended(self) -> bool:
        return self.defense == UNDEFENDED


@dataclass(frozen=True)
class AttackId:
    """One attack, or the worst case over attacks (without eps: the closest example), in one norm; target as in `results.Row`."""

    name: str
    norm: str
    target: str = ""

    @property
    def is_worst_case(self) -> bool:
        return self.name in (WORST_CASE, CLOSEST)


Planned = tuple[str, str]
"""A model and an attack that is to be crafted on it: not every model gives every attack what it needs."""
Place = tuple[System, AttackId, float | None, str]
"""System, attack, eps and threat: where a number stands in the summary."""
CLEAN_ATTACK = AttackId(CLEAN, "")


@dataclass(frozen=True)
class Score:
    """Accuracy of one system under one attack, eps and threat.

    accuracy: mean over seeds, 0 to 1. n: images per seed. seeds: how many.
    margin: one seed: distance to the farther end of the 95 % interval; several: standard deviation over them; None when
        only one of several seeds was measured.
    low, high: one seed: the 95 % interval; several: one standard deviation to either side, within 0 and 1.
    flags: of these rows, and of the system's clean ones. row: where the first of them stands in `Summary.rows`.
    distance, median: means over seeds of the mean and median distance of the images that fooled the system, in the attack's
        norm (L2 for attacks without one), or None. fooled: how many images these are over, all seeds together, None if unknown.
    optimality: of an attack that was measured against a ledger, the mean over seeds; else None.
    """

    accuracy: float
    margin: float | None
    low: float
    high: float
    n: int
    seeds: int
    distance: float | None
    median: float | None
    fooled: int | None
    flags: tuple[str, ...]
    row: int
    optimality: float | None = None


@dataclass(frozen=True)
class Panel:
    """One attack with the eps and the threats for which there is at least one number."""

    attack: AttackId
    radii: tuple[float | None, ...]
    threats: tuple[str, ...]

    @property
    def minimal(self) -> bool:
        """True for attacks without eps, which make the distance itself small."""
        return self.radii == (None,)


@dataclass(frozen=True, eq=False)
class Summary:
    """All cells, and where to look for them.

    results: the measured ones and the worst cases, in order. attacks: in order, worst cases last. sweeps: defences at several strengths.
    kept: what was found of it `once`.
    """

    results: list[Result]
    attacks: list[AttackId]
    sweeps: tuple[Sweep, ...] = ()
    kept: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        """Other processes find it anew."""
        return {**self.__dict__, "kept": {}}

    @cached_property
    def rows(self) -> list[Row]:
        return [result.row for result in self.results]

    @cached_property
    def systems(self) -> list[System]:
        return _unique(_system(row) for row in self.rows)

    @cached_property
    def models(self) -> list[str]:
        return _unique(row.model for row in self.rows)

    @cached_property
    def seeds(self) -> list[int]:
        return sorted({row.seed for row in self.rows})

    @cached_property
    def panels(self) -> list[Panel]:
        """Worst cases first, then attack by attack."""
        return [self._panel(attack) for attack in sorted(self.attacks, key=lambda attack: not attack.is_worst_case)]

    @cached_property
    def flags(self) -> list[str]:
        """All flags that occur, in the order of `flags.MEANINGS`."""
        return in_order(flag for cell in self.cells.values() for flag in cell.flags)

    def clean(self, system: System) -> Score | None:
        """Accuracy on clean images."""
        return self.cells.get((system, CLEAN_ATTACK, None, "none"))

    def cell(self, system: System, attack: AttackId, eps: float | None, threat: str) -> Score | None:
        """Accuracy under attack, or None where nothing was measured."""
        return self.cells.get((system, attack, eps, threat))

    def outcomes(self, system: System, attack: AttackId, eps: float | None, threat: str) -> Mapping[int, Result]:
        """What is behind a cell, by seed; empty where nothing was measured."""
        return self._groups.get((system, attack, eps, threat), {})

    @cached_property
    def _groups(self) -> Mapping[Place, dict[int, Result]]:
        groups: dict[Place, dict[int, Result]] = defaultdict(dict)
        for result in filter(_own, self.results):
            groups[_system(result.row), attack_of(result.row), result.row.eps, result.row.threat][result.row.seed] = result
        return groups

    @cached_property
    def cells(self) -> Mapping[Place, Score]:
        """Every accuracy of the summary, by where it stands."""
        numbers = {result: number for number, result in enumerate(self.results)}
        return {place: self._score(place[0], list(results.values()), numbers) for place, results in self._groups.items()}

    def _score(self, system: System, results: list[Result], numbers: Mapping[Result, int]) -> Score:
        rows = [result.row for result in results]
        clean = self.outcomes(system, CLEAN_ATTACK, None, "none")
        doubted = [*rows, *(clean[row.seed].row for row in rows if row.seed in clean)]  # what is chance when clean is chance under attack
        return _cell(rows, [flag for row in doubted for flag in row.flags], len(self.seeds), numbers[results[0]])

    def _panel(self, attack: AttackId) -> Panel:
        rows = [row for row in self.rows if attack_of(row) == attack and not row.source]
        radii = sorted({row.eps for row in rows}, key=_radius)
        threats = {row.threat for row in rows}
        return Panel(attack, tuple(radii), tuple(sorted(threats, key=_threat)))


def once(function: Function) -> Function:
    """A function of a summary, and of what can be hashed, that is called once for each: several files of a report show the same."""

    @wraps(function)
    def found(summary: Summary, *args: Hashable, **kwargs: Hashable) -> Any:
        key = function, args, tuple(kwargs.items())
        if key not in summary.kept:
            summary.kept[key] = function(summary, *args, **kwargs)
        return summary.kept[key]

    return cast(Function, found)


@uncollected()
def summarise(results: Sequence[Result], sweeps: Sequence[Sweep] = (), planned: frozenset[Planned] | None = None) -> Summary:
    """The summary of measured results; worst cases are added here.

    sweeps: which of the defences are one at several strengths. planned: which attacks are to be crafted on which models; None for all.
    """
    results = [*results, *_flag_partial(worst_cases(results), planned)]
    attacks = _unique(attack_of(result.row) for result in results)
    attacks.sort(key=lambda attack: (attack.name != CLEAN, attack.is_worst_case))
    models = _unique(result.row.model for result in results)
    defenses = _unique([UNDEFENDED, *(result.row.defense for result in results)])

    sources = _unique(result.row.source for result in results)

    def position(result: Result) -> tuple[Any, ...]:
        row = result.row
        system = models.index(row.model), defenses.index(row.defense)
        place = attacks.index(attack_of(row)), _radius(row.eps), *_threat(row.threat), sources.index(row.source)
        return (*system, *place, row.seed)

    return Summary(sorted(results, key=position), [attack for attack in attacks if attack.name != CLEAN], tuple(sweeps))


def _flag_partial(worst: list[Result], planned: frozenset[Planned] | None) -> list[Result]:
    """Flag the worst cases that lack an attack (a failed cell) which others of the same norm and eps contain, and which was to be there."""
    over: dict[tuple[str, float | None], set[str]] = defaultdict(set)
    for result in worst:
        over[result.row.norm, result.row.eps].update(result.row.settings["over"])

    def flagged(row: Row) -> Row:
        missing = over[row.norm, row.eps].difference(row.settings["over"])
        lacking = sorted(name for name in missing if planned is None or (row.model, name) in planned)
        return replace(row, flags=(*row.flags, f"{ATTACKS_MISSING}: {', '.join(lacking)}")) if lacking else row

    return [replace(result, row=flagged(result.row)) for result in worst]


def _cell(rows: list[Row], flags: list[str], seeds: int, row: int) -> Score:
    values = [row.accuracy for row in rows]
    accuracy = fmean(values)
    margin: float | None = None
    low = high = accuracy
    if len(rows) < seeds:
        flags = [*flags, f"{SEEDS_MISSING}: {len(rows)} of {seeds}"]
    if seeds == 1:
        low, high = rows[0].interval
        margin = max(high - accuracy, accuracy - low)
    elif len(rows) > 1:
        margin = stdev(values)
        low, high = max(0.0, accuracy - margin), min(1.0, accuracy + margin)
    norm = rows[0].norm or "l2"
    fooled = _known(rows, "fooled")
    return Score(
        accuracy=accuracy,
        margin=margin,
        low=low,
        high=high,
        n=min(row.n for row in rows),
        seeds=len(rows),
        distance=_mean(_known(rows, norm)),
        median=_mean(_known(rows, f"{norm}_median")),
        fooled=round(sum(fooled)) if fooled else None,
        flags=tuple(in_order(flags)),
        row=row,
        optimality=_mean(_known(rows, COLUMN)),
    )


def _mean(values: list[float]) -> float | None:
    return fmean(values) if values else None


def _known(rows: list[Row], metric: str) -> list[float]:
    return [value for row in rows if (value := row.metrics.get(metric)) is not None]


def _system(row: Row) -> System:
    return System(row.model, row.defense)


def attack_of(row: Row) -> AttackId:
    """Which attack a row is about."""
    return AttackId(row.attack, row.norm, row.target)


def _unique(values: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(values))


def _own(result: Result) -> bool:
    """Whether the images were crafted on the system itself, or on its undefended model; others are in `transfer.py`."""
    return not result.row.source


def _threat(threat: str) -> tuple[int, str]:
    """Place among the threats; those of one's own by name, behind ours."""
    return (THREATS.index(threat), "") if threat in THREATS else (len(THREATS), threat)


def _radius(eps: float | None) -> float:
    return math.inf if eps is None else eps
