"""CIFAR-10's files: the Python version (pickles), the binary version, folders or .tar.gz of either; nothing is unpacked onto the disk."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from advrun.data import Dataset
from advrun.datasets._declared import damage
from advrun.datasets._greys import ARRAY_FILES
from advrun.datasets._labels import MOST_CLASSES
from advrun.datasets._pickles import plain, unpickled
from advrun.datasets.arrays import arrays
from advrun.errors import DataError

FORM = "cifar-10-python.tar.gz or cifar-10-binary.tar.gz, or the folder of either (cifar-10-batches-py or -bin), or an .npz or .h5 file"
SIDE, CHANNELS = 32, 3
PIXELS = SIDE * SIDE * CHANNELS
TRAINING, TEST = tuple(f"data_batch_{number}" for number in range(1, 6)), "test_batch"
FOLDERS = ("cifar-10-batches-py", "cifar-10-batches-bin")
ARCHIVES = ("cifar-10-python.tar.gz", "cifar-10-binary.tar.gz", "cifar-10-batches-py.tar.gz")
MOST_IN_FILE, MOST_IN_ARCHIVE = 64 * 2**20, 2**30
"""Bytes; the published ones are 31 and 186 million."""


class Batch(NamedTuple):
    """images: (n, 32, 32, 3) uint8. labels: (n,) int32."""

    images: np.ndarray
    labels: np.ndarray


def read_cifar(place: Path) -> Dataset:
    """Both parts; no training images where there is the test batch alone. Rows keep the order of the files.

    Raises:
        DataError: no such files, or damaged ones, or pickles that hold anything but plain arrays, of which nothing is run.
    """
    if place.is_file() and place.suffix.lower() in ARRAY_FILES:
        return arrays(path=str(place))
    batches = dict(_batches(place))
    if TEST not in batches:
        raise DataError(f"{place}: no {TEST} here; expected {FORM}")
    train = [batches[name] for name in TRAINING if name in batches]
    test = batches[TEST]
    images, labels = (np.concatenate([batch[field] for batch in train]) if train else test[field][:0] for field in (0, 1))
    classes = 1 + max(int(batch.labels.max()) for batch in batches.values())
    return Dataset("cifar10", images, labels, test.images, test.labels, tuple(map(str, range(classes))))


def _batches(place: Path) -> Iterator[tuple[str, Batch]]:
    for name, content in _members(place):
        stem = name.removesuffix(".bin")
        yield stem, _binary(content, f"{place}: {name}") if name != stem else _pickled(content, f"{place}: {name}")


def _members(place: Path) -> Iterator[tuple[str, bytes]]:
    """The files that hold batches: name and content."""
    if place.is_file():
        yield from _archived(place)
        return
    wanted = (*TRAINING, TEST)
    for folder in (place, *(place / name for name in FOLDERS)):
        for names in (wanted, [f"{name}.bin" for name in wanted]):
            files = [folder / name for name in names if (folder / name).is_file()]
            if files:
                for file in files:
                    if file.stat().st_size > MOST_IN_FILE:
                        raise DataError(f"{file}: {file.stat().st_size:,} bytes are no batch of CIFAR-10; fetch it again")
                    yield file.name, file.read_bytes()
                return
    for name in ARCHIVES:
        if (place / name).is_file():
            yield from _archived(place / name)
            return


def _archived(path: Path) -> Iterator[tuple[str, bytes]]:
    wanted = {name + end for name in (*TRAINING, TEST) for end in ("", ".bin")}
    seen: set[str] = set()
    total = 0
    with damage(str(path)), tarfile.open(path, "r:*") as archive:
        for member in archive:
            total += member.size
            name = PurePosixPath(member.name).name
            if total > MOST_IN_ARCHIVE:
                raise DataError(f"{path}: declares over {MOST_IN_ARCHIVE >> 20} MiB, and is no CIFAR-10; fetch it again")
            if name not in wanted or not member.isfile():
                continue
            if name in seen or member.size > MOST_IN_FILE:
                raise DataError(f"{path}: {name} is there twice, or is no batch of CIFAR-10 ({member.size:,} bytes); fetch it again")
            seen.add(name)
            file = archive.extractfile(member)
            yield name, file.read() if file else b""


def _pickled(content: bytes, place: str) -> Batch:
    found = unpickled(io.BytesIO(content), place)
    if not isinstance(found, dict):
        raise DataError(f"{place}: holds {type(found).__name__}, not a dictionary with data and labels; fetch it again")
    named = {key.decode("latin1") if isinstance(key, bytes) else key: value for key, value in found.items()}
    with damage(place):
        images = plain(named["data"])
        labels = named["labels"]
        labels = np.array(labels) if isinstance(labels, list) else plain(labels)
    if images.dtype != np.uint8 or images.ndim != 2 or images.shape[1] != PIXELS:
        raise DataError(f"{place}: data is {images.dtype} {images.shape}; expected uint8 (n, {PIXELS})")
    return _batch(images, labels, place)


def _binary(content: bytes, place: str) -> Batch:
    """One byte of label, then 1,024 of red, of green, of blue."""
    if not content or len(content) % (1 + PIXELS):
        raise DataError(f"{place}: {len(content):,} bytes are not a whole number of images of {1 + PIXELS:,} bytes; fetch it again")
    rows = np.frombuffer(content, np.uint8).reshape(-1, 1 + PIXELS)
    return _batch(rows[:, 1:], rows[:, 0], place)


def _batch(rows: np.ndarray, labels: np.ndarray, place: str) -> Batch:
    if labels.shape != (len(rows),) or labels.dtype.kind not in "iu" or not len(rows) or labels.min() < 0 or labels.max() >= MOST_CLASSES:
        raise DataError(f"{place}: {len(rows)} images, and labels {labels.dtype} {labels.shape}; expected a class number for each image")
    images = rows.reshape(-1, CHANNELS, SIDE, SIDE).transpose(0, 2, 3, 1)
    return Batch(np.ascontiguousarray(images), labels.astype(np.int32))
