"""GTSRB as image files: finding the official and the Kaggle layout in a folder, and listing their images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from advrun.datasets._annotations import Annotation, Problem, read_table
from advrun.datasets._images import refuse
from advrun.errors import DataError

TRAINING = ("Final_Training/Images", "Training", "Train")
TEST = ("Final_Test/Images", "Test")
SORTED_TEST = ("Online-Test-sort",)
TEST_TABLE = "GT-final_test.csv"
CLASS_FOLDER = "[0-9]" * 5
CLASS_TABLES = CLASS_FOLDER + "/GT-*.csv"
REMEDY = "fetch them again, or take their lines out of the CSV file"

Table = tuple[list[Annotation], list[Problem]]


class Listing(NamedTuple):
    """All images of both splits, sorted by class, then track, then number."""

    train: list[Annotation]
    test: list[Annotation]


def official(root: Path, classes: int) -> Listing | None:
    """The benchmark's own layout: GTSRB/Final_Training/Images/000NN/*.ppm with GT-000NN.csv, and GTSRB/Final_Test/Images.

    `root` may be the folder that holds GTSRB, GTSRB itself, a folder inside it, or one above. Also read are the folders
    of the 2011 competition (GTSRB/Training, GTSRB/Online-Test-sort), and Train and Test, which many scripts make of it; and the
    three archives unpacked side by side, each into a folder of its own.

    Returns:
        None when there are no training images in this layout.
    """
    base = _above(root)
    training = next((folder for folder in _places(base, TRAINING) if any(folder.glob(CLASS_TABLES))), None)
    if training is None:
        return None
    train = _class_folders(training, classes, tracked=True)
    for images in _places(base, TEST):
        table = _test_table(images, base)
        test = read_table(table, images, delimiter=";", name_column="Filename", tracked=False, classes=classes)
        return _listing(root, train, test)
    for by_class in _places(base, SORTED_TEST):
        return _listing(root, train, _class_folders(by_class, classes, tracked=False))
    raise DataError(f"{root}: training images but no test images (GTSRB/Final_Test/Images); run: advrun data fetch gtsrb")


def kaggle(root: Path, classes: int) -> Listing | None:
    """Kaggle's layout, in `root` or one folder below: Train.csv, Test.csv, Train/N/*.png and Test/*.png.

    Returns:
        None when there is no Train.csv.
    """
    for pattern in ("Train.csv", "*/Train.csv"):
        for table in sorted(root.glob(pattern)):
            tables = (table, True), (table.with_name("Test.csv"), False)
            train, test = (
                read_table(path, table.parent, delimiter=",", name_column="Path", tracked=tracked, classes=classes)
                for path, tracked in tables
            )
            return _listing(root, train, test)
    return None


def _above(root: Path) -> Path:
    """The folder that holds both splits, when `root` is inside one of them."""
    while root.name in {"Images", "Final_Training", "Final_Test", "Training"}:
        root = root.parent
    return root


def _places(base: Path, names: Iterable[str]) -> Iterator[Path]:
    for prefix in ("", "GTSRB/", "*/GTSRB/"):
        for name in names:
            yield from (folder for folder in sorted(base.glob(prefix + name)) if folder.is_dir())


def _test_table(images: Path, base: Path) -> Path:
    for folder in (images, *images.parents):
        if (folder / TEST_TABLE).is_file():
            return folder / TEST_TABLE
        if folder == base:
            break
    for pattern in (TEST_TABLE, f"*/{TEST_TABLE}", f"*/GTSRB/{TEST_TABLE}"):  # the archive of the labels, unpacked beside the others
        for table in sorted(base.glob(pattern)):
            return table
    raise DataError(f"{images}: no {TEST_TABLE}, which holds the labels; it comes in GTSRB_Final_Test_GT.zip")


def _class_folders(folder: Path, classes: int, tracked: bool) -> Table:
    annotations: list[Annotation] = []
    problems: list[Problem] = []
    for images in sorted(folder.glob(CLASS_FOLDER)):
        table = images / f"GT-{images.name}.csv"
        rows, bad = read_table(table, images, delimiter=";", name_column="Filename", tracked=tracked, classes=classes)
        annotations += rows
        problems += bad
    return annotations, problems


def _listing(root: Path, train: Table, test: Table) -> Listing:
    problems = train[1] + test[1]
    refuse(problems, len(train[0]) + len(test[0]) + len(problems), root, REMEDY)
    return Listing(sorted(train[0]), sorted(test[0]))
