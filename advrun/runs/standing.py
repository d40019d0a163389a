"""How far a configuration's run is, from what is on disk and in the log; nothing is computed, and nothing written."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from advrun import pools
from advrun.files import inside
from advrun.runs.expected import useful
from advrun.runs.forecast import forecast
from advrun.runs.loading import room
from advrun.runs.log import events
from advrun.runs.plan import Cell, Plan
from advrun.runs.untouched import Untouched, listed

FATES = ("done", "failed", "damaged", "to do", "waiting")
"""Of a cell: failed when it was last tried; damaged since it was done; waiting for one that is not done itself."""


@dataclass(frozen=True)
class Standing:
    """A cell. fate: one of FATES. reason: why it failed, what is damaged, or what it waits for. kept: bytes of its checkpoints."""

    cell: Cell
    fate: str
    reason: str = ""
    kept: int = 0


@dataclass(frozen=True)
class Overview:
    """root: the results folder. cells: all of the plan. holder: who writes the folder now, or "". seconds: that the rest takes, or None."""

    root: Path
    cells: tuple[Standing, ...]
    holder: str
    seconds: float | None

    def of(self, fate: str) -> list[Standing]:
        """The cells of one fate."""
        return [each for each in self.cells if each.fate == fate]

    def counts(self) -> dict[tuple[str, str], Counter[str]]:
        """How many cells of each stage and kind have which fate."""
        found: dict[tuple[str, str], Counter[str]] = {}
        for each in self.cells:
            found.setdefault((each.cell.stage, each.cell.kind), Counter())[each.fate] += 1
        return found


def overview(plan: Plan, root: Path) -> Overview:
    """Where every cell of the plan stands, and how long the rest will take its pool at the speed that the log tells."""
    store, failed = Untouched(root), _failed(root)
    done = {cell.key for cell in plan.cells if store.manifest(cell) is not None}
    cells = tuple(_standing(cell, store, done, failed) for cell in plan.cells)
    pending = [each.cell for each in cells if each.fate != "done"]
    expected = forecast(plan, pending, store, pools.size(plan.experiment.compute.pool, useful(pending, plan), room(plan.data)))
    return Overview(root, cells, store.holder(), expected.total if expected.measured or not pending else None)


def _standing(cell: Cell, store: Untouched, done: set[str], failed: dict[str, str]) -> Standing:
    if cell.key in done:
        return Standing(cell, "done")
    kept = sum(_size(store.root, name) for name in listed(store.root, f"partial/{cell.key}"))
    if cell.label in store.damaged:
        return Standing(cell, "damaged", ": ".join(store.damaged[cell.label]), kept)
    if cell.label in failed:
        return Standing(cell, "failed", failed[cell.label], kept)
    missing = next((needed.label for needed in cell.needs if needed.key not in done), None)
    return Standing(cell, "to do", "", kept) if missing is None else Standing(cell, "waiting", missing, kept)


def _size(root: Path, name: str) -> int:
    try:
        return os.lstat(inside(root, name)).st_size
    except OSError:
        return 0


def _failed(root: Path) -> dict[str, str]:
    """By label: why a cell failed that was not done since."""
    failed: dict[str, str] = {}
    for event in events(root, "failed", "done"):
        label = str(event.get("cell", ""))
        if event["event"] == "failed":
            failed[label] = str(event.get("reason", ""))
        else:
            failed.pop(label, None)
    return failed
