"""Rows -> the summary: accuracy per system, attack and threat, over seeds. No formatting here.

A system is a model with a defence. Everything is shown in one order: models, defences and attacks as they first appear in
the results, except that the undefended model and the clean images come first and worst cases last; then eps ascending
(no eps last), threats as in `results.THREATS`, seeds ascending.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean, stdev
from typing import TypeVar

from advrun.results import CLEAN, CLOSEST, THREATS, WORST_CASE, Result, Row, worst_cases

T = TypeVar("T")
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


@dataclass(frozen=True)
class Score:
    """Accuracy of one system under one attack, eps and threat.

    accuracy: mean over seeds, 0 to 1. n: images per seed. seeds: how many.
    margin: one seed: distance to the farther end of the 95 % interval; several: standard deviation over them; None when
        only one of several seeds was measured.
    low, high: one seed: the 95 % interval; several: one standard deviation to either side, within 0 and 1.
    distance: mean over seeds of the mean distance of the images that fooled the system, in the attack's norm (L2 for
        attacks without one), or None.
    """

    accuracy: float
    margin: float | None
    low: float
    high: float
    n: int
    seeds: int
    distance: float | None
    flags: tuple[str, ...]


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

    results: the measured ones and the worst cases, in order. attacks: in order, worst cases last.
    """

    results: list[Result]
    attacks: list[AttackId]

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
        """All flags that occur, in the order of reading."""
        cells = [self.clean(system) for system in self.systems]
        for panel in self.panels:
            for system in self.systems:
                cells += [self.cell(system, panel.attack, eps, threat) for eps in panel.radii for threat in panel.threats]
        return _unique(flag for source in (*cells, *self.rows) if source for flag in source.flags)

    def clean(self, system: System) -> Score | None:
        """Accuracy on clean images."""
        return self._cells.get((system, AttackId(CLEAN, ""), None, "none"))

    def cell(self, system: System, attack: AttackId, eps: float | None, threat: str) -> Score | None:
        """Accuracy under attack, or None where nothing was measured."""
        return self._cells.get((system, attack, eps, threat))

    @cached_property
    def _cells(self) -> Mapping[tuple[System, AttackId, float | None, str], Score]:
        groups = defaultdict(list)
        for row in self.rows:
            groups[_system(row), attack_of(row), row.eps, row.threat].append(row)
        return {key: _cell(rows, len(self.seeds)) for key, rows in groups.items()}

    def _panel(self, attack: AttackId) -> Panel:
        rows = [row for row in self.rows if attack_of(row) == attack]
        radii = sorted({row.eps for row in rows}, key=_radius)
        threats = {row.threat for row in rows}
        return Panel(attack, tuple(radii), tuple(threat for threat in THREATS if threat in threats))


def summarise(results: Sequence[Result]) -> Summary:
    """The summary of measured results; worst cases are added here."""
    results = [*results, *_flag_partial(worst_cases(results))]
    attacks = _unique(attack_of(result.row) for result in results)
    attacks.sort(key=lambda attack: (attack.name != CLEAN, attack.is_worst_case))
    models = _unique(result.row.model for result in results)
    defenses = _unique([UNDEFENDED, *(result.row.defense for result in results)])

    def position(result: Result) -> tuple[float, ...]:
        row = result.row
        system = models.index(row.model), defenses.index(row.defense)
        return (*system, attacks.index(attack_of(row)), _radius(row.eps), THREATS.index(row.threat), row.seed)

    return Summary(sorted(results, key=position), [attack for attack in attacks if attack.name != CLEAN])


def _flag_partial(worst: list[Result]) -> list[Result]:
    """Flag the worst cases that lack an attack (a failed cell) which others of the same norm and eps contain."""
    over: dict[tuple[str, float | None], set[str]] = defaultdict(set)
    for result in worst:
        over[result.row.norm, result.row.eps].update(result.row.settings["over"])

    def flagged(row: Row) -> Row:
        lacking = sorted(over[row.norm, row.eps].difference(row.settings["over"]))
        return replace(row, flags=(*row.flags, f"worst case without {', '.join(lacking)}")) if lacking else row

    return [replace(result, row=flagged(result.row)) for result in worst]


def _cell(rows: list[Row], seeds: int) -> Score:
    values = [row.accuracy for row in rows]
    accuracy = fmean(values)
    margin: float | None = None
    low = high = accuracy
    flags = _unique(flag for row in rows for flag in row.flags)
    if len(rows) < seeds:
        flags.append(f"only {len(rows)} of {seeds} seeds")
    if seeds == 1:
        low, high = rows[0].interval
        margin = max(high - accuracy, accuracy - low)
    elif len(rows) > 1:
        margin = stdev(values)
        low, high = max(0.0, accuracy - margin), min(1.0, accuracy + margin)
    distances = [value for row in rows if (value := row.metrics.get(row.norm or "l2")) is not None]
    distance = fmean(distances) if distances else None
    return Score(accuracy, margin, low, high, min(row.n for row in rows), len(rows), distance, tuple(flags))


def _system(row: Row) -> System:
    return System(row.model, row.defense)


def attack_of(row: Row) -> AttackId:
    """Which attack a row is about."""
    return AttackId(row.attack, row.norm, row.target)


def _unique(values: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(values))


def _radius(eps: float | None) -> float:
    return math.inf if eps is None else eps
