"""The one place that writes to standard output and standard error."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from advrun.console.course import Course
from advrun.console.listening import listening
from advrun.console.screen import Screen, one_line, shortened
from advrun.console.spelling import accept_everything, spelt

PLAIN_SECONDS = 10.0
"""Without a terminal, a running task says where it is this often."""
WIDTH = 80
"""Columns of what is written for a log."""


def write(text: str, *, err: bool = False) -> None:
    """Write a line, or several, to standard output or error, in characters that it can show."""
    stream = sys.stderr if err else sys.stdout
    stream.write(f"{spelt(text, stream)}\n")
    stream.flush()


def write_json(value: Any, *, indent: int | None = None) -> None:
    """Write JSON to standard output: ASCII, and null for NaN and infinity, which JSON does not know."""
    write(json.dumps(strict(value), default=str, indent=indent, allow_nan=False))


def strict(value: Any) -> Any:
    """`value` without NaN and infinity, at any depth."""
    if isinstance(value, Mapping):
        return {str(key): strict(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [strict(each) for each in value]
    if isinstance(value, float) or type(value).__module__ == "numpy":
        number = float(value) if isinstance(value, float) else value.item() if getattr(value, "ndim", 1) == 0 else value.tolist()
        return strict(number) if not isinstance(number, float) else number if math.isfinite(number) else None
    return value


@dataclass
class Bar:
    """Progress of one task; `advance` is called as often as the work likes."""

    label: str
    total: int
    done: int = 0
    note: str = ""
    course: Course = field(default_factory=lambda: Course(()))
    worker: int = 0
    part: int | None = None
    """Of the course; None for the one begun last."""
    kept: int = 0
    """So many were done before anything was made: they were there."""
    made: bool = False

    def at(self, note: str, done: int, total: int) -> None:
        """Set where the task is, and what it works on."""
        self.total, self.done = total, done
        self.advance(0, note)

    def advance(self, count: int = 1, note: str = "") -> None:
        self.done += count
        self.note = note
        if not self.made:
            self.kept = self.done
        self.course.within(self.done / max(self.total, 1), self.part, self.kept / max(self.total, 1))


class Console:
    """Speaks at one of four levels: quiet (errors only), normal, verbose, or as JSON lines on stdout.

    Progress and remarks go to stderr, results to stdout, so that `advrun report | less` and pipes work.
    """

    def __init__(self, *, quiet: bool = False, verbose: bool = False, as_json: bool = False) -> None:
        self.quiet, self.verbose, self.as_json = quiet, verbose, as_json
        self.is_terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and not (quiet or as_json)
        self.course = Course(())
        self._bars: list[Bar] = []
        self._screen: Any = None
        self._warned: set[str] = set()
        self._writing = threading.Lock()

    @contextlib.contextmanager
    def live(self, course: Course | None = None) -> Iterator[None]:
        """While inside, progress is shown: as bars on a terminal, elsewhere by a line now and then. course: that of the whole run."""
        self.course = course or Course(())
        try:
            with self._bars_on_screen() if self.is_terminal else self._lines_now_and_then():
                yield
        finally:
            self.course = Course(())

    @contextlib.contextmanager
    def _bars_on_screen(self) -> Iterator[None]:
        from rich.console import Console as Terminal
        from rich.live import Live

        screen = Screen(self._bars, self.course, self._dots)
        with Live(screen, console=Terminal(stderr=True), transient=True, refresh_per_second=4) as self._screen:
            yield
        self._screen = None

    @contextlib.contextmanager
    def _lines_now_and_then(self) -> Iterator[None]:
        """A thread speaks, for one batch of a slow attack may take an hour."""
        over = threading.Event()

        def speak() -> None:
            while not over.wait(PLAIN_SECONDS):
                self._say_progress()

        thread = threading.Thread(target=speak, daemon=True)
        if not self.quiet:
            thread.start()
        try:
            yield
        finally:
            over.set()
            if thread.ident is not None:
                thread.join()

    def _say_progress(self) -> None:
        bar, course = self._bars[-1] if self._bars else None, self.course if self.course.parts else None
        if self.as_json:
            known = {"label": bar.label, "done": bar.done, "total": bar.total, "note": bar.note} if bar else {}
            whole = {"share": round(course.share(), 4), "ends": _iso(course)} if course else {}
            others = {each.worker: {"label": each.label, "done": each.done, "total": each.total} for each in tuple(self._bars)}
            workers = {"workers": others} if course and course.workers > 1 else {}
            self.event("progress", **known, **whole, **workers)
        elif line := one_line(bar, course, WIDTH, self._dots):
            self._line(line)

    @property
    def _dots(self) -> str:
        return spelt("…", sys.stderr)

    @contextlib.contextmanager
    def bar(self, label: str, total: int) -> Iterator[Bar]:
        """A task of `total` parts."""
        bar = self.show(label, total)
        try:
            yield bar
        finally:
            self.hide(bar)

    def show(self, label: str, total: int, *, worker: int = 0, part: int | None = None) -> Bar:
        """A bar from now on; of the worker, and of the part of the course."""
        bar = Bar(spelt(label, sys.stderr), total, course=self.course, worker=worker, part=part)
        self._bars.append(bar)
        return bar

    def hide(self, bar: Bar) -> None:
        """The task of the bar is over."""
        self._bars.remove(bar)

    def made(self) -> None:
        """What the bars that are shown say from now on was made, not found among checkpoints."""
        for bar in tuple(self._bars):
            bar.made = True

    @contextlib.contextmanager
    def listening(self, record: Callable[..., Any] | None = None) -> Iterator[None]:
        """While inside, what is logged and what Python warns of is said by this console.

        record: called as record("warning", text=..., source=...) with all of it, the noise of libraries too.
        """

        def hear(text: str, source: str, is_for_readers: bool) -> None:
            if record is not None:
                record("warning", text=text, source=source)
            if is_for_readers:
                self.warn(text)
            else:
                self.detail(f"{source}: {text}")

        with listening(hear, details=self.verbose):
            yield

    def event(self, kind: str, /, **details: Any) -> None:
        """Something happened: one line, in words or as JSON."""
        if self.as_json:
            with self._writing:
                write_json({"event": kind, **details})
        elif not self.quiet:
            words = _in_words(kind, details)
            self._line(words if kind != "done" or self._screen is None else shortened(words, self._screen.console.width, self._dots))

    def detail(self, text: str) -> None:
        """Said with -v only."""
        if self.verbose and not (self.quiet or self.as_json):
            self._line(text)

    def warn(self, text: str) -> None:
        """Said once, however often it is true."""
        if text in self._warned:
            return
        self._warned.add(text)
        if self.as_json:
            self.event("warning", text=text)
        elif not self.quiet:
            self._line(f"warning: {text}")

    def result(self, text: Any) -> None:
        """What was asked for, on stdout. Not said when quiet, nor with --json, where the events carry it."""
        if self.quiet or self.as_json:
            return
        if isinstance(text, str):
            write(text)
        else:
            from rich.console import Console as Terminal

            accept_everything()
            Terminal().print(text)

    def _line(self, text: str) -> None:
        with self._writing:
            if self._screen is not None:
                self._screen.console.print(spelt(text, sys.stderr), markup=False, highlight=False, soft_wrap=True)
            else:
                write(text, err=True)


def _iso(course: Course) -> str | None:
    ends = course.ends()
    return ends.isoformat(timespec="seconds") if ends else None


def _in_words(kind: str, details: dict[str, Any]) -> str:
    label = details.pop("label", "")
    extra = ", ".join(f"{name} {value}" for name, value in details.items())
    return f"{kind:<8} {label}" + (f"  ({extra})" if extra else "")
