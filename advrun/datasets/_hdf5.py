"""HDF5 files from strangers: only plain arrays that lie in the file itself are read, and only up to a sane size.

An HDF5 file can point at other files of the machine (external links, external storage, virtual data sets) and can
declare shapes that no memory holds, or values that nobody wrote. All of that is refused before anything is read.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from advrun.datasets._declared import BLOCK, Declared, damage, judged
from advrun.datasets._sniff import HEAD, describe
from advrun.errors import AdvrunError, DataError
from advrun.hdf5 import check_file

if TYPE_CHECKING:
    import h5py

SUFFIXES = (".h5", ".hdf5")
MOST_IN_CHUNK = 64 * 2**20
"""Bytes; a larger chunk belongs to a larger array."""
MOST_NAMES = 100_000
LONGEST_NAME = 4096
"""Bytes of one class name in an attribute."""


@contextlib.contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """The file, open for reading. Damage that shows inside the `with` block is a DataError too."""
    import h5py

    try:
        check_file(path)
        with h5py.File(path, "r") as file:
            yield file
    except AdvrunError:
        raise
    except Exception as error:  # a damaged file raises whatever its bytes lead to
        raise DataError(f"{path}: {_damage(path, error)}; fetch or make the file again") from error


def contents(file: h5py.File) -> Mapping[str, Callable[[], Declared]]:
    """The arrays of the file by name ("group/name"), each a function that judges it. Raises DataError on anything unsafe."""
    return {name: partial(_required, file, name) for name in _names(file)}


def _names(group: h5py.Group, prefix: str = "") -> list[str]:
    """Names of what lies in the file and in its groups, one level deep."""
    import h5py

    found = []
    for name in group:
        link = group.get(name, getlink=True)
        if not prefix and isinstance(link, h5py.HardLink) and isinstance(group[name], h5py.Group):
            found += [*_names(group[name], f"{name}/"), name]
        else:
            found.append(prefix + name)
    return found


def _required(file: h5py.File, name: str) -> Declared:
    array = declared(file, name)
    if array is None:
        raise DataError(f"{file.filename}: no {name}")
    return array


def declared(file: h5py.File, name: str) -> Declared | None:
    """The array called `name`, judged but not read, or None where there is none. Raises DataError on anything unsafe."""
    node = dataset(file, name)
    if node is None:
        return None
    place = f"{file.filename}: {name}"

    def blocks() -> Iterator[np.ndarray]:
        chunk = node.chunks[0] if node.chunks else 1
        step = -(-array.rows // chunk) * chunk  # no chunk is unpacked twice
        with damage(place):
            for first in range(0, array.shape[0], step):
                yield np.asarray(node[first : first + step])

    array = judged(Declared(place, tuple(node.shape or ()), node.dtype, blocks))
    with damage(place):
        _check_written(node, array)
    return array


def dataset(file: h5py.File, name: str) -> h5py.Dataset | None:
    """The data set called `name`, none of whose values lie elsewhere, or None."""
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
    return node


def class_names(file: h5py.File) -> np.ndarray | None:
    """The array or the attribute `class_names`, or None. Raises DataError."""
    import h5py

    node = dataset(file, "class_names")
    if node is not None:
        if math.prod(node.shape or ()) > MOST_NAMES or node.dtype.itemsize > LONGEST_NAME:
            raise DataError(f"{file.filename}: class_names declares {node.shape} {node.dtype}; expected a short text for each class")
        return np.asarray(node.asstr()[()]) if h5py.check_string_dtype(node.dtype) else np.asarray(node[()])
    if "class_names" not in file.attrs:
        return None
    attribute = file.attrs.get_id("class_names")
    if math.prod(attribute.shape) > MOST_NAMES or attribute.dtype.itemsize > LONGEST_NAME:
        raise DataError(f"{file.filename}: class_names declares {attribute.shape}; expected a short text for each class")
    return np.asarray(file.attrs["class_names"])


def _check_written(node: h5py.Dataset, array: Declared) -> None:
    """Raise DataError where values were never written: HDF5 would make them up, in any number."""
    if array.size == 0:
        return
    if node.chunks is None:
        whole = node.id.get_storage_size() >= array.size
    else:
        if math.prod(node.chunks) * node.dtype.itemsize > max(array.size, MOST_IN_CHUNK, BLOCK):
            raise DataError(f"{array.place} declares chunks of {node.chunks}, far more than its shape {array.shape}; write the file again")
        expected = math.prod(-(-side // chunk) for side, chunk in zip(array.shape, node.chunks, strict=True))
        whole = node.id.get_num_chunks() >= expected
    if not whole:
        raise DataError(f"{array.place} declares {array.shape} {array.dtype}, but not all of it was ever written; make the file again")


def _damage(path: Path, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    with contextlib.suppress(OSError), open(path, "rb") as file:
        kind = describe(file.read(HEAD))
        if kind and "HDF5" not in kind:
            return kind
    return f"damaged or not an HDF5 file ({' '.join(str(error).split())})"
