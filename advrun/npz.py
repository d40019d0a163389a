"""Arrays as .npz bytes, and back: what a header declares is judged before memory is taken, and nothing is unpickled."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from advrun.files import opened

MAX_BYTES = 256 << 20
"""Arrays that declare more than this together are refused, unless the caller knows better."""
MAX_ARRAYS = 100_000


def pack(arrays: Mapping[str, np.ndarray], *, compressed: bool = False) -> bytes:
    """The bytes of an .npz file; the same arrays give the same bytes."""
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **dict(arrays))  # type: ignore[arg-type]  # numpy's stub: allow_pickle
    return buffer.getvalue()


def unpack(path: Path, most: int = MAX_BYTES) -> dict[str, np.ndarray]:
    """The arrays of an .npz file.

    Args:
        path: the file; a link is not followed.
        most: bytes that all arrays together may declare.

    Raises:
        FileNotFoundError: where there is none. ValueError: where it is damaged, no .npz file, declares too much, or holds objects.
    """
    try:
        with opened(path) as file:
            return _unpacked(file, most)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _damaged(error) from error


def unpack_bytes(content: bytes, most: int = MAX_BYTES) -> dict[str, np.ndarray]:
    """The arrays of an .npz file that has been read already. Raises ValueError, as `unpack`."""
    return _unpacked(io.BytesIO(content), most)


def _unpacked(file: Any, most: int) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if len(members) > MAX_ARRAYS:
                raise ValueError(f"{len(members):,} arrays")
            left = most
            for member in members:
                left -= _declared(archive, member)
                if left < 0:
                    raise ValueError(f"it declares more than {most >> 20} MiB")
            return {member.filename.removesuffix(".npy"): _array(archive, member) for member in members}
    except Exception as error:  # damage shows as errors of many kinds, of zipfile, zlib, struct, tokenize and NumPy
        raise _damaged(error) from error


def _damaged(error: Exception) -> ValueError:
    return ValueError(f"damaged, or no .npz file ({type(error).__name__}: {' '.join(str(error).split())})")


def _declared(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> int:
    """Bytes that an array will take; its header must agree with the archive's index."""
    with archive.open(member) as file:
        shape, _, dtype = _header(file)
        header = file.tell()
    size = math.prod(shape) * dtype.itemsize
    if dtype.hasobject or member.file_size != header + size:
        raise ValueError(f"{member.filename} declares {shape} {dtype} in {member.file_size} bytes")
    return size


def _header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    return shape, fortran, dtype


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(member) as file:
        return np.asarray(np.lib.format.read_array(file, allow_pickle=False))


def flattened(tree: Any) -> dict[str, np.ndarray]:
    """A nested structure (dicts, lists, tuples, None) of arrays as a flat mapping; `nested` is the inverse."""
    arrays: list[np.ndarray] = []

    def plan(part: Any) -> Any:
        if isinstance(part, Mapping):
            return {"dict": {str(name): plan(each) for name, each in part.items()}}
        if isinstance(part, (list, tuple)):
            return {type(part).__name__: [plan(each) for each in part]}
        if part is None:
            return None
        arrays.append(np.asarray(part))
        return len(arrays) - 1

    structure = json.dumps(plan(tree))
    return {"structure": np.array(structure), **{f"array_{i}": array for i, array in enumerate(arrays)}}


def nested(flat: Mapping[str, np.ndarray]) -> Any:
    """The structure that `flattened` was given. Raises ValueError where the mapping is none of its, or an array holds no finite numbers."""

    def array(number: int) -> np.ndarray:
        found = flat.get(f"array_{number}")
        if found is None or found.dtype.kind not in "fiu" or not np.isfinite(found).all():
            what = "missing" if found is None else f"{found.dtype} {found.shape} with values that are no numbers"
            raise ValueError(f"array {number} is {what}")
        return found

    def build(part: Any) -> Any:
        match part:
            case None:
                return None
            case int():
                return array(part)
            case {"dict": dict(parts)}:
                return {name: build(each) for name, each in parts.items()}
            case {"list": list(parts)}:
                return [build(each) for each in parts]
            case {"tuple": list(parts)}:
                return tuple(build(each) for each in parts)
        raise ValueError(f"{part!r:.60} is no structure of arrays")

    return build(json.loads(str(flat["structure"])))
