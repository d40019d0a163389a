"""Adversarial images as files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from advrun.errors import DataError
from advrun.files import opened

KINDS = {"x_adv": "f", "attacked": "b", "row": "iu", "target": "iu", "gradients": "iu", "queries": "iu"}
"""The arrays of a file of examples, and the kinds of their dtypes."""


def write_examples(arrays: Mapping[str, np.ndarray], label: str, path: Path) -> None:
    """x_adv (n, h, w, c) float32, lossless; attacked (n,) bool; row (n,): row of the test set; target (n,) when targeted.

    The same arrays give the same bytes. They are made in memory: HDF5 ends the process where a disk is full.
    """
    import h5py

    with h5py.File(path.name, "w", driver="core", backing_store=False) as file:  # track_order would put in the time
        file.attrs["label"] = label
        for name, array in arrays.items():
            packed = {"compression": "gzip", "compression_opts": 1, "shuffle": True} if name == "x_adv" else {}
            file.create_dataset(name, data=array, track_times=False, **packed)
        file.flush()
        content = file.id.get_file_image()
    path.write_bytes(content)


def read_examples(path: Path, most: tuple[int, ...]) -> dict[str, np.ndarray]:
    """What `write_examples` wrote.

    Args:
        path: the file; a link is not followed.
        most: shape of all test images: (n, h, w, c). The file holds as many, or fewer.

    Raises:
        DataError: where the file is damaged, or holds anything else. Every shape is judged before it is read.
    """
    import h5py

    try:
        with opened(path) as source, h5py.File(source, "r") as file:
            arrays = {name: _array(file, name, most) for name in KINDS if name in file}
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path}: damaged, or no file of examples ({' '.join(str(error).split())})") from error
    rows = arrays.get("row", np.array([-1]))
    if "x_adv" not in arrays or len({len(array) for array in arrays.values()}) != 1 or not ((rows >= 0) & (rows < most[0])).all():
        raise DataError(f"{path}: its arrays do not belong together, or not to this data set")
    return arrays


def _array(file: Any, name: str, most: tuple[int, ...]) -> np.ndarray:
    import h5py

    node = file[name] if isinstance(file.get(name, getlink=True), h5py.HardLink) else None
    if not isinstance(node, h5py.Dataset) or node.is_virtual or node.external or node.dtype.kind not in KINDS[name]:
        raise ValueError(f"{name} is no array of this file")
    shape = most if name == "x_adv" else most[:1]
    if len(node.shape) != len(shape) or node.shape[0] > shape[0] or node.shape[1:] != shape[1:] or node.dtype.itemsize > 8:
        raise ValueError(f"{name} has shape {node.shape}")
    return np.asarray(node[()])
