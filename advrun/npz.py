"""Arrays as .npz bytes, and back: what a header declares is judged before memory is taken, and nothing is unpickled."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from advrun.files import opened

MAX_BYTES = 256 << 20
"""Arrays that declare more than this together are refused, unless the caller knows better."""
MAX_ARRAYS = 100_000
MAX_HEADER = 1 << 16
"""Bytes."""
PIECE = 1 << 20
"""Bytes that are inflated at once."""


def pack(arrays: Mapping[str, np.ndarray], *, compressed: bool = False) -> bytes:
    """The bytes of an .npz file; the same arrays give the same bytes."""
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **dict(arrays))  # type: ignore[arg-type]  # numpy's stub: allow_pickle
    return buffer.getvalue()


def unpack(path: Path, most: int = MAX_BYTES, *, only: str = "") -> dict[str, np.ndarray]:
    """The arrays of an .npz file.

    Args:
        path: the file; a link is not followed.
        most: bytes that all arrays together may declare.
        only: read the array of this name alone; all without one.

    Raises:
        FileNotFoundError: where there is none. ValueError: where it is damaged, no .npz file, declares too much, or holds objects.
    """
    try:
        with opened(path) as file:
            return _unpacked(file, most, only)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _damaged(error) from error


def unpack_bytes(content: bytes, most: int = MAX_BYTES) -> dict[str, np.ndarray]:
    """The arrays of an .npz file that has been read already. Raises ValueError, as `unpack`."""
    return _unpacked(io.BytesIO(content), most)


def _unpacked(file: Any, most: int, only: str = "") -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(file) as archive:
            members = [each for each in archive.infolist() if not only or each.filename == f"{only}.npy"]
            if len(members) > MAX_ARRAYS:
                raise ValueError(f"{len(members):,} arrays")
            found, left = dict[str, np.ndarray](), most
            for member in members:
                with archive.open(member) as content:
                    form = _declared(content, member)
                    left -= form.size
                    if left < 0:
                        raise ValueError(f"it declares more than {most >> 20} MiB")
                    found[member.filename.removesuffix(".npy")] = _array(content, form)
            return found
    except Exception as error:  # damage shows as errors of many kinds, of zipfile, zlib, struct, tokenize and NumPy
        raise _damaged(error) from error


def _damaged(error: Exception) -> ValueError:
    return ValueError(f"damaged, or no .npz file ({type(error).__name__}: {' '.join(str(error).split())})")


class _Form(NamedTuple):
    """What the header of an array declares."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


def _declared(file: Any, member: zipfile.ZipInfo) -> _Form:
    """What an array declares; it must agree with the archive's index."""
    version = np.lib.format.read_magic(file)
    count = file.read(2 if version == (1, 0) else 4)
    header = count + file.read(min(int.from_bytes(count, "little"), MAX_HEADER))
    form = _form(version, header)
    if form.dtype.hasobject or member.file_size != np.lib.format.MAGIC_LEN + len(header) + form.size:
        raise ValueError(f"{member.filename} declares {form.shape} {form.dtype} in {member.file_size} bytes")
    return form


@lru_cache(maxsize=1000)
def _form(version: tuple[int, int], header: bytes) -> _Form:
    """Headers are Python's literals, which take long to parse, and those of many files are the same."""
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return _Form(*read(io.BytesIO(header)))


def _array(file: Any, form: _Form) -> np.ndarray:
    """The values behind a header: all that are left in the member, whose checksum is looked at behind the last."""
    content = bytearray(form.size)
    place = memoryview(content)
    while place and (count := file.readinto(place[:PIECE])):
        place = place[count:]
    if place or file.read(1):
        raise ValueError("it ends too early, or too late")
    array = np.frombuffer(content, form.dtype) if content else np.zeros(math.prod(form.shape), form.dtype)
    return array.reshape(form.shape, order="F" if form.fortran else "C")


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
