"""Batches of one piece of work, each kept from before, or made here, or made by another worker meanwhile.

An image's result depends on the seed and the image alone, so it does not matter who makes which batch: several workers do one cell as a run
that was killed goes on, each with what is among the checkpoints (`Checkpoints.turn` says whose turn a batch is).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from advrun import engine
from advrun.checkpoints import Arrays, Checkpoints, LeftToOthers


class Runner(Protocol):
    """Makes batches, of images that are numbered from 0. batch_size: as many as it makes at once."""

    batch_size: int

    def make(self, rows: slice) -> Arrays:
        """What becomes of these images: an array with a row for each, or one number for all, by name; numbers of parts are added up."""

    def checked(self, saved: Arrays, rows: slice) -> Arrays:
        """What was kept of them. Raises an error where it is not of these images."""

    def room(self, rows: slice) -> int:
        """Bytes that it may have."""


def batches(runner: Runner, count: int, checkpoints: Checkpoints | None, name: str = "") -> Iterator[tuple[slice, Arrays]]:
    """The images of each batch of `count` images, and what became of them, as soon as that is known; most often in order.

    Args:
        runner: makes them. Where a batch does not fit into memory, its batch size is halved, and the batch made in parts.
        count: of all images together.
        checkpoints: where finished batches are kept, and taken from.
        name: tells batches apart that are kept in one place.

    Raises:
        LeftToOthers: where nothing is left that other workers are not making.
    """
    if checkpoints:
        checkpoints.flush()  # who joins now begins where this worker is
    size = runner.batch_size
    left = {_named(name, rows): rows for rows in (slice(first, min(first + size, count)) for first in range(0, count, size))}
    while left:
        names = list(left)
        mine = checkpoints.turn(names) if checkpoints else names[0]
        is_further = bool(mine)
        for theirs in names[: names.index(mine)] if mine else names:
            saved = _kept(runner, left[theirs], checkpoints, name)
            if saved is not None:
                is_further = True
                yield left.pop(theirs), saved
        if not is_further:
            raise LeftToOthers
        if mine:
            yield left[mine], _kept_or_made(runner, left.pop(mine), checkpoints, name)


def _named(name: str, rows: slice) -> str:
    return f"{name}{rows.start}-{rows.stop - rows.start}"


def _kept(runner: Runner, rows: slice, checkpoints: Checkpoints | None, name: str) -> Arrays | None:
    if checkpoints is None:
        return None
    return checkpoints.get(_named(name, rows), lambda saved: runner.checked(saved, rows), runner.room(rows))


def _kept_or_made(runner: Runner, rows: slice, checkpoints: Checkpoints | None, name: str) -> Arrays:
    made = _kept(runner, rows, checkpoints, name)
    if made is not None:
        return made
    if rows.stop - rows.start <= runner.batch_size:
        made = _made(runner, rows)
    if made is None:
        starts = range(rows.start, rows.stop, runner.batch_size)
        parts = [slice(start, min(start + runner.batch_size, rows.stop)) for start in starts]
        made = _joined([_kept_or_made(runner, part, checkpoints, name) for part in parts])
    if checkpoints:
        checkpoints.put(_named(name, rows), made)
    return made


def _made(runner: Runner, rows: slice) -> Arrays | None:
    """None where it did not fit into memory."""
    try:
        return runner.make(rows)
    except Exception as error:
        if not engine.is_out_of_memory(error) or runner.batch_size == 1:
            raise
        runner.batch_size = max(min(runner.batch_size, rows.stop - rows.start) // 2, 1)
        logging.getLogger("advrun").warning("out of memory: batch size halved to %d", runner.batch_size)
        return None


def _joined(parts: list[Arrays]) -> Arrays:
    found: dict[str, Any] = {name: [part[name] for part in parts] for name in parts[0]}
    return {name: np.concatenate(each) if each[0].ndim else np.asarray(sum(each)) for name, each in found.items()}
