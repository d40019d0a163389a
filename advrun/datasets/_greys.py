"""Files of MNIST and its kin: four idx files in a folder, packed or not, or one .npz or HDF5 file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from advrun.data import Dataset
from advrun.datasets._hdf5 import SUFFIXES
from advrun.datasets.arrays import arrays
from advrun.datasets.idx import idx
from advrun.errors import DataError

FORM = "the idx files (train-images-idx3-ubyte and its relatives, .gz or not), or one .npz or .h5 file"
ARRAY_FILES = (".npz", *SUFFIXES)


def read_greys(place: Path) -> Dataset:
    """Both parts; no training images where the files hold one part alone. Folders may be torchvision's, NAME/raw below `place`.

    Raises:
        DataError: neither kind of file is there, there are several, or they are damaged.
    """
    if place.is_file():
        if place.suffix.lower() in ARRAY_FILES:
            return arrays(path=str(place))
        raise DataError(f"{place}: neither .npz nor .h5; give that, or the folder of the idx files")
    for folder in _folders(place):
        if any("idx" in file.name for file in folder.iterdir() if file.is_file()):
            return idx(root=str(folder))
    found = sorted(file for file in place.iterdir() if file.suffix.lower() in ARRAY_FILES and file.is_file())
    if len(found) > 1:
        raise DataError(f"{place}: {found[0].name} and {found[1].name} are both possible; give the path of the one that is meant")
    if not found:
        raise DataError(f"{place}: no images here; expected {FORM}")
    return arrays(path=str(found[0]))


def _folders(place: Path) -> Iterator[Path]:
    """The folder, and those of torchvision's layout."""
    yield place
    yield from sorted(each for pattern in ("raw", "*/raw") for each in place.glob(pattern) if each.is_dir())
