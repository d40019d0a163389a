"""Parts of a run: the share of one of several runs that fill the same folder, and one cell with what it needs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from advrun.errors import ConfigError, did_you_mean
from advrun.runs.expected import part
from advrun.runs.plan import Cell, Plan

SHORTEST = 4
"""Characters that name a cell, at least."""


class Portion(Protocol):
    """Which cells of a plan a run does."""

    def among(self, plan: Plan, cells: Sequence[Cell]) -> tuple[Cell, ...]:
        """Its cells, with all that they need."""


@dataclass(frozen=True)
class Shard:
    """The share `number` (from 1) of `of` runs, which may be started in any order, or at once, on one machine or several."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """`2/8`. Raises ConfigError."""
        found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
        shard = cls(int(found[1]), int(found[2])) if found else cls(0, 0)
        if not 1 <= shard.number <= shard.of:
            raise ConfigError(f"got {text!r}; expected I/N with 1 <= I <= N, such as 2/8")
        return shard

    def __str__(self) -> str:
        return f"shard {self.number}/{self.of}"

    def among(self, plan: Plan, cells: Sequence[Cell]) -> tuple[Cell, ...]:
        """Its cells, with all that they need. Each run finds the same, whatever is done already.

        What belongs to one attack on one system (examples, rows, metrics) stays together, and in the order of the plan, so that few runs
        load the same system; shares are of about the same work, as `expected.py` estimates it.
        """
        work: dict[str, float] = {}
        for cell in cells:
            key = _head(cell).key
            work[key] = work.get(key, 0.0) + part(cell, plan).work
        total, before, mine = sum(work.values()), 0.0, set()
        for key, each in work.items():
            if min(int((before + each / 2) / total * self.of), self.of - 1) == self.number - 1:
                mine.add(key)
            before += each
        return with_needs(cells, (cell for cell in cells if _head(cell).key in mine))


@dataclass(frozen=True)
class OneCell:
    """One cell, named by the beginning of its key."""

    key: str

    def __str__(self) -> str:
        return f"cell {self.key}"

    def among(self, plan: Plan, cells: Sequence[Cell]) -> tuple[Cell, ...]:
        """The cell, after all that it needs. Raises ConfigError where none, or several, have such a key."""
        found = [cell for cell in cells if cell.key.startswith(self.key)] if len(self.key) >= SHORTEST else []
        if len(found) != 1:
            several = f"{len(found)} cells have such keys; give more of it" if found else "no cell has such a key"
            hint = did_you_mean(self.key, (cell.key[: max(len(self.key), 8)] for cell in cells)) if not found else ""
            hint = hint if "did you mean" in hint else ""
            raise ConfigError(f"cell {self.key!r}: {several}{hint}; `advrun cell CONFIG --dry-run` lists them")
        return with_needs(cells, found)


def with_needs(cells: Sequence[Cell], wanted: Iterable[Cell]) -> tuple[Cell, ...]:
    """Those of the cells that are wanted, or needed for one that is, in their order."""
    needed: dict[str, Cell] = {}
    waiting = list(wanted)
    while waiting:
        cell = waiting.pop()
        if cell.key not in needed:
            needed[cell.key] = cell
            waiting += cell.needs
    return tuple(cell for cell in cells if cell.key in needed)


def _head(cell: Cell) -> Cell:
    """The first cell of those that stay together: the images of a row, and the row of a metric."""
    if cell.kind in ("metric", "probe"):
        return _head(cell.needs[0])
    return (cell.images or cell) if cell.kind == "measure" else cell
