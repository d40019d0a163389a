"""The rows of two results folders beside each other, tested in pairs of images where the images are the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from advrun.compare.changes import Change, changes, different, shortened
from advrun.compare.sides import RowName, Side
from advrun.paired import LEVEL, Contrast, holm, in_pairs, unpaired
from advrun.results import Result

ENOUGH = 0.5
"""Rows are compared in pairs where this share of the smaller one's images is in both."""


@dataclass(frozen=True, eq=False)
class Pair:
    """A row of both folders.

    found: the second against the first. adjusted: its p beside all other tests of the comparison; None where nothing was tested, because
    all images have the same outcomes. settings: what the attack's settings have become.
    """

    name: RowName
    before: Result
    after: Result
    found: Contrast
    adjusted: float | None = None
    settings: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether every image of both has the same outcome."""
        return self.found.agree and self.found.common == self.before.row.n == self.after.row.n

    @property
    def apart(self) -> bool:
        """Whether the difference is more than chance, when all are tested together."""
        return self.adjusted is not None and self.adjusted < LEVEL and not self.found.low <= 0 <= self.found.high

    @property
    def verdict(self) -> str:
        if self.same:
            return "the same"
        if self.apart:
            return "better" if self.found.value > 0 else "worse"
        return "may be chance"


@dataclass(frozen=True, eq=False)
class Against:
    """One folder against the first: rows of both, and rows of one alone."""

    first: Side
    second: Side
    pairs: tuple[Pair, ...]
    gone: tuple[RowName, ...]
    new: tuple[RowName, ...]


@dataclass(frozen=True, eq=False)
class Comparison:
    """All folders: what was changed, and each against the first. tests: how many were made together."""

    sides: tuple[Side, ...]
    changes: tuple[Change, ...]
    against: tuple[Against, ...]
    tests: int


def compare_sides(sides: Sequence[Side]) -> Comparison:
    """Compare each folder with the first. The p of all tests are adjusted together (Holm, 1979).

    Rows of which no image has changed its outcome are not counted among the tests: McNemar's test asks only about those that have, so
    that there are none is no result of it.
    """
    first, *others = sides
    found = [_against(first, other) for other in others]
    tested = [pair for each in found for pair in each.pairs if not pair.found.agree]
    adjusted = dict(zip(map(id, tested), holm([pair.found.p for pair in tested]), strict=True))
    against = [replace(each, pairs=tuple(replace(pair, adjusted=adjusted.get(id(pair))) for pair in each.pairs)) for each in found]
    return Comparison(tuple(sides), tuple(changes(sides)), tuple(against), len(tested))


def _against(first: Side, second: Side) -> Against:
    matcher = _Matcher(first, second)
    return Against(
        first,
        second,
        pairs=tuple(_pair(name, result, second.results[name], matcher) for name, result in first.results.items() if name in second.results),
        gone=tuple(name for name in first.results if name not in second.results),
        new=tuple(name for name in second.results if name not in first.results),
    )


def _pair(name: RowName, before: Result, after: Result, matcher: _Matcher) -> Pair:
    places = matcher.places(before, after)
    found = unpaired(before.correct, after.correct) if places is None else in_pairs(before.correct[places[0]], after.correct[places[1]])
    return Pair(name, before, after, found, settings=tuple(_changed(before, after)))


def _changed(before: Result, after: Result) -> list[str]:
    """`steps: 20 -> 40`."""
    try:
        settings = [_tuples(each.row.settings) for each in (before, after)]
        return [shortened(f"{path}: {one} -> {other}") for path, (one, other) in different(settings)]
    except RecursionError:
        return ["settings that are nested too deeply to be told"]


def _tuples(value: object) -> object:
    """Lists as tuples, as configurations have them."""
    if isinstance(value, dict):
        return {str(name): _tuples(each) for name, each in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, (list, tuple)) else value


class _Matcher:
    """Finds the images that two rows have in common; many rows are of the same images."""

    def __init__(self, first: Side, second: Side) -> None:
        self.first, self.second = first, second
        self._known: dict[tuple[str, ...], tuple[np.ndarray, np.ndarray]] = {}

    def places(self, before: Result, after: Result) -> tuple[np.ndarray, np.ndarray] | None:
        """Where the common images are in each, in one order; None where they are too few, or it is not known who the images are."""
        one, other = self.first.images(before), self.second.images(after)
        if one is None or other is None:
            return None
        found = self._common(one, other, before, after)
        return found if len(found[0]) and len(found[0]) >= ENOUGH * min(len(one), len(other)) else None

    def _common(self, one: np.ndarray, other: np.ndarray, before: Result, after: Result) -> tuple[np.ndarray, np.ndarray]:
        key = tuple(f"{each.row.n} {each.row.settings.get('source_class')}" for each in (before, after))
        if (known := self._known.get(key)) is None:
            place = {who: number for number, who in enumerate(other)}
            shared = [(number, place[who]) for number, who in enumerate(one) if who in place]
            known = np.array([a for a, _ in shared], int), np.array([b for _, b in shared], int)
            self._known[key] = known
        return known
