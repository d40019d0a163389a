"""`listed`: image files with their labels in a list, as most annotation tools and competitions give them out."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from advrun.data import Dataset
from advrun.datasets._draw import drawn
from advrun.datasets._images import Source, read_images
from advrun.datasets._lists import ListedImage, read_list
from advrun.datasets._tree import FORMATS, in_order, numbered
from advrun.errors import ConfigError, DataError, printable
from advrun.types import Count, FilePath, Fraction, Natural, PathName

log = logging.getLogger("advrun")

REMEDY = "replace them, or take their lines out of the list"


def listed(
    training: bool = True,
    *,
    test: FilePath | None = None,
    train: FilePath | None = None,
    root: PathName | None = None,
    image_size: Count = 32,
    test_fraction: Fraction = 0.2,
    seed: Natural = 0,
) -> Dataset:
    """Image files and labels in CSV lists: `images/0001.png,14` in each line, or columns called path and label.

    Separators are commas, semicolons, tabs or spaces. A first line may name the columns: path, file or filename; label, class or
    ClassId; others are passed over. Classes are the labels: in the order of the numbers where all are whole numbers, else in that of
    the alphabet, with a warning where most are numbers. A model that is trained already needs no training images: `test` alone does,
    with some of the classes, which are found among the model's by their numbers or names.

    Args:
        test: the list of the test images. Without it, a share of each class of `train` is drawn.
        train: the list of the training images.
        root: where the paths in the lists start; the folder of each list by default. Full paths are read where they lie in it, and
            what leads out of it is refused: `root: /` allows everything.
        image_size: height and width of the images in pixels, whatever their shape.
        test_fraction: share of each class that is drawn as the test set where there is no list of it; 1 takes all images.
        seed: of that draw.

    Raises:
        DataError: a list is missing or has lines that cannot be used, test classes are not trained on, or files are unusable.
        ConfigError: neither list is given.
    """
    if test is None and train is None:
        raise ConfigError("listed: neither test nor train is given; name a list of images and labels")
    lists = {name: _rows(Path(path), root) for name, path in (("train", train), ("test", test)) if path is not None}
    names = in_order({row.label for row in lists.get("train", lists.get("test", []))})
    _say_mixture(names, lists, train or test)
    if test is None:
        parts = drawn({name: [row for row in lists["train"] if row.label == name] for name in names}, test_fraction, seed)
        lists = {name: [row for rows in part.values() for row in rows] for name, part in zip(("train", "test"), parts, strict=True)}
    elif train is not None:
        _check_splits(lists["train"], lists["test"], Path(test), Path(train))
    number = {name: label for label, name in enumerate(names)}
    x_test, y_test = _read(lists["test"], number, image_size)
    rows = lists.get("train", [])
    x_train, y_train = _read(rows, number, image_size) if training and rows else (x_test[:0], y_test[:0])
    source = f"test set drawn, seed {seed}" if test is None else f"test set in {Path(test).name}"
    variant = f"{len(rows):,} training, {len(y_test):,} test images; {source}"
    return Dataset("listed", x_train, y_train, x_test, y_test, tuple(names), variant=variant, by_name=True)


def _rows(table: Path, root: str | None) -> list[ListedImage]:
    return read_list(table, table.parent if root is None else Path(root))


def _say_mixture(names: list[str], lists: dict[str, list[ListedImage]], table: str | None) -> None:
    """One label that is no number makes names of all of them: 10 comes before 2."""
    others = {name for name in names if not numbered([name])}
    if others and len(others) < len(names) - len(others):
        row = next(row for row in lists.get("train", lists.get("test", [])) if row.label in others)
        text = f"{table}:{row.line}: class {row.label!r} is no class number, as most labels are; all are taken as names, by the alphabet"
        log.warning("%s", printable(text))


def _check_splits(train: list[ListedImage], test: list[ListedImage], test_table: Path, train_table: Path) -> None:
    known = {row.label for row in train}
    unknown = next((row for row in test if row.label not in known), None)
    if unknown:
        raise DataError(f"{test_table}:{unknown.line}: class {unknown.label!r} has no image in {train_table}; add some or take it out")
    trained = {row.path: row.line for row in train}
    both = [row for row in test if row.path in trained]
    if both:
        text = f"{test_table}:{both[0].line}: {both[0].path.name} is a training image too ({train_table}:{trained[both[0].path]})"
        log.warning("%s", printable(text + (f", and {len(both) - 1:,} more" if len(both) > 1 else "")))


def _read(rows: list[ListedImage], number: dict[str, int], image_size: int) -> tuple[np.ndarray, np.ndarray]:
    labels = np.array([number[row.label] for row in rows], np.int32)
    root = rows[0].path.parent if rows else Path()
    return read_images([Source(row.path) for row in rows], image_size, FORMATS, root, REMEDY), labels
