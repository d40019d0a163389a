"""`folder`: image files in one folder for each class, the layout that torchvision calls ImageFolder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from advrun.data import Dataset
from advrun.datasets._draw import drawn
from advrun.datasets._images import Source, read_images
from advrun.datasets._tree import (
    ENDINGS,
    FORMATS,
    LeftOut,
    count_loose,
    images_below,
    in_order,
    numbered,
    subfolders,
)
from advrun.errors import DataError
from advrun.types import Count, Fraction, Natural, PathName

TRAINING_FOLDERS = ("train", "training")
TEST_FOLDERS = ("test", "testing", "val", "valid", "validation")
GTSRB_FOLDERS = {"GTSRB", "Final_Training", "Final_Test", "Online-Test-sort"}
REMEDY = "replace or remove them"

Classes = dict[str, list[Path]]
"""Image files by class name: classes as they are numbered, files sorted."""


class Layout(NamedTuple):
    """The folders that hold class folders. test: None where a test set is drawn from those for training; training: None, test set alone."""

    training: Path | None
    test: Path | None
    others: list[str]


def folder(training: bool = True, *, root: PathName, image_size: Count = 32, test_fraction: Fraction = 0.2, seed: Natural = 0) -> Dataset:
    """Images sorted into folders: ROOT/train/CLASS/* and ROOT/test/CLASS/*, or ROOT/CLASS/* and a drawn test set.

    Train, TRAIN and Training are train, and so on. Folders named by numbers are classes in the order of the numbers (0, 1, 2, 10),
    others in that of the alphabet. Reads png, jpg, jpeg, jfif, ppm, pgm, bmp, webp, tif, tiff and gif (the first picture), also in
    folders below CLASS and in linked ones. Hidden files and folders are passed over; what else is no image is counted in
    one line. Everything becomes 8-bit RGB: grey and palette images are converted, an alpha channel is dropped, EXIF rotation
    is not applied. The sides are scaled to `image_size` each, whatever the image's shape. A model that is trained already
    needs no ROOT/train, and ROOT/test may then have images of some of the classes only.

    Args:
        root: the folder. Without ROOT/test, ROOT/val is the test set.
        image_size: height and width of the images in pixels.
        test_fraction: share of each class that is drawn as the test set where there is no test folder; 1 takes all images.
        seed: of that draw.

    Raises:
        DataError: no classes, a class without images, test classes that are not trained on, or unusable files, which are named.
    """
    place = Path(root)
    if not place.is_dir():
        raise DataError(f"{place}: no such folder; expected CLASS folders in it, or train and test")
    layout, left_out = _layout(place), LeftOut()
    left_out.folders = layout.others
    train = {} if layout.training is None else _classes(layout.training, left_out, whole=True)
    if layout.test is None:
        train, test = drawn(train, test_fraction, seed)
        source = "all images" if test_fraction == 1 else f"test set drawn, seed {seed}"
    else:
        test = _classes(layout.test, left_out, whole=False)
        source = f"test set in {layout.test.name}/"
    if layout.training is not None and layout.test is not None:
        test = _known(test, train, layout)
    left_out.say("folder", place)
    names = tuple(train or test)
    x_test, y_test = _read(place, test, names, image_size)
    counted = sum(map(len, train.values()))
    x_train, y_train = _read(place, train, names, image_size) if training and counted else (x_test[:0], y_test[:0])
    variant = f"{counted:,} training, {len(y_test):,} test images; {source}"
    return Dataset("folder", x_train, y_train, x_test, y_test, names, variant=variant, by_name=True)


def _layout(place: Path) -> Layout:
    found = subfolders(place)
    train, test = _named(found, TRAINING_FOLDERS), _named(found, TEST_FOLDERS)
    others = [each for each in found if each not in (train, test)]
    if train is not None:
        if test is not None and not subfolders(test):
            raise DataError(_unsorted(train, test))
        return Layout(train, test, [f"{each.name}/" for each in others])
    if own := GTSRB_FOLDERS & {each.name for each in found}:
        raise DataError(f"{place}: {min(own)}/ is GTSRB's own layout; write data: {{name: gtsrb, root: {place}}}")
    if test is None or not subfolders(test):  # a class may be called `valid`
        return Layout(place, None, [])
    if [each for each in others if _named([each], TEST_FOLDERS) is None]:
        raise DataError(f"{place}: {test.name}/ holds class folders and lies beside others; put those into {place}/train")
    return Layout(None, test, [f"{each.name}/" for each in others])


def _named(folders: Sequence[Path], names: Iterable[str]) -> Path | None:
    """The folder with the first of the names that there is one of, in any case."""
    for name in names:
        alike = [each for each in folders if each.name.lower() == name]
        if len(alike) > 1:
            raise DataError(f"{alike[0].parent}: {' and '.join(each.name for each in alike)} differ by capitals alone; keep one")
        if alike:
            return alike[0]
    return None


def _unsorted(train: Path, test: Path) -> str:
    """What to do about test images that lie in no class folder, as on Kaggle."""
    root = train.parent
    if (root / "Train.csv").is_file() and (root / "Test.csv").is_file():
        return f"{test}: no class folders; this is Kaggle's GTSRB: write data: {{name: gtsrb, root: {root}}}"
    return (
        f"{test}: no class folders, so no labels; give a list of them (data: {{name: listed, train: ..., test: ...}}), or root: {train}, "
        "of which a test set is drawn; Kaggle's GTSRB with its Train.csv and Test.csv is read by name: gtsrb"
    )


def _classes(place: Path, left_out: LeftOut, *, whole: bool) -> Classes:
    """The images of each class folder. whole: every class must have some, and there must be two classes."""
    folders = {each.name: each for each in subfolders(place)}
    found = {name: images_below(folders[name], left_out) for name in in_order(folders)}
    count_loose(place, left_out)
    if len(found) < (2 if whole else 1):
        raise DataError(f"{place}: {len(found)} class folders; a classifier needs two or more")
    for name, files in found.items():
        if not files and (whole or not any(found.values())):
            raise DataError(f"{place / name}: no images ({', '.join(ENDINGS)}); add some or remove the folder")
    return found


def _known(test: Classes, train: Classes, layout: Layout) -> Classes:
    """The test images under the names of the training classes: 00014 is 14 where all names are numbers."""
    alike = {int(name): name for name in train} if numbered([*train, *test]) else {}
    named = {alike.get(int(name), name) if alike else name: files for name, files in test.items()}
    unknown = [name for name in named if name not in train]
    if unknown:
        raise DataError(f"{layout.test}: class {unknown[0]!r} has no folder in {layout.training}; add training images or remove it")
    return named


def _read(root: Path, split: Classes, names: tuple[str, ...], image_size: int) -> tuple[np.ndarray, np.ndarray]:
    sources = [Source(file) for files in split.values() for file in files]
    labels = np.repeat([names.index(name) for name in split], [len(files) for files in split.values()])
    return read_images(sources, image_size, FORMATS, root, REMEDY), labels.astype(np.int32)


def outline(*, image_size: int, **_: object) -> tuple[tuple[int, int, int], None]:
    """Shape of an image, from the settings alone; the classes are not counted."""
    return (image_size, image_size, 3), None
