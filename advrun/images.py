"""Images that need not fit into memory: read when they are looked at, and a little ahead of whoever looks at them in order.

An array is images, and so is an `Images`: both have `shape`, `dtype` and `len`, are taken apart by `[rows]`, and become an array by
`np.asarray`. Of an `Images`, `[rows]` reads nothing yet.
"""

from __future__ import annotations

import hashlib
import math
import os
import tempfile
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from advrun.errors import WriteError

AHEAD = 2
"""Blocks that are read while another is looked at."""
BLOCK = 32 << 20
"""Bytes of float32 that are looked at together where nobody says how many images."""
HELD = 512 << 20
"""Bytes of images that an attack learns or starts from, of a set that need not fit into memory: so many are drawn."""


class Images(ABC):
    """Images (n, height, width, channels) that lie somewhere else. dtype: uint8, or float32 in [0, 1]."""

    def __init__(self, shape: tuple[int, ...], dtype: Any = np.uint8) -> None:
        self.shape, self.dtype, self.ndim = tuple(shape), np.dtype(dtype), len(shape)

    @abstractmethod
    def read(self, rows: np.ndarray) -> np.ndarray:
        """The images numbered `rows`, (k,) int, as an array (k, height, width, channels)."""

    def digests(self, rows: np.ndarray) -> list[bytes]:
        """A hash of each of the images numbered `rows`, and of all that is done to it."""
        return [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for block in blocks(self[rows]) for image in block]

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """What all of them would take in memory."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __getitem__(self, rows: Any) -> Any:
        """One image as an array for a number; images for a slice, numbers (k,) or a mask (n,)."""
        if isinstance(rows, (int, np.integer)):
            return self.read(np.array([range(len(self))[rows]]))[0]
        return _Rows(self, np.arange(len(self))[rows])

    def __iter__(self) -> Iterator[np.ndarray]:
        return (image for block in blocks(self) for image in block)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self.read(np.arange(len(self))) if len(self) else np.empty(self.shape, self.dtype)
        return array if dtype is None else array.astype(dtype)


class _Rows(Images):
    """Some images of others, in an order of their own."""

    def __init__(self, base: Images, rows: np.ndarray) -> None:
        super().__init__((len(rows), *base.shape[1:]), base.dtype)
        self.base: Images = base.base if isinstance(base, _Rows) else base
        self.rows: np.ndarray = base.rows[rows] if isinstance(base, _Rows) else rows

    def read(self, rows: np.ndarray) -> np.ndarray:
        return self.base.read(self.rows[rows])

    def digests(self, rows: np.ndarray) -> list[bytes]:
        return self.base.digests(self.rows[rows])


class _Changed(Images):
    """Images with something done to them, block by block, whenever they are read."""

    def __init__(self, base: Images, change: Callable[[np.ndarray], np.ndarray], dtype: Any) -> None:
        super().__init__(base.shape, dtype)
        self.base, self.change = base, change

    def read(self, rows: np.ndarray) -> np.ndarray:
        return self.change(self.base.read(rows))


class Canvas(Images):
    """Images that can be painted over, float32 in [0, 1]; those that were not are the ones of `base`.

    They are kept in a file without a name, which is gone when nobody holds it, however that ends.

    Args:
        base: the images to begin with.
        folder: where the file lies; that of temporary files by default.
    """

    def __init__(self, base: Images, folder: Path | None = None) -> None:
        super().__init__(base.shape, np.float32)
        self.base, self.folder = base, folder
        self.painted = np.zeros(len(base), bool)
        with self._writing():
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115  # it is held as long as the images are
        self._bytes = 4 * math.prod(self.shape[1:])

    def read(self, rows: np.ndarray) -> np.ndarray:
        images = np.empty((len(rows), *self.shape[1:]), np.float32)
        painted = self.painted[rows]
        if not painted.all():
            images[~painted] = self.base.read(rows[~painted])
        for place in np.flatnonzero(painted):
            content = os.pread(self._file.fileno(), self._bytes, int(rows[place]) * self._bytes)
            images[place] = np.frombuffer(content, np.float32).reshape(self.shape[1:])
        return images

    def __setitem__(self, rows: np.ndarray, images: np.ndarray) -> None:
        """Paint over the images numbered `rows` (k,). Raises WriteError where the disk is full."""
        with self._writing():
            for row, image in zip(rows, images, strict=True):
                content = memoryview(np.ascontiguousarray(image, np.float32).tobytes())
                start = int(row) * self._bytes
                while len(content):
                    done = os.pwrite(self._file.fileno(), content, start)
                    content, start = content[done:], start + done
        self.painted[rows] = True

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            place = self.folder or tempfile.gettempdir()
            raise WriteError(f"{place}: images cannot be kept there ({error.strerror or error}); make room") from error


AnyImages = np.ndarray | Images


def painted(images: Any, others: Any, where: np.ndarray) -> Any:
    """The images, with `others` in their place where a mask (n,) says so; a `Canvas` is painted over."""
    if not isinstance(images, Canvas):
        return np.where(where[:, None, None, None], others, images)
    rows, done = np.flatnonzero(where), 0
    for block in blocks(others[rows]):
        images[rows[done : done + len(block)]] = block
        done += len(block)
    return images


def changed(images: Any, change: Callable[[np.ndarray], np.ndarray], dtype: Any) -> Any:
    """What `change` makes of the images, of the same shape and of type `dtype`: at once of an array, else when they are read."""
    return _Changed(images, change, dtype) if isinstance(images, Images) else change(images)


def by_blocks(function: Callable[..., Any], *images: Any) -> np.ndarray:
    """function(*images), (n, ...), of whole arrays at once, else block by block; each image's values must be its own affair."""
    if not any(isinstance(each, Images) for each in images):
        return np.asarray(function(*images))
    return np.concatenate([np.asarray(function(*parts)) for parts in zip(*map(blocks, images), strict=True)])


def blocks(images: Any, size: int | None = None) -> Iterator[np.ndarray]:
    """Arrays of up to `size` images each, in order; those that lie somewhere else are read ahead."""
    size = size or max(1, BLOCK // max(1, 4 * math.prod(images.shape[1:])))
    with ahead(images, (np.arange(start, min(start + size, len(images))) for start in range(0, len(images), size))) as parts:
        yield from parts


@contextmanager
def ahead(images: Any, rows: Iterable[np.ndarray]) -> Iterator[Iterator[np.ndarray]]:
    """The images of each of `rows`, numbers (k,), one after the other, the next ones read while one is looked at."""
    if not isinstance(images, Images):
        yield (images[each[0] : each[-1] + 1] if _in_a_row(each) else images[each] for each in rows)
        return
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
        waiting: deque[Future[np.ndarray]] = deque()

        def parts() -> Iterator[np.ndarray]:
            for each in rows:
                waiting.append(pool.submit(images.read, each))
                if len(waiting) > AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

        try:
            yield parts()
        finally:
            for future in waiting:
                future.cancel()


def _in_a_row(rows: np.ndarray) -> bool:
    return bool(len(rows) and (np.diff(rows) == 1).all())


def in_threads(function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """What `function` makes of each item, on all cores: for work that leaves Python's lock alone, as decoding does."""
    return list(_workers().map(function, items))


_pool: ThreadPoolExecutor | None = None


def _workers() -> ThreadPoolExecutor:
    """Threads that stay: starting them for each batch would cost more than small images do."""
    global _pool
    if _pool is None:
        _pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(), "images")
    return _pool
