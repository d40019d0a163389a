"""NumPy's .npz files from strangers: no pickles, and nothing larger than the file can honestly hold."""

from __future__ import annotations

import contextlib
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from advrun.datasets._declared import MOST_PACKED, Declared, damage, streamed
from advrun.datasets._sniff import HEAD, describe
from advrun.errors import DataError

EXPECTED = "expected .npz, .h5 or .hdf5"


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Mapping[str, Callable[[], Declared]]]:
    """The arrays of the file by name, each a function that reads its header. Raises DataError."""
    try:
        archive = zipfile.ZipFile(path)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; {EXPECTED}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); {EXPECTED}") from error
    except Exception as error:  # a damaged table of contents raises whatever its bytes lead to
        raise DataError(f"{path}: {_kind(path) or 'damaged or not an .npz file'}; {EXPECTED}") from error
    with archive:
        members = {member.filename.removesuffix(".npy"): member for member in archive.infolist() if member.filename.endswith(".npy")}
        yield {name: partial(_declared, archive, path, name, member) for name, member in members.items()}


def _kind(path: Path) -> str | None:
    with open(path, "rb") as file:
        head = file.read(HEAD)
    if head.startswith(b"PK\x03\x04"):
        return "damaged: its end is missing"
    return "one array (.npy), without labels" if head.startswith(np.lib.format.MAGIC_PREFIX) else describe(head)


def _declared(archive: zipfile.ZipFile, path: Path, name: str, member: zipfile.ZipInfo) -> Declared:
    place = f"{path}: {name}"
    with damage(place):
        with archive.open(member) as file:
            version = np.lib.format.read_magic(file)
            read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read_header(file)
            header = file.tell()
        if dtype.hasobject:
            raise DataError(f"{place} holds Python objects, which are not read; save plain numbers")

        def start() -> Iterator[Callable[[int], bytes]]:
            with archive.open(member) as file:
                file.read(header)
                yield file.read

        declared = streamed(place, shape, dtype, start)
        packed = min(member.compress_size, path.stat().st_size)
        if member.file_size != header + declared.size or member.file_size > MOST_PACKED * packed:
            raise DataError(f"{place} declares {shape} {dtype}, which is not what the file holds; write the file again")
    return _by_columns(declared) if fortran and len(shape) > 1 else declared


def _by_columns(declared: Declared) -> Declared:
    """The array of a file that has the last axis first."""
    turned = declared._replace(shape=declared.shape[::-1])

    def blocks() -> Iterator[np.ndarray]:
        content = b"".join(block.tobytes() for block in declared.blocks())
        yield np.frombuffer(content, declared.dtype, math.prod(turned.shape)).reshape(turned.shape).T

    return declared._replace(blocks=blocks)
