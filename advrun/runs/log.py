"""The log of a results folder, `log.jsonl`, as it is read: it may be torn by a kill, or be somebody else's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from advrun.files import opened
from advrun.runs.store import LOG

LONGEST = 1 << 20
"""Bytes of a line."""


def events(root: Path, *kinds: str) -> Iterator[dict[str, Any]]:
    """Its events of these kinds, in order; lines that are none are left out. Nothing where there is no log."""
    marks = [f'"{kind}"'.encode() for kind in kinds]
    try:
        with opened(root / LOG) as file:
            while line := file.readline(LONGEST):
                if not any(mark in line for mark in marks):  # most lines need not be parsed
                    continue
                try:
                    event = json.loads(line)
                except (ValueError, RecursionError):
                    continue
                if isinstance(event, dict) and event.get("event") in kinds:
                    yield event
    except OSError:
        return
