"""`idx`: the files in which MNIST is given out, and everything that was made in its image (Fashion-MNIST, KMNIST, EMNIST)."""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, cast

import numpy as np

from advrun.data import Dataset
from advrun.datasets._declared import MOST_PACKED, Declared, damage, streamed
from advrun.datasets._labels import read_labels
from advrun.datasets._pixels import image_shape, read_pixels
from advrun.datasets._sniff import HEAD, describe
from advrun.errors import DataError
from advrun.types import PathName

TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
"""The third byte of a file; numbers have the highest byte first."""
TRAINING, TEST = ("train",), ("t10k", "test")
KINDS = {"images": 3, "labels": 1}
"""What a file holds, and its number of dimensions."""
GZIP = b"\x1f\x8b"


def idx(training: bool = True, *, root: PathName, only: str = "") -> Dataset:
    """Images and labels in idx files, packed (.gz) or not: train-images-idx3-ubyte and its three relatives, in one folder.

    A model that is trained already needs no training images: t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte do. Grey images stay
    grey: (n, height, width, 1). Labels are class numbers; classes have no names.

    Args:
        root: the folder.
        only: read the files with this in their names alone, where one folder holds several data sets, as EMNIST's does.

    Raises:
        DataError: a file is missing, damaged, or is no idx file; or there are several for one purpose.
    """
    place = Path(root)
    files = {(split, kind): _file(place, words, kind, only) for split, words in (("train", TRAINING), ("test", TEST)) for kind in KINDS}
    if files["train", "images"] is None and files["train", "labels"] is None:
        files = {key: file for key, file in files.items() if key[0] == "test"}
    for (split, kind), file in files.items():
        if file is None:
            raise DataError(
                f"{place}: no {kind} of the {split} set; expected {'t10k' if split == 'test' else split}-{kind}-idx{KINDS[kind]}-ubyte"
            )
    arrays = {key: _declared(cast("Path", file)) for key, file in files.items()}
    splits = [split for split in ("train", "test") if (split, "images") in arrays]
    labels = {split: read_labels(arrays[split, "labels"], image_shape(arrays[split, "images"])[0][0]) for split in splits}
    x_test, y_test = read_pixels(arrays["test", "images"]), labels["test"].labels
    needed = training and "train" in labels
    counts = [len(labels[split].labels) if split in labels else 0 for split in ("train", "test")]
    return Dataset(
        name="idx",
        x_train=read_pixels(arrays["train", "images"]) if needed else x_test[:0],
        y_train=labels["train"].labels if needed else y_test[:0],
        x_test=x_test,
        y_test=y_test,
        class_names=tuple(map(str, range(max(each.classes for each in labels.values())))),
        variant=f"{place.name} ({counts[0]:,} training, {counts[1]:,} test images)",
    )


def _file(place: Path, words: tuple[str, ...], kind: str, only: str) -> Path | None:
    try:
        names = sorted(file for file in place.iterdir() if file.is_file() and not file.name.startswith("."))
    except OSError as error:
        raise DataError(f"{place}: cannot be read ({error.strerror or error}); expected a folder with idx files") from error
    found = [
        file for file in names if kind in file.name.lower() and "idx" in file.name and any(word in file.name.lower() for word in words)
    ]
    found = [file for file in found if only in file.name]
    plain = [file for file in found if file.suffix != ".gz" or file.with_suffix("") not in found]  # unpacked beside its archive
    if len(plain) > 1:
        raise DataError(f"{place}: {plain[0].name} and {plain[1].name} are both {kind}; say with `only` which part of the name is meant")
    return plain[0] if plain else None


def _declared(path: Path) -> Declared:
    """The array of an idx file: two zero bytes, the type, the number of sides, then the sides as 32-bit numbers, then the values."""
    place = str(path)
    with damage(place), _opened(path) as file:
        magic = file.read(4)
        if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in TYPES:
            with open(path, "rb") as raw:
                head = raw.read(HEAD)
            kind = None if head.startswith(GZIP) else describe(head)
            raise DataError(f"{path}: {kind or 'no idx file'}; fetch it again")
        sides = file.read(4 * magic[3])
        if len(sides) < 4 * magic[3]:
            raise EOFError("it ends within its header")
    shape, dtype = tuple(np.frombuffer(sides, ">u4").tolist()), np.dtype(TYPES[magic[2]])

    def start() -> Iterator[Callable[[int], bytes]]:
        with _opened(path) as file:
            file.read(4 + len(sides))
            yield file.read

    packed = path.stat().st_size * (MOST_PACKED if _is_packed(path) else 1)
    if math.prod(shape) * dtype.itemsize > packed:
        raise DataError(f"{path}: declares {shape} values, more than the file can hold; fetch it again")
    return streamed(place, shape, dtype, start)


def _is_packed(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(2) == GZIP


def _opened(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path, "rb")) if _is_packed(path) else open(path, "rb")
