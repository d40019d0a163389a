"""`arrays`: one .npz or HDF5 file with images and labels, as most Python code writes them."""

from __future__ import annotations

import contextlib
import logging
import math
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from advrun.data import Dataset
from advrun.datasets import _hdf5
from advrun.datasets._images import MAX_BYTES
from advrun.datasets._sniff import HEAD, describe
from advrun.errors import DataError
from advrun.types import FilePath

if TYPE_CHECKING:
    import h5py

log = logging.getLogger("advrun")

NAMES = {
    "x_train": ("train/images",),
    "y_train": ("train/labels",),
    "x_test": ("test/images", "x"),
    "y_test": ("test/labels", "y"),
    "group_train": ("train/group",),
}
"""The names that are looked for: the usual one, the one in prepared HDF5 files, and that of a file with test images alone."""
MOST_CLASSES = 100_000
ROUNDING = 0.01
"""Steps of 1/255 by which a float image may differ from an 8-bit one without a word."""

Lookup = Callable[[str], np.ndarray | None]


def arrays(*, path: FilePath) -> Dataset:
    """Images and labels from one file: x_train, y_train, x_test, y_test in .npz, .h5 or .hdf5.

    Images are (n, height, width, channels) or (n, height, width): integers 0 to 255, or floats 0 to 1, which become 8 bit.
    Labels are (n,) whole numbers from 0, or one-hot (n, classes). Optional: group_train (n,), equal for images that belong
    together in a validation split, and class_names. The names train/images, train/labels, test/images, test/labels and
    train/group are read too. A model that is trained already needs no training images: x_test and y_test do, or x and y.

    Args:
        path: the file. Pickled objects, and HDF5 data that lies in other files, are refused.

    Raises:
        DataError: the file is damaged, lacks an array, or holds one of the wrong kind, shape or range.
    """
    place = Path(path).expanduser()
    opened = _opened_hdf5 if place.suffix.lower() in _hdf5.SUFFIXES else _opened_npz
    with opened(place) as (lookup, names):
        found = {name: values for name, other in NAMES.items() if (values := _first(lookup, name, *other)) is not None}
    trains = "x_train" in found or "y_train" in found
    for name in ("x_train", "y_train", "x_test", "y_test") if trains else ("x_test", "y_test"):
        if name not in found:
            raise DataError(f"{place}: no {name} (nor {' nor '.join(NAMES[name])}); write it into the file")
    x_test, test = _pixels(found["x_test"], f"{place}: x_test"), _labels(found["y_test"], f"{place}: y_test")
    if trains:
        x_train, train = _pixels(found["x_train"], f"{place}: x_train"), _labels(found["y_train"], f"{place}: y_train")
    else:
        x_train, train = x_test[:0], _Labels(test.labels[:0], 0)
    classes = max(train.classes, test.classes)
    return Dataset(
        name="arrays",
        x_train=x_train,
        y_train=train.labels,
        x_test=x_test,
        y_test=test.labels,
        class_names=_class_names(names, classes, place),
        group=_group(found.get("group_train"), len(train.labels), place),
        variant=f"{place.name} ({len(train.labels):,} training, {len(test.labels):,} test images)",
    )


def _first(lookup: Lookup, *names: str) -> np.ndarray | None:
    return next((values for name in names if (values := lookup(name)) is not None), None)


@contextlib.contextmanager
def _opened_hdf5(path: Path) -> Iterator[tuple[Lookup, np.ndarray | None]]:
    with _hdf5.opened(path) as file:
        yield lambda name: _hdf5.array(file, name), _hdf5_names(file)


def _hdf5_names(file: h5py.File) -> np.ndarray | None:
    import h5py

    node = _hdf5.dataset(file, "class_names")
    if node is None:
        return np.asarray(file.attrs["class_names"]) if "class_names" in file.attrs else None
    return np.asarray(node.asstr()[()]) if h5py.check_string_dtype(node.dtype) else np.asarray(node[()])


@contextlib.contextmanager
def _opened_npz(path: Path) -> Iterator[tuple[Lookup, np.ndarray | None]]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield lambda name: _npz_array(archive, name), _npz_array(archive, "class_names")
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; expected .npz, .h5 or .hdf5") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); expected .npz, .h5 or .hdf5") from error
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:  # the index of the archive
        with open(path, "rb") as file:
            kind = describe(file.read(HEAD)) or "damaged or not an .npz file"
        raise DataError(f"{path}: {kind}; expected .npz, .h5 or .hdf5") from error


