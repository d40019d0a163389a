"""How far a run is, and when it will end: the work of its parts as estimated, at the speed that was measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from advrun.console.speeds import Part, Speeds

HIGHEST = 0.99
"""The share of a run that is not over."""


class Course:
    """The parts of a run, of which several may be worked on at once. What is asked costs as much with ten thousand parts as with ten.

    known: speeds of earlier runs.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        clock: Callable[[], float] = time.monotonic,
        workers: int = 1,
        known: Speeds | None = None,
    ) -> None:
        self.parts, self.entered, self.workers = parts, 0, workers
        """entered: how many parts were begun, or dropped."""
        self._clock = clock
        self._began = clock()
        self._inside: dict[int, _Inside] = {}
        """The parts that are worked on, by number."""
        self._waiting: dict[Part, list[float]] = {}
        """Number and work of the parts that were not begun, by what is alike of them."""
        self._known = known.copy() if known else Speeds()
        self._has_measured = False
        self._highest = 0.0
        for part in parts:
            self._wait(part, 1)

    @contextmanager
    def part(self, number: int) -> Iterator[None]:
        """While inside, the part (counted from 0) is worked on; its speed counts if nothing is raised."""
        self.enter(number)
        try:
            yield
        except BaseException:
            self.leave(number, counts=False)
            raise
        self.leave(number)

    def enter(self, number: int) -> None:
        """The part is worked on from now."""
        self.drop(number)
        self._inside[number] = _Inside(self._clock(), self.parts[number].kept)

    def drop(self, number: int) -> None:
        """The part need not be waited for: it is done, or never will be."""
        self.entered += 1
        self._wait(self.parts[number], -1)

    def give_up(self, number: int) -> None:
        """The part waits again: who worked on it is gone."""
        del self._inside[number]
        self.entered -= 1
        self._wait(self.parts[number], 1)

    def leave(self, number: int, *, counts: bool = True) -> tuple[float, float]:
        """The part is over; `counts` says whether its speed does. Returns the seconds that were timed, and the work that was done in them:
        without what an earlier run had done."""
        inside, part = self._inside.pop(number), self.parts[number]
        start, before = inside.since, 0.0
        if inside.heard and inside.heard[0][1] < 1 and (part.kept or not self._has_measured):  # the first waits for TensorFlow
            start, before = inside.heard[0]
        timed, work = self._clock() - start, part.work * (1 - before)
        if counts:
            self._known.add(part, timed, work)
            self._has_measured = True
        return timed, work

    def within(self, share: float, number: int | None = None, kept: float = 0.0) -> None:
        """The part, or the one begun last, is so far, 0 to 1. kept: so much of that was there, and took no time."""
        if self._inside:
            inside = self._inside[next(reversed(self._inside)) if number is None else number]
            inside.heard = [*inside.heard[:1], (self._clock(), share)]
            since, before = inside.heard[0]
            inside.heard[0] = since, max(before, kept)

    @property
    def elapsed(self) -> float:
        return self._clock() - self._began

    def remaining(self) -> float | None:
        """Seconds that the rest will take; None before anything could be measured."""
        known = self._speeds()
        later, current = 0.0, []
        for alike, (_, work) in tuple(self._waiting.items()):  # another thread asks
            if (speed := known.of(alike)) is None:
                return None
            later += work * speed
        for number, inside in tuple(self._inside.items()):
            if (speed := known.of(self.parts[number])) is None:
                return None
            left = self.parts[number].work * speed * (1 - inside.share)
            current.append(max(left - (self._clock() - (inside.heard[-1][0] if inside.heard else inside.since)), 0.0))
        if not (self._waiting or self._inside):
            return 0.0 if known.measured()[1] else None
        return max((later + sum(current)) / self.workers, *current, 0.0)

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

    def _wait(self, part: Part, by: int) -> None:
        alike = replace(part, work=0.0, kept=0.0)
        count, work = self._waiting.get(alike, (0.0, 0.0))
        if count + by:
            self._waiting[alike] = [count + by, work + by * part.left]
        else:
            self._waiting.pop(alike, None)

    def _speeds(self) -> Speeds:
        """Of earlier runs, of this one, and of what is worked on."""
        known = self._known.copy()
        for number, inside in tuple(self._inside.items()):
            if len(inside.heard) > 1 and 1 > inside.heard[1][1] > inside.heard[0][1]:
                (start, before), (now, share) = inside.heard
                part = self.parts[number]
                known.add(part, now - start, (share - before) * part.work)
        return known


@dataclass
class _Inside:
    """A part that is worked on. since: by the clock. kept: as of the part. heard: (clock, share), where it was first heard of, and last."""

    since: float
    kept: float = 0.0
    heard: list[tuple[float, float]] = field(default_factory=list)

    @property
    def share(self) -> float:
        return max(self.heard[-1][1] if self.heard else 0.0, self.kept)


def clock_time(moment: datetime, now: datetime | None = None) -> str:
    """`22:47`, with the day where it is another one."""
    days = (moment.date() - (now or datetime.now()).date()).days
    return f"{moment:%H:%M}" if days < 1 else f"{moment:%a %H:%M}" if days < 7 else f"{moment:%d %b %H:%M}"


def duration(seconds: float) -> str:
    """`3:20`, `1:03:20`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def about(seconds: float) -> str:
    """`0.3 s`, `3:20`: as a forecast says it."""
    return f"{seconds:.1f} s" if seconds < 9.95 else duration(seconds)
