"""Fashion-MNIST: 70,000 pictures of clothes in the form of MNIST.

H. Xiao, K. Rasul, R. Vollgraf. Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms, 2017, arXiv:1708.07747.
"""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

from advrun.data import Dataset
from advrun.datasets._declared import damage
from advrun.datasets._greys import FORM, read_greys
from advrun.datasets._published import Published, cache_folders, published
from advrun.errors import DataError
from advrun.types import Fraction, Natural, PathName

SHA256 = {
    "train-images-idx3-ubyte.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte.gz": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte.gz": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
"""Of what the archives hold: Debian packs it anew. Keras' loader checks nothing."""
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package dataset-fashion-mnist puts the files."""
ABOUT = Published(
    name="fashion_mnist",
    title="Fashion-MNIST",
    image_shape=(28, 28, 1),
    class_names=("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    counts=(60_000, 10_000),
    form=FORM,
    size="31 MB",
    by_hand=f"a folder fashion-mnist with {', '.join(SHA256)} (or install Debian's dataset-fashion-mnist)",
)


def fashion_mnist(training: bool = True, *, root: PathName = "", test_fraction: Fraction = 0.2, seed: Natural = 0) -> Dataset:
    """Fashion-MNIST: 60,000 training and 10,000 test pictures of ten kinds of clothes, 28 x 28, grey.

    Without `root`, Keras' cache (~/.keras/datasets/fashion-mnist) is read, or Debian's package dataset-fashion-mnist where it is
    installed, or Keras' own loader fills the cache. With it, files of one's own: the four idx files, packed or not, in a folder; or
    one .npz or HDF5 file with x_train, y_train, x_test, y_test. Where one part alone is there, a share of each class becomes the test set,
    drawn by `seed`, and the rest is for training; the same images each time, whether a model is trained or not.

    Args:
        root: a folder or a file; Keras' cache or Debian's package where it is not given.
        test_fraction: share of each class that is drawn as the test set where one part alone is there; 1 takes all images.
        seed: of that draw.

    Raises:
        DataError: nothing is there and there is no network, with where to put the files by hand; or files are damaged, or no Fashion-MNIST.
    """
    return published(ABOUT, training, root, test_fraction, seed, read=read_greys, found=_found)


def _found() -> Path | None:
    for folder in (*(cache / "fashion-mnist" for cache in cache_folders()), DEBIAN):
        if all((folder / name).is_file() for name in SHA256):
            _check(folder)
            return folder
    return None


def _check(folder: Path) -> None:
    for name, expected in SHA256.items():
        path = folder / name
        with damage(str(path)), gzip.open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # typeshed asks for readinto of files alone
        if found != expected:
            raise DataError(
                f"{path}: not the published file, or damaged (SHA-256 of what it holds is {found}); delete it and fetch it again"
            )


def outline(**_: object) -> tuple[tuple[int, int, int], int]:
    """Shape of an image and number of classes."""
    return ABOUT.image_shape, len(ABOUT.class_names)
