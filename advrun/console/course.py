"""How far a run is, and when it will end: the work of its parts as estimated, at the speed that was measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

HIGHEST = 0.99
"""The share of a run that is not over."""


@dataclass(frozen=True)
class Part:
    """One part of a run. work: in any unit that all parts share. alike: names of groups in which parts of the same work take about
    as long, the nearest first."""

    work: float
    alike: tuple[str, ...] = ()


class Course:
    """The parts of a run, done in order. Speeds are measured by group; a part of a new group goes at the speed of all."""

    def __init__(self, parts: Sequence[Part], clock: Callable[[], float] = time.monotonic) -> None:
        self.parts, self.number = parts, 0
        self._clock = clock
        self._began = self._entered = clock()
        self._inside: list[tuple[float, float]] = []
        """(clock, share) of the current part: where it was first heard of, and now."""
        self._measured: dict[str, tuple[float, float]] = {}
        """Seconds and work by group; "" is all."""
        self._highest = 0.0

    @contextmanager
    def part(self, number: int) -> Iterator[None]:
        """While inside, the part (counted from 0) is worked on; its speed counts if nothing is raised."""
        self.number, self._entered, self._inside = number, self._clock(), []
        yield
        part = self.parts[number]
        start, before = self._inside[0] if not self._measured and self._inside else (self._entered, 0.0)  # the first waits for TensorFlow
        self._inside = [(self._entered, 0.0), (self._clock(), 1.0)]
        self.learn(part, self._clock() - start, part.work * (1 - before))

    def learn(self, part: Part, seconds: float, work: float | None = None) -> None:
        """So many seconds were spent on a part, or on so much of its work."""
        for group in ("", *part.alike):
            before, known = self._measured.get(group, (0.0, 0.0))
            self._measured[group] = before + seconds, known + (part.work if work is None else work)

    def within(self, share: float) -> None:
        """The current part is so far, 0 to 1."""
        self._inside = [*self._inside[:1], (self._clock(), share)]

    @property
    def elapsed(self) -> float:
        return self._clock() - self._began

    def remaining(self) -> float | None:
        """Seconds that the rest will take; None before anything could be measured."""
        if not self.parts:
            return None
        now = self.parts[self.number]
        share = self._inside[-1][1] if self._inside else 0.0
        seconds = [self._seconds(part) for part in self.parts[self.number + 1 :]] + [self._seconds(now)]
        if any(each is None for each in seconds):
            return None
        *later, current = (each or 0.0 for each in seconds)
        since = self._clock() - (self._inside[-1][0] if self._inside else self._entered)
        return sum(later) + max(current * (1 - share) - since, 0.0)

    def share(self) -> float:
        """Of the whole run, 0 to 1; never less than it was."""
        remaining = self.remaining()
        if remaining is not None:
            self._highest = max(self._highest, min(self.elapsed / max(self.elapsed + remaining, 1e-9), HIGHEST))
        return self._highest

    def ends(self) -> datetime | None:
        """When the run is expected to end, in local time; None before anything could be measured."""
        remaining = self.remaining()
        return None if remaining is None else datetime.now() + timedelta(seconds=remaining)

    def _seconds(self, part: Part) -> float | None:
        """What a part takes, by the nearest group whose speed is known."""
        running = self._running()
        for group in (*part.alike, ""):
            seconds, work = self._measured.get(group, (0.0, 0.0))
            if running and group in (*self.parts[self.number].alike, ""):
                seconds, work = seconds + running[0], work + running[1]
            if work > 0:
                return part.work * seconds / work
        return None

    def _running(self) -> tuple[float, float] | None:
        """Seconds and work of the current part since it was first heard of: what it did before may have been done by an earlier run."""
        if len(self._inside) < 2 or self._inside[1][1] <= self._inside[0][1] or self._inside[1][1] >= 1:
            return None
        (start, before), (now, share) = self._inside
        return now - start, (share - before) * self.parts[self.number].work


def clock_time(moment: datetime, now: datetime | None = None) -> str:
    """`22:47`, with the day where it is another one."""
    days = (moment.date() - (now or datetime.now()).date()).days
    return f"{moment:%H:%M}" if days < 1 else f"{moment:%a %H:%M}" if days < 7 else f"{moment:%d %b %H:%M}"


def duration(seconds: float) -> str:
    """`3:20`, `1:03:20`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
