"""Runs the cells of a plan, one after the other, each once. One that fails does not stop the others."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path

from advrun import engine, registry
from advrun.console import Console
from advrun.errors import AdvrunError
from advrun.runs.opened import Opened
from advrun.runs.plan import Cell, Plan
from advrun.runs.store import Store
from advrun.runs.work.worker import Worker

WORK = [registry.PACKAGE / name for name in ("craft.py", "runs/store.py", "files.py", "checkpoints.py", "train.py")]
"""What plugins call that does more than arithmetic."""


@dataclass
class Outcomes:
    """What happened to the cells of a run: labels by fate; `failed` holds (label, reason)."""

    done: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    blocked: list[str] = field(default_factory=list)


def execute(plan: Plan, cells: tuple[Cell, ...], store: Store, console: Console, opened: Opened, *, fail_fast: bool = False) -> Outcomes:
    """Run every cell that is not done. A cell whose input failed is not tried; with `fail_fast` the first failure ends it."""
    outcomes = Outcomes()
    worker = Worker(plan, store, console, opened)
    pending = [cell for cell in cells if store.manifest(cell) is None]
    outcomes.skipped = [cell.label for cell in cells if cell not in pending]
    with console.live():
        for number, cell in enumerate(pending, 1):
            if store.manifest(cell) is not None:  # its input was lost, and has been rebuilt to the same bytes
                outcomes.skipped.append(cell.label)
                continue
            if any(store.manifest(needed) is None for needed in cell.needs):
                outcomes.blocked.append(cell.label)
                continue
            store.event("start", cell=cell.label, kind=cell.kind)
            clock = time.perf_counter()
            try:
                worker.run(cell)
            except (Exception, MemoryError) as error:
                reason = str(error) if isinstance(error, AdvrunError) else f"{place(error)}{engine.reason(error)}"
                store.event("failed", cell=cell.label, reason=reason, traceback=traceback.format_exc())
                console.event("failed", label=cell.label, reason=reason)
                outcomes.failed.append((cell.label, reason))
                if fail_fast:
                    break
                continue
            seconds = round(time.perf_counter() - clock, 2)
            store.event("done", cell=cell.label, seconds=seconds)
            if cell.kind != "metric" or console.as_json:  # a line for each metric of each row would bury the others
                console.event("done", label=cell.label, cell=f"{number} of {len(pending)}", seconds=seconds)
            outcomes.done.append(cell.label)
    return outcomes


def place(error: BaseException) -> str:
    """The line of a plugin that the error came from, `advrun/attacks/pgd.py:31: `, or nothing: what training or the disk did is no fault
    of the defence that asked for it."""
    found = ""
    for frame in traceback.extract_tb(error.__traceback__):
        file = Path(frame.filename)
        if file.parent.parent == registry.PACKAGE:
            found = f"advrun/{file.parent.name}/{file.name}:{frame.lineno}: "
        elif file in WORK:
            found = ""
    return found
