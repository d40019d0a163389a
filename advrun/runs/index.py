"""What the files of finished cells were found to hold, kept beside them: a report of ten thousand rows then reads what is new.

    index.jsonl     a seal over all that follows, then a line for each cell: key, label, files, inputs and info, as in its manifest; what
                    its only file holds, where that was read as JSON; and the stamps of the manifest and of each of its files

The cells stay the truth. A line is believed while each of these files bears the stamp that it had before it was read: inode, size, and the
times of the last change of its content and of its state. The last is the kernel's, and no program sets it: a folder that was copied,
unpacked, cloned or edited is read anew, whatever its index says. `advrun verify` believes no index, and finds one that lies.

NOTE: two changes within a tick of the clock leave one time, so a file that had changed less than SETTLED before it was read is not entered.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from advrun.files import content_of, digest_of_bytes, inside, write_bytes
from advrun.runs.manifest import Manifest

FILE = "index.jsonl"
MOST = 1 << 30
"""Bytes of an index; ten thousand rows of fourteen metrics take a tenth of it."""
SETTLED = 2_000_000_000
"""Nanoseconds: longer than a tick of any file system's clock."""
Stamp = tuple[int, int, int, int]


class Remembered(NamedTuple):
    """What is known of a cell.

    leaf: what its only file holds, None where that was not read as JSON. stamps: of its manifest, then of its files, in the order in which
    the manifest names them; of the first alone where the others have not been looked at.
    """

    manifest: Manifest
    leaf: Any = None
    stamps: tuple[Stamp, ...] = ()

    @property
    def vouches(self) -> bool:
        """Whether its files need not be read: they are those that were."""
        return len(self.stamps) > len(self.manifest.files)


class Index:
    """The index of a results folder.

    damaged: is told the name of an index that is not as it was written, and why.
    """

    def __init__(self, root: Path, damaged: Callable[[str, str], Any]) -> None:
        self.root = root
        self._lines: dict[str, bytes] = {}
        self._is_new = False
        try:
            self._lines = dict(lines(content_of(root / FILE, MOST)))
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            damaged(FILE, str(error))

    def find(self, key: str, record: str) -> Remembered | None:
        """What is known of a cell, where its files are those that it was learnt from. record: the name of its manifest."""
        line = self._lines.get(key)
        entry = None if line is None else parsed(line)
        return entry if entry and entry.manifest.key == key and holds(self.root, record, entry) else None

    def learn(self, entry: Remembered) -> None:
        """Enter what was read of a cell. Its stamps are older than the reading."""
        if max(max(changed) for _, _, *changed in entry.stamps) < time.time_ns() - SETTLED:
            manifest = entry.manifest
            said = [manifest.key, manifest.label, manifest.files, manifest.inputs, manifest.info, entry.leaf, entry.stamps]
            self._lines[manifest.key] = json.dumps(said, separators=(",", ":")).encode()
            self._is_new = True

    def forget(self, key: str) -> None:
        """Nothing is known of a cell."""
        self._is_new |= self._lines.pop(key, None) is not None

    def keep(self) -> None:
        """Write it, if anything is new. Raises WriteError."""
        if self._is_new:
            content = b"\n".join(self._lines.values())
            write_bytes(inside(self.root, FILE), digest_of_bytes(content).encode() + b"\n" + content)
            self._is_new = False


def stamp(path: str) -> Stamp:
    """What changes with a file, whoever changes it. Raises OSError."""
    state = os.lstat(path)
    return state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


def stamps(root: Path, names: Sequence[str]) -> tuple[Stamp, ...]:
    """Of files of a results folder; none at all where one is missing."""
    try:
        return tuple([stamp(f"{root}/{name}") for name in names])
    except (OSError, ValueError):
        return ()


def holds(root: Path, record: str, entry: Remembered) -> bool:
    """Whether the files of an entry bear its stamps."""
    return entry.vouches and stamps(root, (record, *entry.manifest.files)) == entry.stamps


def lines(content: bytes) -> Iterator[tuple[str, bytes]]:
    """The keys and lines of an index. Raises ValueError where they do not belong to its seal."""
    seal, _, rest = content.partition(b"\n")
    if seal.decode("ascii", errors="replace") != digest_of_bytes(rest):
        raise ValueError("changed by hand, or torn")
    for line in filter(None, rest.split(b"\n")):
        yield line[2:].partition(b'"')[0].decode("ascii", errors="replace"), line


def parsed(line: bytes) -> Remembered | None:
    """The entry of a line, None where it is none."""
    try:
        key, label, files, inputs, info, leaf, marks = json.loads(line)
        manifest = Manifest.of({"key": key, "label": label, "files": files, "inputs": inputs, "info": info})
        return Remembered(manifest, leaf, tuple([(inode, size, content, state) for inode, size, content, state in marks]))
    except (ValueError, TypeError, RecursionError):
        return None
