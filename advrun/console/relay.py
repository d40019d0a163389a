"""A console whose reader is elsewhere: what it is told goes there as messages."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from advrun.console.speak import Bar, Console, strict

OFTEN = 0.5
"""Seconds between two messages about the same bar."""


class Relay(Console):
    """Sends messages as `advrun/pools` describes them; says nothing itself."""

    def __init__(self, send: Callable[[dict[str, Any]], None], *, verbose: bool = False) -> None:
        super().__init__(quiet=True, verbose=verbose)
        self._send = send

    def show(self, label: str, total: int, *, worker: int = 0, part: int | None = None) -> Bar:
        bar = _RelayedBar(label, total, send=self._send)
        self._bars.append(bar)
        bar.advance(0)
        return bar

    def event(self, kind: str, /, **details: Any) -> None:
        self._send({"kind": "event", "event": kind, "details": strict(details)})

    def detail(self, text: str) -> None:
        if self.verbose:
            self._send({"kind": "detail", "text": text})

    def warn(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            self._send({"kind": "warning", "text": text})


@dataclass
class _RelayedBar(Bar):
    send: Callable[[dict[str, Any]], None] | None = None
    said: float = 0.0

    def advance(self, count: int = 1, note: str = "") -> None:
        super().advance(count, note)
        if self.send and time.monotonic() - self.said >= OFTEN:
            self.said = time.monotonic()
            counts = {"done": int(self.done), "total": int(self.total), "kept": int(self.kept)}
            self.send({"kind": "bar", "label": self.label, **counts, "note": self.note})
