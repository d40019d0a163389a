"""Arrays of files from strangers: what they declare is judged before a value is read, and values are read a few rows at a time."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from advrun.datasets._images import MAX_BYTES
from advrun.errors import AdvrunError, DataError

BLOCK = 16 * 2**20
"""Bytes that are read and converted at once."""
MOST_PACKED = 1100
"""Deflate, which .npz, .gz and most HDF5 files are packed with, packs no more than 1,032 to 1."""


class Declared(NamedTuple):
    """An array that is known by its header.

    place: file and name, for messages. blocks: reads its rows in order, some at a time; each call begins anew.
    """

    place: str
    shape: tuple[int, ...]
    dtype: np.dtype
    blocks: Callable[[], Iterator[np.ndarray]]

    def read(self) -> np.ndarray:
        """All of it."""
        values, done = np.empty(self.shape, self.dtype), 0
        for block in self.blocks():
            values[done : done + len(block)] = block
            done += len(block)
        return values

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def rows(self) -> int:
        """So many are read at once."""
        return max(1, BLOCK // max(1, self.size // max(1, self.shape[0])))


def judged(declared: Declared) -> Declared:
    """The array, unless it declares what no memory holds. Raises DataError."""
    if any(side < 0 for side in declared.shape):
        raise DataError(f"{declared.place} is damaged (its shape is {declared.shape}); write the file again")
    if declared.size > MAX_BYTES:
        raise DataError(f"{declared.place} declares {declared.shape} {declared.dtype}, over {MAX_BYTES >> 30} GiB; refused")
    return declared


def streamed(place: str, shape: tuple[int, ...], dtype: np.dtype, start: Callable[[], Iterator[Callable[[int], bytes]]]) -> Declared:
    """An array whose bytes come one after the other; `start` opens the file at the first of them and yields its `read`."""

    def blocks() -> Iterator[np.ndarray]:
        with damage(place):
            for read in start():
                for first in range(0, shape[0] if shape else 0, declared.rows):
                    count = min(declared.rows, shape[0] - first)
                    wanted = count * math.prod(shape[1:])
                    content = read(wanted * dtype.itemsize)
                    if len(content) < wanted * dtype.itemsize:
                        raise EOFError("it ends too early")
                    yield np.frombuffer(content, dtype, wanted).reshape(count, *shape[1:])

    declared = judged(Declared(place, shape, dtype, blocks))
    return declared


def in_memory(declared: Declared, most: int) -> Declared:
    """The same array, kept in memory unless it is larger than `most` bytes: for what is looked at twice."""
    if declared.size > most:
        return declared
    values = declared.read()
    return declared._replace(blocks=lambda: (values[row : row + declared.rows] for row in range(0, len(values), declared.rows)))


@contextlib.contextmanager
def damage(place: str) -> Iterator[None]:
    """Whatever the bytes of a damaged file lead its reader to raise, as one DataError that names the place."""
    try:
        yield
    except AdvrunError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"{place} is damaged ({reason}); write the file again") from error
