"""GTSRB as Udacity gives it out: train.p, valid.p and test.p, pickles of a dictionary of arrays.

A pickle is a program. This reader runs none of it: whatever the file names becomes one of five stand-ins, which only
keep what they are given, and the arrays are then made from the kept bytes. Anything else that the file names is refused.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from advrun.datasets._prepared import Split, Splits
from advrun.datasets._sniff import HEAD, describe
from advrun.errors import DataError

FRAMES = 30
"""Images of a track, everywhere but in one track of class 33, which has 29."""
SHORT_TRACK_CLASS = 33
ALIKE = 0.6
CODES = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")


def udacity(root: Path) -> Splits | None:
    """Training (train.p and valid.p, if any) and test split, or None where there is no train.p in `root` or one folder below.

    Images are the whole pictures at 32 x 32, not cropped to the sign. Rows keep the order of the files.
    """
    for pattern in ("train.p", "*/train.p"):
        for path in sorted(root.glob(pattern)):
            parts = [_read(file) for file in (path, path.with_name("valid.p")) if file == path or file.exists()]
            test = _read(path.with_name("test.p"))
            images, labels = (np.concatenate([part[field] for part in parts]) for field in (0, 1))
            return Split(images, labels, tracks(images, labels)), Split(*test)
    return None


def tracks(images: np.ndarray, labels: np.ndarray) -> np.ndarray | None:
    """Track numbers of images that come track by track, (n,) int32, or None where that cannot be seen.

    The pickles hold no track numbers. In files that were not shuffled, labels come in runs of whole tracks, so each 30
    images of a run are one. The pixels must confirm it: neighbours in a track look alike. (On the official training set,
    the mean step between neighbours is 0.22 of that between tracks of one class; with shuffled rows it is 1.00.)
    A run of class 33 with the track of 29 images counts as one track, for nothing says where in it that track is.
    """
    starts = np.flatnonzero(np.diff(labels, prepend=-1))
    lengths = np.diff(starts, append=len(labels))
    whole = lengths % FRAMES == 0
    if np.any(~whole & (labels[starts] != SHORT_TRACK_CLASS)):
        return None
    run = np.repeat(np.arange(len(starts)), lengths)
    block = np.where(whole[run], (np.arange(len(labels)) - starts[run]) // FRAMES, 0)
    _, track = np.unique(run * len(labels) + block, return_inverse=True)
    step = np.abs(np.diff(images[:, ::4, ::4].astype(np.int16), axis=0)).mean(axis=(1, 2, 3))
    inside = np.diff(track) == 0
    borders = step[~inside & (np.diff(labels) == 0)]
    if not len(borders) or step[inside].mean() > ALIKE * borders.mean():
        return None
    return track.astype(np.int32)


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 32, 32, 3) uint8 and labels (n,) int32 of one pickle."""
    try:
        with open(path, "rb") as file:
            content = _Unpickler(file, encoding="latin1").load()
    except FileNotFoundError as error:
        raise DataError(f"{path}: missing; train.p and test.p belong together") from error
    except Exception as error:  # A damaged or hostile pickle raises whatever its bytes lead to.
        raise DataError(f"{path}: {_damage(path, error)}; fetch the file again") from error
    if not isinstance(content, Mapping) or not {"features", "labels"} <= set(content):
        raise DataError(f"{path}: holds no dictionary with 'features' and 'labels'; fetch the file again")
    try:
        images, labels = _plain(content["features"]), _plain(content["labels"])
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}: {error}; fetch the file again") from error
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or labels.shape != images.shape[:1]:
        raise DataError(f"{path}: images are {images.dtype} {images.shape}, labels {labels.shape}; expected uint8 (n, 32, 32, 3)")
    return images, labels.astype(np.int32)


def _damage(path: Path, error: Exception) -> str:
    with open(path, "rb") as file:
        kind = describe(file.read(HEAD))
    return kind or f"damaged, or not a pickle of plain arrays ({' '.join(str(error).split()) or type(error).__name__})"


class _DType:
    """Stands in for numpy.dtype: keeps the type code and the byte order."""

    def __init__(self, code: str, *_: Any) -> None:
        if code not in CODES:
            raise pickle.UnpicklingError(f"arrays of type {code!r} are not read")
        self.code, self.order = code, "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in ("<", ">"):
            self.order = state[1]


class _Array:
    """Stands in for numpy.ndarray: keeps shape, type, memory order and bytes."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, self.shape, self.dtype, self.fortran, self.data = state

    def plain(self) -> np.ndarray:
        data = self.data.encode("latin1") if isinstance(self.data, str) else self.data
        if not isinstance(data, bytes | bytearray) or not isinstance(self.dtype, _DType):
            raise ValueError("an array of objects, not of numbers")
        dtype = np.dtype(self.dtype.order + self.dtype.code)
        if math.prod(self.shape) * dtype.itemsize != len(data):
            raise ValueError(f"an array of shape {self.shape} has {len(data)} bytes")
        return np.frombuffer(data, dtype).reshape(self.shape, order="F" if self.fortran else "C")


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _frombuffer(data: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    array = _Array()
    array.__setstate__((1, shape, dtype, order == "F", data))
    return array


def _encode(text: str, encoding: str) -> bytes:
    """Protocol 2 has no bytes: it writes them as text in latin1."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"encoding {encoding!r} is not read")
    return text.encode("latin1")


ALLOWED: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DType,
    ("_codecs", "encode"): _encode,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _frombuffer for core in ("core", "_core")},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no array needs")
        return ALLOWED[module, name]


def _plain(value: Any) -> np.ndarray:
    if not isinstance(value, _Array):
        raise TypeError(f"{type(value).__name__} where an array was expected")
    return value.plain()
