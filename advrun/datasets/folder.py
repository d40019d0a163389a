"""`folder`: image files in one folder for each class, the layout that torchvision calls ImageFolder."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from advrun.data import Dataset
from advrun.datasets._images import Source, read_images
from advrun.errors import ConfigError, DataError
from advrun.types import Count, Fraction, Natural

ENDINGS = (".png", ".jpg", ".jpeg", ".ppm", ".bmp", ".webp")
FORMATS = ("PNG", "JPEG", "PPM", "BMP", "WEBP")
TEST_FOLDERS = ("test", "val", "valid", "validation")
REMEDY = "replace or remove them"

Classes = dict[str, list[Path]]
"""Image files by class name, both sorted."""


def folder(*, root: str, image_size: Count = 32, test_fraction: Fraction = 0.2, seed: Natural = 0) -> Dataset:
    """Images sorted into folders: ROOT/train/CLASS/* and ROOT/test/CLASS/*, or ROOT/CLASS/* and a drawn test set.

    Reads png, jpg, jpeg, ppm, bmp and webp, also in folders below CLASS. Everything becomes 8-bit RGB: grey and palette
    images are converted, an alpha channel is dropped, EXIF rotation is not applied. The sides are scaled to
    `image_size` each, whatever the image's shape.

    Args:
        root: the folder. Without ROOT/test, ROOT/val is the test set.
        image_size: height and width of the images in pixels.
        test_fraction: share of each class that is drawn as the test set where there is no test folder.
        seed: of that draw.

    Raises:
        DataError: no classes, a class without images, test classes that are not trained on, or unusable files, which are named.
    """
    place = Path(root).expanduser()
    if not place.is_dir():
        raise DataError(f"{place}: no such folder; expected CLASS folders in it, or train and test")
    if (place / "train").is_dir():
        train = _classes(place / "train")
        test_folder = next((place / name for name in TEST_FOLDERS if (place / name).is_dir()), None)
    else:
        train, test_folder = _classes(place), None
    if test_folder is not None:
        test, source = _classes(test_folder), f"test set in {test_folder.name}/"
    else:
        train, test = _drawn(train, test_fraction, seed)
        source = f"test set drawn, seed {seed}"
    unknown = sorted(set(test) - set(train))
    if unknown:
        raise DataError(f"{test_folder}: class {unknown[0]!r} has no folder in {place / 'train'}; add training images or remove it")
    names = tuple(train)
    (x_train, y_train), (x_test, y_test) = (_read(place, split, names, image_size) for split in (train, test))
    variant = f"{len(y_train):,} training, {len(y_test):,} test images; {source}"
    return Dataset("folder", x_train, y_train, x_test, y_test, names, variant=variant, by_name=True)


def _classes(place: Path) -> Classes:
    found = {
        class_folder.name: sorted(file for file in class_folder.rglob("*") if _is_image(file))
        for class_folder in sorted(place.iterdir())
        if class_folder.is_dir() and not class_folder.name.startswith(".")
    }
    if len(found) < 2:
        raise DataError(f"{place}: {len(found)} class folders; a classifier needs two or more")
    for name, files in found.items():
        if not files:
            raise DataError(f"{place / name}: no images ({', '.join(ENDINGS)}); add some or remove the folder")
    return found


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in ENDINGS and not file.name.startswith(".") and file.is_file()


def _drawn(files: Classes, fraction: float, seed: int) -> tuple[Classes, Classes]:
    """Split each class; a class of two or more images has one in either set at least."""
    if fraction in (0, 1):
        raise ConfigError(f"folder: test_fraction {fraction:g} leaves no test or no training images; choose one between 0 and 1")
    rng = np.random.default_rng([seed, 0xF01DE])
    train, test = {}, {}
    for name, members in files.items():
        count = min(max(1, round(fraction * len(members))), len(members) - 1)
        chosen = set(rng.permutation(len(members))[:count].tolist())
        train[name] = [file for row, file in enumerate(members) if row not in chosen]
        test[name] = [file for row, file in enumerate(members) if row in chosen]
    return train, test


def _read(root: Path, split: Classes, names: tuple[str, ...], image_size: int) -> tuple[np.ndarray, np.ndarray]:
    sources = [Source(file) for files in split.values() for file in files]
    labels = np.repeat([names.index(name) for name in split], [len(files) for files in split.values()])
    return read_images(sources, image_size, FORMATS, root, REMEDY), labels.astype(np.int32)


def outline(*, image_size: int, **_: object) -> tuple[tuple[int, int, int], None]:
    """Shape of an image, from the settings alone; the classes are not counted."""
    return (image_size, image_size, 3), None
