"""What crosses over from model to model: for each attack a matrix of sources and targets.

Everything is over images that source and target both got right. Beside what comes from elsewhere, a matrix has what a source's examples do
to itself (the threat adaptive) and to its model's own defences (static).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Any

import numpy as np

from advrun.agreement import Agreement, agreement
from advrun.flags import below
from advrun.report.summary import AttackId, Summary, attack_of
from advrun.results import CLEAN, Result, Row
from advrun.types import SystemName

LEVEL = 0.05
"""Of all tests of one matrix together (Holm)."""
Z = 1.959964
"""Of a 95 % interval."""
Pair = tuple[SystemName, SystemName]
"""Source and target."""


@dataclass(frozen=True)
class Crossing:
    """One place of a matrix: examples of a source on a target.

    found: over all seeds together. share: of the images that both got right, those that fool the target: the mean over seeds, None where
    there are none. low, high: its exact 95 % interval, of several seeds one standard deviation to either side. beyond: whether both say the
    same wrong class more often than by chance, all places of the matrix tested together.
    """

    source: SystemName
    target: SystemName
    threat: str
    seeds: int
    found: Agreement
    share: float | None
    low: float
    high: float
    beyond: bool = False


@dataclass(frozen=True, eq=False)
class Matrix:
    """One attack at one eps.

    tries, hits: for each pair of undefended models whose clean accuracy is not in doubt, (images,) int: how many of the seeds got the image
        right with both, and of them, how often the source's example fooled the target.
    """

    attack: AttackId
    eps: float | None
    settings: Mapping[str, Any]
    crossings: tuple[Crossing, ...]
    tries: Mapping[Pair, np.ndarray]
    hits: Mapping[Pair, np.ndarray]

    @property
    def sources(self) -> list[SystemName]:
        return list(dict.fromkeys(each.source for each in self.crossings))

    @property
    def targets(self) -> list[SystemName]:
        return list(dict.fromkeys(each.target for each in self.crossings))

    def at(self, source: SystemName, target: SystemName) -> Crossing | None:
        return next((each for each in self.crossings if (each.source, each.target) == (source, target)), None)

    @property
    def carried(self) -> float | None:
        """What crosses over between undefended models, of all images that both models of a pair got right."""
        tried = sum(int(each.sum()) for each in self.tries.values())
        return sum(int(each.sum()) for each in self.hits.values()) / tried if tried else None


@dataclass(frozen=True)
class Lead:
    """How much more of one attack's examples cross over than of another's, on the same images and pairs, with a 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def apart(self) -> bool:
        return not self.low <= 0 <= self.high


def lead(first: Matrix, second: Matrix) -> Lead | None:
    """Over the pairs of undefended models and the images that both have; None without any.

    Pairs share their images: the spread is that between images, each with all its pairs, and the interval that of a ratio of means.
    """
    pairs = [pair for pair in first.tries if pair in second.tries]
    n = min((len(matrix.tries[pair]) for pair in pairs for matrix in (first, second)), default=0)
    weight = sum((first.tries[pair][:n] for pair in pairs), np.zeros(n, int))
    if n < 2 or not weight.sum():
        return None
    difference = sum((first.hits[pair][:n] - second.hits[pair][:n] for pair in pairs), np.zeros(n, int))
    value = float(difference.sum() / weight.sum())
    spread = difference - value * weight
    error = math.sqrt(float((spread**2).sum()) * n / (n - 1)) / float(weight.sum())
    return Lead(value, value - Z * error, value + Z * error)


def matrices(summary: Summary) -> list[Matrix]:
    """Of every attack and eps whose examples were shown to another system, in the order of the summary."""
    places = dict.fromkeys((attack_of(row), row.eps) for row in summary.rows if row.source)
    return [matrix for attack, eps in places if (matrix := _Gathered(summary, attack, eps).matrix()).crossings]


@dataclass(frozen=True)
class _Seen:
    """One seed of one place: the arrays of `agreement`."""

    y: np.ndarray
    common: np.ndarray
    source: np.ndarray
    target: np.ndarray

    @property
    def hits(self) -> np.ndarray:
        return self.common & (self.target != self.y)


