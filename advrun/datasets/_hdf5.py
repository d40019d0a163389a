"""HDF5 files from strangers: only plain arrays that lie in the file itself are read, and only up to a sane size.

An HDF5 file can point at other files of the machine (external links, external storage, virtual data sets) and can
declare shapes that no memory holds. All of that is refused before anything is read.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from advrun.datasets._images import MAX_BYTES
from advrun.datasets._sniff import HEAD, describe
from advrun.errors import DataError
from advrun.hdf5 import check_file

if TYPE_CHECKING:
    import h5py

SUFFIXES = (".h5", ".hdf5")


@contextlib.contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """The file, open for reading. Damage that shows inside the `with` block is a DataError too."""
    import h5py

    try:
        check_file(path)
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:  # text that is no text, and types that are none, too
        raise DataError(f"{path}: {_damage(path, error)}; fetch or make the file again") from error


def array(file: h5py.File, name: str) -> np.ndarray | None:
    """The numeric array called `name` ("group/name"), or None where there is none. Raises DataError on anything unsafe."""
    node = dataset(file, name)
    if node is None:
        return None
    if node.dtype.kind not in "biuf":
        raise DataError(f"{file.filename}: {name} holds {node.dtype} values; expected numbers")
    return np.asarray(node[()])


def dataset(file: h5py.File, name: str) -> h5py.Dataset | None:
    """The data set called `name`, checked but not read, or None."""
    import h5py

    node: h5py.File | h5py.Group | h5py.Dataset = file
    for part in name.split("/"):
        link = node.get(part, getlink=True) if isinstance(node, h5py.Group) else None
        if link is None:
            return None
        if not isinstance(link, h5py.HardLink):
            raise DataError(f"{file.filename}: {name} is a link to somewhere else; copy the data into the file itself")
        node = node[part]
    if not isinstance(node, h5py.Dataset):
        raise DataError(f"{file.filename}: {name} is not an array")
    if node.is_virtual or node.external:
        raise DataError(f"{file.filename}: {name} keeps its values in another file; copy them into this one")
    if math.prod(node.shape or ()) * node.dtype.itemsize > MAX_BYTES:
        raise DataError(f"{file.filename}: {name} declares {node.shape} {node.dtype}, over {MAX_BYTES >> 30} GiB; refused")
    return node


def _damage(path: Path, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    with contextlib.suppress(OSError), open(path, "rb") as file:
        kind = describe(file.read(HEAD))
        if kind and "HDF5" not in kind:
            return kind
    return f"damaged or not an HDF5 file ({' '.join(str(error).split())})"
