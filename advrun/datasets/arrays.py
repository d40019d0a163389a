"""`arrays`: one .npz or HDF5 file with images and labels, as most Python code writes them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from advrun.data import Dataset
from advrun.datasets import _hdf5, _npz
from advrun.datasets._declared import Declared
from advrun.datasets._labels import ClassNumbers, read_labels
from advrun.datasets._pixels import image_shape, read_pixels
from advrun.errors import DataError
from advrun.types import FilePath

NAMES = {
    "x_train": ("train/images", "train_images"),
    "y_train": ("train/labels", "train_labels"),
    "x_test": ("test/images", "test_images", "x", "images", "data"),
    "y_test": ("test/labels", "test_labels", "y", "labels", "target"),
    "group_train": ("train/group",),
    "class_names": (),
}
"""The names that are looked for: the usual one, those of other writers, and, last, those of a file with test images alone."""
LISTED = 12
"""So many arrays are listed in an error."""
MOST_NAMED = 64 * 2**20
"""Bytes of class names."""

Contents = Mapping[str, Callable[[], Declared]]


def arrays(training: bool = True, *, path: FilePath) -> Dataset:
    """Images and labels from one file: x_train, y_train, x_test, y_test in .npz, .h5 or .hdf5.

    Images are (n, height, width, channels) or (n, height, width): integers 0 to 255, or floats 0 to 1, which become 8 bit;
    floats that run up to 255 are taken as grey levels, and (n, channels, height, width) is turned round, both with a line that
    says so. Labels are whole numbers from 0, (n,) or (n, 1), or one-hot (n, classes). Optional: group_train (n,), equal for
    images that belong together in a validation split, and class_names, which may name more classes than the labels show.
    Capitals do not matter, and train/images, train_images, test/images, test_images and so on are read too. A model that is
    trained already needs no training images: x_test and y_test do, or x and y, images and labels, data and target.

    Args:
        path: the file. Pickled objects, and HDF5 data that lies in other files, are refused.

    Raises:
        DataError: the file is damaged, lacks an array, or holds one of the wrong kind, shape or range. Shapes, types and
            counts are judged before any image is read.
    """
    place = Path(path)
    with _opened(place) as (contents, class_names):
        found = {name: array for name in NAMES if (array := _find(contents, name, place)) is not None}
        trains = "x_train" in found or "y_train" in found
        for name in ("x_train", "y_train", "x_test", "y_test") if trains else ("x_test", "y_test"):
            if name not in found:
                raise DataError(_missing(place, name, contents))
        splits = ("train", "test") if trains else ("test",)
        shapes = {split: image_shape(found[f"x_{split}"])[0] for split in splits}
        if trains and shapes["train"][1:] != shapes["test"][1:]:
            raise DataError(f"{place}: training images are {shapes['train'][1:]}, test images {shapes['test'][1:]}")
        labels = {split: read_labels(found[f"y_{split}"], shapes[split][0]) for split in splits}
        names = _class_names(class_names() if class_names else None, labels.values(), place)
        group = _group(found.get("group_train"), shapes["train"][0], place) if trains else None
        x_test = read_pixels(found["x_test"])
        x_train = read_pixels(found["x_train"]) if trains and training else x_test[:0]
    known = len(labels["train"].labels) if trains else 0
    return Dataset(
        name="arrays",
        x_train=x_train,
        y_train=labels["train"].labels if len(x_train) else labels["test"].labels[:0],
        x_test=x_test,
        y_test=labels["test"].labels,
        class_names=names,
        group=group if len(x_train) else None,
        variant=f"{place.name} ({known:,} training, {len(x_test):,} test images)",
    )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[Contents, Callable[[], np.ndarray] | None]]:
    """The arrays of the file, and what reads its class names, if it has any."""
    if path.suffix.lower() in _hdf5.SUFFIXES:
        with _hdf5.opened(path) as file:
            names = _hdf5.class_names(file)
            yield _hdf5.contents(file), None if names is None else lambda: names
        return
    with _npz.opened(path) as contents:
        array = _find(contents, "class_names", path)
        yield contents, None if array is None else lambda: _text(array)


def _text(array: Declared) -> np.ndarray:
    if len(array.shape) != 1 or array.size > MOST_NAMED:
        raise DataError(f"{array.place} is {array.dtype} {array.shape}; expected a short text for each class")
    return array.read()


def _find(contents: Contents, name: str, place: Path) -> Declared | None:
    """The array of this name, or of one that means the same; capitals do not matter where only one differs by them."""
    for alias in (name, *NAMES[name]):
        if alias in contents:
            return contents[alias]()
        alike = [each for each in contents if each.lower() == alias]
        if len(alike) > 1:
            raise DataError(f"{place}: {' and '.join(alike)} differ by capitals alone; call the one that is meant {name}")
        if alike:
            return contents[alike[0]]()
    return None


def _missing(place: Path, name: str, contents: Contents) -> str:
    names = sorted(contents)
    listed = ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")
    return f"{place}: no {name} (nor {' nor '.join(NAMES[name])}); it holds {listed or 'no array'}; call the array {name}"


def _class_names(names: np.ndarray | None, labels: Iterable[ClassNumbers], place: Path) -> tuple[str, ...]:
    classes = max(each.classes for each in labels)
    if names is None:
        return tuple(str(label) for label in range(classes))
    if names.ndim != 1 or len(names) < classes:
        raise DataError(f"{place}: class_names has shape {names.shape}, but labels speak of {classes} classes; name each")
    return tuple(name.decode(errors="replace") if isinstance(name, bytes) else str(name) for name in names.tolist())


def _group(declared: Declared | None, images: int, place: Path) -> np.ndarray | None:
    if declared is None:
        return None
    if declared.shape != (images,) or declared.dtype.kind not in "iu":
        raise DataError(f"{place}: group_train is {declared.dtype} {declared.shape}; expected whole numbers ({images},)")
    return np.unique(declared.read(), return_inverse=True)[1].astype(np.int32)
