"""Adversarial images as files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from advrun.errors import DataError
from advrun.files import opened
from advrun.images import Images, blocks

KINDS = {"x_adv": "f", "attacked": "b", "row": "iu", "target": "iu", "gradients": "iu", "queries": "iu"}
"""The arrays of a file of examples, and the kinds of their dtypes."""
PACKED = {"compression": "gzip", "compression_opts": 1, "shuffle": True}


def write_examples(arrays: Mapping[str, Any], label: str, path: Path) -> None:
    """x_adv (n, h, w, c) float32, lossless; attacked (n,) bool; row (n,): row of the test set; target (n,) when targeted.

    The same arrays give the same bytes. They are made in memory, because HDF5 ends the process where a disk is full; only `Images` are
    written block by block.
    """
    import h5py

    if isinstance(arrays["x_adv"], Images):
        with open(path, "wb+", buffering=0) as raw:
            disk = _Disk(raw)
            with h5py.File(disk, "w") as file:
                _fill(file, arrays, label, disk)
            if disk.error is not None:
                raise disk.error
        return
    with h5py.File(path.name, "w", driver="core", backing_store=False) as file:
        _fill(file, arrays, label)
        file.flush()
        content = file.id.get_file_image()
    path.write_bytes(content)


def _fill(file: Any, arrays: Mapping[str, Any], label: str, disk: _Disk | None = None) -> None:
    file.attrs["label"] = label
    for name, array in arrays.items():  # track_order would put in the time
        packed = PACKED if name == "x_adv" else {}
        if not isinstance(array, Images):
            file.create_dataset(name, data=array, track_times=False, **packed)
            continue
        dataset = file.create_dataset(name, array.shape, array.dtype, chunks=(1, *array.shape[1:]), track_times=False, **packed)
        done = 0
        for block in blocks(array):
            if disk is not None and disk.error is not None:
                break
            dataset[done : done + len(block)] = block
            done += len(block)


class _Disk:
    """A file that tells HDF5 of no error, and keeps the first for later: it ends the process where writing fails."""

    def __init__(self, raw: Any) -> None:
        self.raw = raw
        self.error: OSError | None = None

    def write(self, content: Any) -> int:
        content, done = memoryview(content), 0
        while self.error is None and done < len(content):
            done += self._tried(self.raw.write, content[done:])
        return len(content)

    def truncate(self, size: int) -> int:
        self._tried(self.raw.truncate, size)
        return size

    def readinto(self, buffer: Any) -> int:
        """What was never written is 0."""
        count: int = self.raw.readinto(buffer)
        buffer[count:] = bytes(len(buffer) - count)
        return len(buffer)

    def _tried(self, do: Any, argument: Any) -> int:
        try:
            return int(do(argument))
        except OSError as error:
            self.error = self.error or error
            return 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.raw, name)


class _Stored(Images):
    """The x_adv of a file of examples, read block by block."""

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        super().__init__(shape, np.float32)
        self.path = path

    def read(self, rows: np.ndarray) -> np.ndarray:
        import h5py

        order = np.argsort(rows, kind="stable")  # HDF5 takes numbers in order, each once
        known, place = np.unique(rows[order], return_inverse=True)
        try:
            with opened(self.path) as source, h5py.File(source, "r") as file:
                found = file["x_adv"][known[0] : known[-1] + 1] if len(known) == known[-1] - known[0] + 1 else file["x_adv"][known]
        except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
            raise DataError(f"{self.path}: damaged, or no file of examples ({' '.join(str(error).split())})") from error
        images = np.empty_like(found, shape=(len(rows), *self.shape[1:]), dtype=np.float32)
        images[order] = found[place]
        return images


def read_examples(path: Path, most: tuple[int, ...], *, whole: bool = True) -> dict[str, Any]:
    """What `write_examples` wrote.

    Args:
        path: the file; a link is not followed.
        most: shape of all test images: (n, h, w, c). The file holds as many, or fewer.
        whole: False leaves x_adv where it is, as `Images`.

    Raises:
        DataError: where the file is damaged, or holds anything else. Every shape is judged before it is read.
    """
    import h5py

    try:
        with opened(path) as source, h5py.File(source, "r") as file:
            nodes = {name: _node(file, name, most) for name in KINDS if name in file}
            arrays: dict[str, Any] = {name: np.asarray(node[()]) for name, node in nodes.items() if whole or name != "x_adv"}
            if not whole and "x_adv" in nodes:
                arrays["x_adv"] = _Stored(path, nodes["x_adv"].shape)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path}: damaged, or no file of examples ({' '.join(str(error).split())})") from error
    rows = arrays.get("row", np.array([-1]))
    if "x_adv" not in arrays or len({len(array) for array in arrays.values()}) != 1 or not ((rows >= 0) & (rows < most[0])).all():
        raise DataError(f"{path}: its arrays do not belong together, or not to this data set")
    return arrays


def _node(file: Any, name: str, most: tuple[int, ...]) -> Any:
    """The array of this name, judged before it is read. Raises ValueError."""
    import h5py

    node = file[name] if isinstance(file.get(name, getlink=True), h5py.HardLink) else None
    if not isinstance(node, h5py.Dataset) or node.is_virtual or node.external or node.dtype.kind not in KINDS[name]:
        raise ValueError(f"{name} is no array of this file")
    shape = most if name == "x_adv" else most[:1]
    if len(node.shape) != len(shape) or node.shape[0] > shape[0] or node.shape[1:] != shape[1:] or node.dtype.itemsize > 8:
        raise ValueError(f"{name} has shape {node.shape}")
    return node
