"""Runs the cells of a plan, one after the other, each once. One that fails does not stop the others."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path

from advrun import engine, folders, registry
from advrun.console import Console, Course
from advrun.errors import GOES_ON, AdvrunError, CellError, ModelError, WriteError
from advrun.runs.expected import part
from advrun.runs.needs import is_trained
from advrun.runs.opened import Opened
from advrun.runs.plan import Cell, Plan
from advrun.runs.store import Store
from advrun.runs.work.worker import Worker

WORK = [registry.PACKAGE / name for name in ("craft.py", "batchwise.py", "runs/store.py", "files.py", "checkpoints.py", "train.py")]
"""What plugins call that does more than arithmetic."""


@dataclass
class Outcomes:
    """What happened to the cells of a run: labels by fate; `failed` holds (label, reason).

    refused: what is wrong with model files of the user's own, each reason once. unwritten: what could not be written, which ended the run.
    """

    done: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    blocked: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    unwritten: WriteError | None = None

    def add(self, cell: Cell, error: BaseException) -> str:
        """A cell has failed; returns the reason, in one line."""
        reason = str(error) if isinstance(error, AdvrunError) else f"{place(error)}{engine.reason(error)}"
        if isinstance(error, ModelError) and not is_trained(cell.model) and cell.defense is None and cell.kind != "learn":
            reason = with_file(cell, reason)
            if reason not in self.refused:
                self.refused.append(reason)
        if isinstance(error, WriteError):
            self.unwritten = error
        self.failed.append((cell.label, reason))
        return reason

    def error(self, cells: int) -> AdvrunError | None:
        """What a run of so many cells ends with: None where all went well, ModelError where only model files of the user's own failed."""
        if not self.failed:
            return None
        kept = f"{f', {len(self.blocked)} more need them' if self.blocked else ''}; what is done is kept"
        if {reason for _, reason in self.failed} == set(self.refused):
            return ModelError(f"{'; '.join(self.refused)} ({len(self.failed)} of {cells} cells failed{kept})")
        if self.unwritten is not None and len(self.failed) == 1:
            return WriteError(f"{self.unwritten}; {GOES_ON}")
        listed = "; ".join(f"{labels[0]}{f' and {len(labels) - 1} more' * (len(labels) > 1)}: {why}" for why, labels in self._causes()[:5])
        return CellError(f"{len(self.failed)} of {cells} cells failed{kept}: {listed}")

    def _causes(self) -> list[tuple[str, list[str]]]:
        """Each reason once, with the labels of the cells that failed for it."""
        causes: dict[str, list[str]] = {}
        for label, reason in self.failed:
            causes.setdefault(reason, []).append(label)
        return list(causes.items())


def execute(plan: Plan, cells: tuple[Cell, ...], store: Store, console: Console, opened: Opened, *, fail_fast: bool = False) -> Outcomes:
    """Run every cell that is not done. A cell whose input failed is not tried; with `fail_fast` the first failure ends it, and so
    does a disk that is full."""
    outcomes = Outcomes()
    worker = Worker(plan, store, console, opened)
    pending = [cell for cell in cells if store.manifest(cell) is None]
    outcomes.skipped = [cell.label for cell in cells if cell not in pending]
    course = Course([part(cell, plan) for cell in pending])
    with console.live(course):
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
                with course.part(number - 1):
                    worker.run(cell)
            except (Exception, MemoryError) as error:
                known = list(outcomes.refused)
                reason = outcomes.add(cell, error)
                store.event("failed", cell=cell.label, reason=reason, traceback=traceback.format_exc())
                if console.as_json or reason not in known:
                    console.event("failed", label=cell.label, reason=reason)
                if fail_fast or isinstance(error, WriteError):  # whatever else is computed could not be written either
                    break
                continue
            seconds = round(time.perf_counter() - clock, 2)
            store.event("done", cell=cell.label, seconds=seconds)
            if not cell.metric or console.as_json:  # a line for each metric of each row would bury the others
                console.event("done", label=cell.label, cell=f"{number} of {len(pending)}", seconds=seconds)
            outcomes.done.append(cell.label)
    return outcomes


def with_file(cell: Cell, reason: str) -> str:
    """The reason, beginning with the file that the model of a cell comes from."""
    settings = registry.get("models", cell.model.name).settings
    file = next((str(value) for name, value in cell.model.settings.items() if settings[name].is_file), "")
    return reason if file in reason else f"{file}: {reason}"


def place(error: BaseException) -> str:
    """The line of a plugin that the error came from, `advrun/attacks/pgd.py:31: `, or nothing: what training or the disk did is no fault
    of the defence that asked for it."""
    found, roots = "", folders.roots()
    for frame in traceback.extract_tb(error.__traceback__):
        file = Path(frame.filename)
        if file.parent.parent in roots:
            found = f"{folders.shown(file)}:{frame.lineno}: "
        elif file in WORK:
            found = ""
    return found
