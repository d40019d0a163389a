"""What a person sees while advrun works: bars on a terminal, plain lines elsewhere, JSON lines with --json, or nothing."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

PLAIN_SECONDS = 10.0
"""Without a terminal, a running task says where it is this often."""


@dataclass
class Bar:
    """Progress of one task; `advance` is called as often as the work likes."""

    console: Console
    label: str
    total: int
    done: int = 0
    started: float = field(default_factory=time.monotonic)
    _spoke: float = field(default_factory=time.monotonic)
    _task: Any = None

    def at(self, note: str, done: int, total: int) -> None:
        """Set where the task is, and what it works on."""
        self.total, self.done = total, done
        self.advance(0, note)

    def advance(self, count: int = 1, note: str = "") -> None:
        self.done += count
        if self._task is not None:
            self.console.progress.update(self._task, completed=self.done, total=self.total, note=note)
        elif time.monotonic() - self._spoke > PLAIN_SECONDS:
            self._spoke = time.monotonic()
            self.console.event("progress", label=self.label, done=self.done, total=self.total, note=note)


class Console:
    """Speaks at one of four levels: quiet (errors only), normal, verbose, or as JSON lines on stdout.

    Progress and remarks go to stderr, results to stdout, so that `advrun report | less` and pipes work.
    """

    def __init__(self, *, quiet: bool = False, verbose: bool = False, as_json: bool = False) -> None:
        self.quiet, self.verbose, self.as_json = quiet, verbose, as_json
        self.progress: Any = None
        self.is_terminal = sys.stderr.isatty() and not (quiet or as_json)

    @contextlib.contextmanager
    def live(self) -> Iterator[None]:
        """While inside, a terminal shows bars."""
        if not self.is_terminal:
            yield
            return
        from rich.console import Console as Terminal
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        times = (TimeElapsedColumn(), TimeRemainingColumn())
        columns = (TextColumn("{task.description}"), BarColumn(30), MofNCompleteColumn(), *times, TextColumn("[dim]{task.fields[note]}"))
        with Progress(*columns, console=Terminal(stderr=True), transient=True) as self.progress:
            yield
        self.progress = None

    @contextlib.contextmanager
    def bar(self, label: str, total: int) -> Iterator[Bar]:
        """A task of `total` parts."""
        bar = Bar(self, label, total)
        if self.progress is not None:
            bar._task = self.progress.add_task(label, total=total, note="")
        try:
            yield bar
        finally:
            if self.progress is not None:
                self.progress.remove_task(bar._task)

    def event(self, kind: str, /, **details: Any) -> None:
        """Something happened: one line, in words or as JSON."""
        if self.as_json:
            print(json.dumps({"event": kind, **details}, default=str), flush=True)
        elif not self.quiet:
            self._line(_in_words(kind, details))

    def detail(self, text: str) -> None:
        """Said with -v only."""
        if self.verbose and not (self.quiet or self.as_json):
            self._line(text)

    def warn(self, text: str) -> None:
        if self.as_json:
            print(json.dumps({"event": "warning", "text": text}), flush=True)
        elif not self.quiet:
            self._line(f"warning: {text}")

    def result(self, text: Any) -> None:
        """What was asked for, on stdout. Not said when quiet, nor with --json, where the events carry it."""
        if self.quiet or self.as_json:
            return
        if isinstance(text, str):
            print(text, flush=True)
        else:
            from rich.console import Console as Terminal

            Terminal().print(text)

    def _line(self, text: str) -> None:
        if self.progress is not None:
            self.progress.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)


def _in_words(kind: str, details: dict[str, Any]) -> str:
    label = details.pop("label", "")
    if kind == "progress":
        note = f"  {details['note']}" if details.get("note") else ""
        return f"  {label}: {details['done']} of {details['total']}{note}"
    extra = ", ".join(f"{name} {value}" for name, value in details.items())
    return f"{kind:<8} {label}" + (f"  ({extra})" if extra else "")
