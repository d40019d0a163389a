"""The workers that do one cell together: which of them makes which of its batches, and whether it is worth that another one joins them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from advrun.checkpoints import END
from advrun.runs.plan import Cell

WORTH = 30.0
"""Seconds of work that nobody has begun, for which another worker joins: to load the system and compile the attack takes it about 10 of a
core."""
KEPT = -1
"""Has the batches that nobody needs to make any more."""


@dataclass
class Crew:
    """Of a cell that may be divided.

    members: the workers that are at it, or on their way. holders: by batch, who makes it, or has made it. since: by worker, when it last
    asked. left: batches that nobody has. took: seconds of a batch. spent: seconds of those who have left. done: images, as far as one of
    them knows.
    """

    cell: Cell
    clock: Callable[[], float] = time.monotonic
    members: set[int] = field(default_factory=set)
    holders: dict[str, int] = field(default_factory=dict)
    since: dict[int, float] = field(default_factory=dict)
    left: int = 0
    took: float = 0.0
    spent: float = 0.0
    done: int = 0

    def turn(self, worker: int, batches: Sequence[str]) -> str:
        """The first of these batches that nobody has; it is the worker's now. "" where there is none, or somebody finishes the cell."""
        now = self.clock()
        self.took = now - self.since.get(worker, now - self.took)
        self.since[worker] = now
        free = [batch for batch in batches if batch not in self.holders and END not in self.holders]
        self.left = len(free[1:])
        if not free:
            return ""
        self.holders[free[0]] = worker
        return free[0]

    def finished(self, worker: int, seconds: float) -> None:
        """All that the worker has made in so many seconds is among the checkpoints, and it found nothing to do: nor would others, before
        somebody asks again."""
        self.holders = {batch: KEPT if holder == worker else holder for batch, holder in self.holders.items()}
        self.spent += seconds
        self.left = 0

    def leave(self, worker: int) -> None:
        """The worker has gone, and what it had is anybody's; what of it is among the checkpoints is found there."""
        self.members.discard(worker)
        self.since.pop(worker, None)
        self.holders = {batch: holder for batch, holder in self.holders.items() if holder != worker}

    def furthest(self, done: int) -> int:
        """How many images are done, now that a member says how many it knows of: it hears of those of the others when it asks next."""
        self.done = max(self.done, done)
        return self.done

    def worth(self) -> float:
        """Seconds of work that are left for one more; a batch takes as long as the last, or as one that is being made does already."""
        coming = len(self.members) - len(self.since)
        if self.left <= coming:
            return 0.0
        return (self.left - coming) * max(self.took, self.clock() - min(self.since.values(), default=self.clock()))
