"""MNIST: 70,000 handwritten digits.

Y. LeCun, L. Bottou, Y. Bengio, P. Haffner. Gradient-based learning applied to document recognition. Proceedings of the IEEE 86(11),
1998, pages 2278-2324, doi:10.1109/5.726791.
"""

from __future__ import annotations

from pathlib import Path

from advrun.data import Dataset
from advrun.datasets._greys import FORM, read_greys
from advrun.datasets._published import Published, cache_folders, checked, published
from advrun.types import Fraction, Natural, PathName

SHA256 = "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"
"""Of mnist.npz, as Keras' loader has it."""
ABOUT = Published(
    name="mnist",
    title="MNIST",
    image_shape=(28, 28, 1),
    class_names=tuple(map(str, range(10))),
    counts=(60_000, 10_000),
    form=FORM,
    size="11 MB",
    by_hand=f"mnist.npz of Keras (11,490,434 bytes, SHA-256 {SHA256})",
)


def mnist(training: bool = True, *, root: PathName = "", test_fraction: Fraction = 0.2, seed: Natural = 0) -> Dataset:
    """MNIST: 60,000 training and 10,000 test images of handwritten digits, 28 x 28, grey.

    Without `root`, Keras' cache (~/.keras/datasets/mnist.npz) is read, which Keras' own loader fills where it is empty. With it, files of
    one's own: the four idx files, packed or not, in a folder; or one .npz or HDF5 file with x_train, y_train, x_test, y_test, such as
    Keras' mnist.npz. Where one part alone is there (t10k files, or an .npz with x and y), a share of each class becomes the test set,
    drawn by `seed`, and the rest is for training; the same images each time, whether a model is trained or not.

    Args:
        root: a folder or a file; Keras' cache where it is not given.
        test_fraction: share of each class that is drawn as the test set where one part alone is there; 1 takes all images.
        seed: of that draw.

    Raises:
        DataError: nothing is there and there is no network, with where to put the file by hand; or files are damaged, or no MNIST.
    """
    return published(ABOUT, training, root, test_fraction, seed, read=read_greys, found=_found)


def _found() -> Path | None:
    files = (checked(folder / "mnist.npz", [SHA256]) for folder in cache_folders())
    return next(filter(None, files), None)


def outline(**_: object) -> tuple[tuple[int, int, int], int]:
    """Shape of an image and number of classes."""
    return ABOUT.image_shape, len(ABOUT.class_names)
