"""CIFAR-10: 60,000 small colour photographs of ten kinds of things.

A. Krizhevsky. Learning multiple layers of features from tiny images. Technical report, University of Toronto, 2009,
https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from advrun.data import Dataset
from advrun.datasets._cifar import FOLDERS, FORM, TEST, TRAINING, read_cifar
from advrun.datasets._published import Published, cache_folders, checked, published
from advrun.errors import DataError
from advrun.types import Fraction, Natural, PathName

PYTHON_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
BINARY_SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
CACHED = ("cifar-10-batches-py-target_archive", "cifar-10-python.tar.gz", "cifar-10-batches-py.tar.gz", "cifar-10-binary.tar.gz")
"""What Keras, in its versions, and people call the archive."""
MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
"""Of the unpacked Python version, as torchvision checks them."""
ABOUT = Published(
    name="cifar10",
    title="CIFAR-10",
    image_shape=(32, 32, 3),
    class_names=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    counts=(50_000, 10_000),
    form=FORM,
    size="171 MB",
    by_hand=f"cifar-10-python.tar.gz (170,498,071 bytes, SHA-256 {PYTHON_SHA256})",
)


def cifar10(training: bool = True, *, root: PathName = "", test_fraction: Fraction = 0.2, seed: Natural = 0) -> Dataset:
    """CIFAR-10: 50,000 training and 10,000 test photographs of ten classes, 32 x 32, in colour.

    Without `root`, Keras' cache (~/.keras/datasets) is read, which Keras' own loader fills where it is empty. With it, files of one's
    own: cifar-10-python.tar.gz or cifar-10-binary.tar.gz, the unpacked folder of either, or one .npz or HDF5 file with x_train,
    y_train, x_test, y_test. Of pickles, plain arrays are read and nothing is run. Where test_batch alone is there, a share of each
    class becomes the test set, drawn by `seed`, and the rest is for training; the same images each time, whether a model is trained or not.

    Args:
        root: a folder or a file; Keras' cache where it is not given.
        test_fraction: share of each class that is drawn as the test set where one part alone is there; 1 takes all images.
        seed: of that draw.

    Raises:
        DataError: nothing is there and there is no network, with where to put the file by hand; or files are damaged, or no CIFAR-10.
    """
    return published(ABOUT, training, root, test_fraction, seed, read=read_cifar, found=_found)


def _found() -> Path | None:
    for folder in cache_folders():
        for name in CACHED:
            if path := checked(folder / name, (PYTHON_SHA256, BINARY_SHA256)):
                return path
        for place in (folder / "cifar-10-batches-py-target" / FOLDERS[0], folder / FOLDERS[0]):
            if all((place / name).is_file() for name in (*TRAINING, TEST)):
                _check_unpacked(place)
                return place
    return None


def _check_unpacked(place: Path) -> None:
    for name, expected in MD5.items():
        with open(place / name, "rb") as file:
            found = hashlib.file_digest(file, "md5").hexdigest()
        if found != expected:
            raise DataError(f"{place / name}: not the published file, or damaged (MD5 {found}); delete the folder and fetch it again")


def outline(**_: object) -> tuple[tuple[int, int, int], int]:
    """Shape of an image and number of classes."""
    return ABOUT.image_shape, len(ABOUT.class_names)
