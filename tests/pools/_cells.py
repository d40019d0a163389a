"""Cells that do nothing, and pools whose workers end as a test wants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from advrun.pools import Message
from advrun.runs.plan import Cell
from advrun.runs.store import Store

MODEL = SimpleNamespace(label="net", name="lnet", settings={})


def cell(name: str, kind: str, needs: tuple[Cell, ...] = (), defense: Any = None, **more: Any) -> Cell:
    return Cell(kind, "train", name, f"{hash(name) & 0xFFFFFFFFFFFF:012x}", needs, MODEL, defense, 0, **more)


def sweep(systems: int, attacks: int, metrics: int) -> list[Cell]:
    """As a plan orders them: each system, its attacks, and of each attack a row and metrics."""
    cells = []
    for s in range(systems):
        cells.append(train := cell(f"s{s}", "train"))
        for a in range(attacks):
            cells.append(images := cell(f"s{s} a{a}", "attack", (train,)))
            cells.append(row := cell(f"s{s} a{a} row", "measure", (train, images)))
            cells += [cell(f"s{s} a{a} m{m}", "metric", (row,), metric=f"m{m}") for m in range(metrics)]
    return cells


@dataclass
class Here:
    """A pool of this process: `end` says what becomes of a cell, as messages; it is asked when the driver listens."""

    size: int
    end: Callable[[int, str], list[Message]]
    given: list[tuple[int, str]] = field(default_factory=list)
    asked: int = 0

    def give(self, worker: int, key: str) -> None:
        self.given.append((worker, key))

    def hear(self, seconds: float) -> list[Message]:
        new, self.asked = self.given[self.asked :], len(self.given)
        return [{"worker": worker, **message} for worker, key in new for message in self.end(worker, key)]

    def close(self) -> None:
        pass


def finishing(store: Store, cells: list[Cell]) -> Callable[[int, str], list[Message]]:
    """Each cell is done at once, and leaves a manifest."""
    by_key = {each.key: each for each in cells}

    def end(worker: int, key: str) -> list[Message]:
        store.finish(by_key[key], {}, {})
        return [{"kind": "begun", "key": key}, {"kind": "done", "key": key, "seconds": 0.0}]

    return end