def _npz_array(archive: zipfile.ZipFile, name: str) -> np.ndarray | None:
    """One array; its header is judged before memory is taken."""
    member = f"{name}.npy"
    if member not in archive.namelist():
        return None
    place = f"{archive.filename}: {name}"
    try:
        with archive.open(member) as file:
            version = np.lib.format.read_magic(file)
            read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read_header(file)
        if dtype.hasobject:
            raise DataError(f"{place} holds Python objects, which are not read; save plain numbers")
        if math.prod(shape) * dtype.itemsize > MAX_BYTES:
            raise DataError(f"{place} declares {shape} {dtype}, over {MAX_BYTES >> 30} GiB; refused")
        with archive.open(member) as file:
            return np.asarray(np.lib.format.read_array(file, allow_pickle=False))
    except DataError:
        raise
    except Exception as error:  # damage shows as errors of many kinds: of zipfile, zlib, struct, tokenize and NumPy
        raise DataError(f"{place} is damaged ({' '.join(str(error).split())}); write the file again") from error


def _pixels(values: np.ndarray, place: str) -> np.ndarray:
    """Images as (n, height, width, channels) uint8."""
    if values.ndim == 3:
        values = values[..., None]
    if values.size == 0:
        raise DataError(f"{place} is empty: its shape is {values.shape}")
    if values.ndim != 4:
        raise DataError(f"{place} has shape {values.shape}; expected (n, height, width, channels)")
    if values.shape[3] > 4:
        hint = "channels come first, transpose it to" if values.shape[1] <= 4 else "expected at most 4 channels,"
        raise DataError(f"{place} has shape {values.shape}; {hint} (n, height, width, channels)")
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind not in "iuf":
        raise DataError(f"{place} holds {values.dtype} values; expected uint8, or floats from 0 to 1")
    if not np.isfinite(values).all():
        raise DataError(f"{place} holds NaN or infinite values; expected uint8, or floats from 0 to 1")
    low, high, most = values.min(), values.max(), 1 if values.dtype.kind == "f" else 255
    if low < 0 or high > most:
        raise DataError(f"{place} runs from {low:g} to {high:g}; expected uint8, or floats from 0 to 1: rescale it")
    if most == 255:
        return values.astype(np.uint8)
    scaled = values.astype(np.float32) * 255
    rounded = np.rint(scaled)
    if np.abs(scaled - rounded).max() > ROUNDING:
        log.warning("%s is rounded to 8 bit: its values are not multiples of 1/255", place)
    return rounded.astype(np.uint8)


class _Labels(NamedTuple):
    labels: np.ndarray
    classes: int


def _labels(values: np.ndarray, place: str) -> _Labels:
    """Labels as (n,) int32, and the number of classes that they speak of."""
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim not in (1, 2) or values.size == 0 or values.dtype.kind not in "biuf":
        raise DataError(f"{place} is {values.dtype} {values.shape}; expected whole numbers (n,), or one-hot (n, classes)")
    if values.ndim == 2:
        if not (np.isin(values, (0, 1)).all() and (values.sum(axis=1) == 1).all()):
            raise DataError(f"{place} has shape {values.shape} but is not one-hot: each row must hold a single 1 among zeros")
        return _Labels(values.argmax(axis=1).astype(np.int32), values.shape[1])
    if not (values == np.rint(values)).all() or values.min() < 0 or values.max() >= 2**31 - 1:
        raise DataError(f"{place} holds values that are no class numbers; expected whole numbers from 0")
    if values.max() >= MOST_CLASSES:
        raise DataError(f"{place} runs up to {int(values.max()):,}; expected class numbers from 0, below {MOST_CLASSES:,}")
    return _Labels(values.astype(np.int32), int(values.max()) + 1)


def _class_names(names: np.ndarray | None, classes: int, place: Path) -> tuple[str, ...]:
    if names is None:
        return tuple(str(label) for label in range(classes))
    if names.ndim != 1 or len(names) < classes:
        raise DataError(f"{place}: class_names has shape {names.shape}, but labels speak of {classes} classes; name each")
    return tuple(name.decode(errors="replace") if isinstance(name, bytes) else str(name) for name in names.tolist())


def _group(values: np.ndarray | None, images: int, place: Path) -> np.ndarray | None:
    if values is None:
        return None
    if values.shape != (images,) or values.dtype.kind not in "iu":
        raise DataError(f"{place}: group_train is {values.dtype} {values.shape}; expected whole numbers ({images},)")
    return np.unique(values, return_inverse=True)[1].astype(np.int32)
