"""Checkpoints of work that is not finished, so that a kill loses at most one batch or one epoch."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from advrun.errors import AdvrunError
from advrun.files import inside, is_regular, write_bytes
from advrun.npz import MAX_BYTES, pack, unpack

CHECKPOINT_SECONDS = 1.0
"""Checkpoints closer together than this are put off: a kill loses at most one batch, or this much work."""
END = "end"
"""The last piece of work of a cell, beside its batches: to put it together, and write it."""
Arrays = dict[str, np.ndarray]
T = TypeVar("T")


class LeftToOthers(Exception):
    """What is left of a cell is in the hands of other workers, the last of which will finish it."""


class Checkpoints:
    """Numbered checkpoints of one unfinished cell: mappings of arrays, each in a file of its own.

    `put` keeps what comes in quick succession in memory, and writes it once `CHECKPOINT_SECONDS` have passed. Of what is put under one
    name again and again, the last checkpoint but one is kept too.

    Args:
        folder: made when the first checkpoint is written. Where it is a link, the link is removed, and nothing behind it touched.
        damaged: told the file, and what is wrong with it, of a checkpoint that cannot be used.
        ask: where several workers may do the cell together: as `turn`.
        made: told whenever something is put.
    """

    def __init__(
        self,
        folder: Path,
        damaged: Callable[[Path, str], None] | None = None,
        ask: Callable[[Sequence[str]], str] | None = None,
        made: Callable[[], None] | None = None,
    ) -> None:
        self.folder = folder
        self._damaged = damaged or _warn
        self._ask = ask
        self._made = made
        self._pending: dict[str, Mapping[str, np.ndarray]] = {}
        self._last_write = time.monotonic()

    def get(self, name: str, use: Callable[[Arrays], T], most: int = MAX_BYTES) -> T | None:
        """What `use` makes of the last good checkpoint put under `name`, or None where there is none.

        A checkpoint that cannot be read, or of which `use` raises an error, is told to `damaged` and thrown away.

        Args:
            name: as it was put.
            use: takes the arrays; it must check them all before it changes anything, and raise an Exception where they do not fit.
            most: bytes that the arrays may declare, judged before they are read.
        """
        for place in (self._path(name), self._path(f"{name}.before")):
            if not os.path.lexists(place):
                continue
            try:
                return use(unpack(place, most))
            except FileNotFoundError:  # another worker has just finished the cell
                continue
            except Exception as error:  # whatever it is, the work can be done anew
                reason = str(error) if isinstance(error, (AdvrunError, ValueError)) else f"{type(error).__name__}: {error}"
                self._damaged(place, reason)
                with contextlib.suppress(OSError):
                    place.unlink()
        return None

    def turn(self, names: Sequence[str]) -> str:
        """Which of these, in order, is to be made here now: the first that no other worker has begun. "" where there is none; then what was
        put off is written, for others wait for it. Raises WriteError where the disk is full."""
        turn = self._ask(names) if self._ask else names[0]
        if not turn:
            self.flush()
        return turn

    def put(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Keep the arrays under the name. Raises WriteError where the disk is full."""
        self._pending[name] = arrays
        if self._made:
            self._made()
        if time.monotonic() - self._last_write >= CHECKPOINT_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what was put off. Raises WriteError where the disk is full."""
        for name, arrays in self._pending.items():
            place = self._path(name)
            content = pack(arrays)
            if is_regular(place):
                os.replace(place, self._path(f"{name}.before"))
            write_bytes(place, content)
        self._pending.clear()
        self._last_write = time.monotonic()

    def clear(self) -> None:
        """The cell is finished: forget its checkpoints."""
        self._pending.clear()
        with contextlib.suppress(AdvrunError, OSError):
            for file in self._path("").parent.iterdir():
                file.unlink()
            self.folder.rmdir()

    def _path(self, name: str) -> Path:
        if self.folder.is_symlink() or (self.folder.exists() and not self.folder.is_dir()):
            self._damaged(self.folder, "a link, or no folder")
            self.folder.unlink()  # the link, not what is behind it
        return inside(self.folder, f"{name}.npz")


class Section:
    """Those checkpoints of a cell whose names begin with `prefix`, as if there were no others. Where there are none to keep, none are."""

    def __init__(self, checkpoints: Checkpoints | None, prefix: str = "") -> None:
        self._whole, self._prefix = checkpoints, prefix

    def get(self, name: str, use: Callable[[Arrays], T], most: int = MAX_BYTES) -> T | None:
        """As `Checkpoints.get`."""
        return self._whole.get(f"{self._prefix}{name}", use, most) if self._whole else None

    def put(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """As `Checkpoints.put`."""
        if self._whole:
            self._whole.put(f"{self._prefix}{name}", arrays)

    def flush(self) -> None:
        """As `Checkpoints.flush`."""
        if self._whole:
            self._whole.flush()


def _warn(file: Path, reason: str) -> None:
    logging.getLogger("advrun").warning("%s: a checkpoint that cannot be used (%s); it is thrown away", file, reason)
