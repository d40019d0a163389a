"""What happened to the cells of a run, and what the run ends with."""

from __future__ import annotations

from dataclasses import dataclass, field

from advrun.errors import GOES_ON, AdvrunError, CellError, ModelError, WriteError
from advrun.runs.plan import Cell


@dataclass
class Outcomes:
    """What happened to the cells of a run: labels by fate; `failed` holds (label, reason).

    refused: what is wrong with model files of the user's own, each reason once. unwritten: what could not be written, which ended the run.
    stuck: why no worker can begin, which ended it too.
    """

    done: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    blocked: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    unwritten: str = ""
    stuck: AdvrunError | None = None

    def add(self, cell: Cell, reason: str, *, refused: bool = False, unwritten: bool = False) -> bool:
        """A cell has failed, for the reason; returns whether readers have not heard of it yet."""
        is_new = reason not in self.refused
        if refused and is_new:
            self.refused.append(reason)
        if unwritten:
            self.unwritten = reason
        self.failed.append((cell.label, reason))
        return is_new

    def error(self, cells: int) -> AdvrunError | None:
        """What a run of so many cells ends with: None where all went well, ModelError where only model files of the user's own failed."""
        if self.stuck is not None:
            return self.stuck
        if not self.failed:
            return None
        kept = f"{f', {len(self.blocked)} more need them' if self.blocked else ''}; what is done is kept"
        if {reason for _, reason in self.failed} == set(self.refused):
            return ModelError(f"{'; '.join(self.refused)} ({len(self.failed)} of {cells} cells failed{kept})")
        if self.unwritten and len(self.failed) == 1:
            return WriteError(f"{self.unwritten}; {GOES_ON}")
        listed = "; ".join(f"{labels[0]}{f' and {len(labels) - 1} more' * (len(labels) > 1)}: {why}" for why, labels in self._causes()[:5])
        return CellError(f"{len(self.failed)} of {cells} cells failed{kept}: {listed}")

    def _causes(self) -> list[tuple[str, list[str]]]:
        """Each reason once, with the labels of the cells that failed for it."""
        causes: dict[str, list[str]] = {}
        for label, reason in self.failed:
            causes.setdefault(reason, []).append(label)
        return list(causes.items())
