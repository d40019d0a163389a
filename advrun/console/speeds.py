"""How fast work goes, as it was measured: a number for what is done, and one for the network that it is done with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

ROUNDS = 8
"""Each halves, about, what the numbers of networks and of groups still owe to each other."""


@dataclass(frozen=True)
class Part:
    """One part of a run.

    Args:
        work: in any unit that all parts share.
        alike: names of groups in which parts of the same work, of one network, take about as long, the nearest first.
        kept: the share of it that an earlier run has done.
        model: the network; the parts of one are as much slower as each other than those of another.
    """

    work: float
    alike: tuple[str, ...] = ()
    kept: float = 0.0
    model: str = ""

    @property
    def left(self) -> float:
        """The work that is to be done."""
        return self.work * (1 - self.kept)


class Speeds:
    """Seconds and work by group and network.

    A part goes at the speed of its nearest group. What this was not measured with its own network is taken from the other ones, by how much
    slower the network was in all that several of them have done: seconds = work x speed of the group x slowness of the network.
    """

    def __init__(self) -> None:
        self._table: dict[str, dict[str, tuple[float, float]]] = {}
        self._widest: set[str] = set()
        """The widest group of each part: others are of one network alone, or counted in these."""
        self._slowness: Mapping[str, float] | None = None

    def add(self, part: Part, seconds: float, work: float) -> None:
        """Count work on a part, and the seconds that it took."""
        for group in ("", *part.alike):
            of_group = self._table.setdefault(group, {})
            before = of_group.get(part.model, (0.0, 0.0))
            of_group[part.model] = before[0] + seconds, before[1] + work
        self._widest.update(part.alike[-1:])
        self._slowness = None

    def copy(self) -> Speeds:
        """These, to which more may be added."""
        found = Speeds()
        found._table = {group: dict(of_group) for group, of_group in tuple(self._table.items())}  # another thread adds
        found._widest = set(self._widest)
        return found

    def measured(self, group: str = "") -> tuple[float, float]:
        """Seconds and work of a group, "" for all; 0 where nothing was measured."""
        each = self._table.get(group, {}).values()
        return sum(seconds for seconds, _ in each), sum(work for _, work in each)

    def of(self, part: Part) -> float | None:
        """Seconds for a unit of its work; None before anything was measured."""
        for group in (*part.alike, ""):
            of_group = self._table.get(group, {})
            seconds, work = of_group.get(part.model, (0.0, 0.0))
            if work > 0:
                return seconds / work
            if (speed := self._elsewhere(group, part.model)) is not None:
                return speed
        return None

    def _elsewhere(self, group: str, model: str) -> float | None:
        """Of a group that was measured with other networks."""
        slowness = self._found_slowness()
        seconds, work = self.measured(group)
        if work <= 0:
            return None
        if model not in slowness:
            return seconds / work
        return slowness[model] * seconds / sum(each * slowness.get(other, 1.0) for other, (_, each) in self._table[group].items())

    def _found_slowness(self) -> Mapping[str, float]:
        """Of each network that has a group in common with another: all sums of seconds, by group and by network, are those explained."""
        if self._slowness is None:
            rows = [self._table[group] for group in sorted(self._widest) if len(self._table[group]) > 1]
            found = dict.fromkeys((model for row in rows for model in row), 1.0)
            for _ in range(ROUNDS):
                found = _better(rows, found)
            self._slowness = found
        return self._slowness


def _better(rows: Iterable[Mapping[str, tuple[float, float]]], slowness: Mapping[str, float]) -> dict[str, float]:
    """What the networks took, over what they would take at the speeds that the groups have by the last numbers."""
    took, owed = dict.fromkeys(slowness, 0.0), dict.fromkeys(slowness, 0.0)
    for row in rows:
        expected = sum(work * slowness[model] for model, (_, work) in row.items())
        for model, (seconds, work) in row.items():
            took[model] += seconds
            owed[model] += work * sum(each for each, _ in row.values()) / max(expected, 1e-9)
    return {model: max(took[model], 1e-9) / max(owed[model], 1e-9) for model in slowness}