class _Gathered:
    """The results of one attack at one eps, by what they say of sources and targets."""

    def __init__(self, summary: Summary, attack: AttackId, eps: float | None) -> None:
        self.attack, self.eps = attack, eps
        self.results = [each for each in summary.results if attack_of(each.row) == attack and each.row.eps == eps]
        self.clean = {(_target(each.row), each.row.seed): each for each in summary.results if each.row.attack == CLEAN}
        self.own = {(_target(each.row), each.row.seed): each for each in self.results if each.row.threat == "adaptive"}
        self.names = {str(name): name for name, _ in self.clean}

    def matrix(self) -> Matrix:
        known = list(self.names.values())
        seen = self._seen()
        crossings = [_crossing(*pair, threat, list(each.values())) for (pair, threat), each in seen.items()]
        crossings.sort(key=lambda each: (known.index(each.source), known.index(each.target)))
        open_pairs = {pair: list(each.values()) for (pair, _), each in seen.items() if self._counts(*pair)}
        tries = {pair: _added([one.common for one in each]) for pair, each in open_pairs.items()}
        hits = {pair: _added([one.hits for one in each]) for pair, each in open_pairs.items()}
        return Matrix(self.attack, self.eps, self.results[0].row.settings, tuple(_tested(crossings)), tries, hits)

    def _counts(self, source: SystemName, target: SystemName) -> bool:
        doubted = any(each.row.flags for (name, _), each in self.clean.items() if name in (source, target))
        return source.model != target.model and not source.defended and not target.defended and not doubted

    def _seen(self) -> dict[tuple[Pair, str], dict[int, _Seen]]:
        """By pair and threat, by seed: where all is there that it takes."""
        sources = {each.row.source for each in self.results}
        found: dict[tuple[Pair, str], dict[int, _Seen]] = {}
        for each in self.results:
            row, target = each.row, _target(each.row)
            source = self.names.get(row.source) or {"adaptive": target, "static": SystemName(row.model)}.get(row.threat)
            if source is None or str(source) not in sources:
                continue
            needed = self.clean.get((source, row.seed)), self.clean.get((target, row.seed)), self.own.get((source, row.seed))
            if all(needed):
                found.setdefault(((source, target), row.threat), {})[row.seed] = _one(each, *needed)  # type: ignore[arg-type]
        return found


def _one(result: Result, source: Result, target: Result, own: Result) -> _Seen:
    """source, target: of clean images. own: what the source makes of its examples."""
    n = result.row.n
    common = source.correct[:n] & target.correct[:n]
    if result.row.target.isdigit():
        common &= result.labels != int(result.row.target)  # these were not attacked
    return _Seen(result.labels, common, own.predictions[:n], result.predictions)


def _crossing(source: SystemName, target: SystemName, threat: str, seen: Sequence[_Seen]) -> Crossing:
    found = agreement(*(np.concatenate([getattr(one, name) for one in seen]) for name in ("y", "common", "source", "target")))
    crossing = Crossing(source, target, threat, len(seen), found, found.share, found.low, found.high)
    shares = [float(one.hits.sum() / one.common.sum()) for one in seen if one.common.any()]
    if len(shares) < 2:
        return crossing
    mean, spread = fmean(shares), stdev(shares)
    return replace(crossing, share=mean, low=max(0.0, mean - spread), high=min(1.0, mean + spread))


def _tested(crossings: Sequence[Crossing]) -> list[Crossing]:
    """With `beyond` filled in; of a system and its own examples there is nothing to compare."""
    suspicions = [(place, "", each.found.p) for place, each in enumerate(crossings) if each.source != each.target and each.found.both]
    beyond = {place for place, _, _ in below(LEVEL, suspicions)}
    return [replace(each, beyond=place in beyond) for place, each in enumerate(crossings)]


def _added(arrays: Sequence[np.ndarray]) -> np.ndarray:
    least = min(map(len, arrays))
    total: np.ndarray = np.sum([each[:least] for each in arrays], axis=0, dtype=int)
    return total


def _target(row: Row) -> SystemName:
    return SystemName(row.model, row.defense)
