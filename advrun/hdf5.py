"""What must be looked at in an HDF5 file before the HDF5 library opens it, because the library would never come back.

HDF5 keeps texts in heaps, collections of objects that follow each other (HDF5 File Format Specification 3.0, section III.E). The
library reads a collection object by object, and goes round for ever where one takes no room.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from advrun.files import opened

_HEAP = b"GCOL\x01\0\0\0"
_HEAD = struct.Struct("<HHIQ")  # number, references, reserved, size


def check_heaps(content: bytes | mmap.mmap) -> None:
    """Raise ValueError where reading the heaps of an HDF5 file would never end."""
    at = content.find(_HEAP)
    while at >= 0:
        end = min(at + int.from_bytes(content[at + 8 : at + 16], "little"), len(content))
        place = at + 16
        while place + _HEAD.size <= end:
            number, _, _, size = _HEAD.unpack_from(content, place)
            if number == 0:  # what is left over, its own head included
                if size < _HEAD.size:
                    raise ValueError(f"the heap at byte {at} of the HDF5 file is damaged")
                break
            place += _HEAD.size + (size + 7) // 8 * 8
        at = content.find(_HEAP, at + 8)


def check_file(path: Path) -> None:
    """The same for a file. Raises ValueError, and OSError where it cannot be read."""
    with opened(path.resolve()) as file:
        if file.read(1):
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                check_heaps(content)
