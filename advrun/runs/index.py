"""What the files of finished cells were found to hold, kept beside them: a report of ten thousand rows then reads what is new.

    index.jsonl     a line for each cell: a seal over the rest of it; key, label, files, inputs and info, as in its manifest; what its only
                    file holds, where that was read as JSON; and the stamps of the manifest and of each of its files

A run appends the cells that it finishes, and so do others that fill the folder with it; of two lines of a cell the last one counts. A line
that a kill has torn is cut off by whoever writes next, and who finds lines that do not count writes the file anew.

The cells stay the truth. A line is believed while each of these files bears the stamp that it had before it was read: inode, size, and the
times of the last change of its content and of its state. The last is the kernel's, and no program sets it: a folder that was copied,
unpacked, cloned or edited is read anew, whatever its index says. `advrun verify` believes no index, and finds one that lies.

NOTE: two changes within a tick of the clock leave one time, so a file that had changed less than SETTLED before it was read is not entered:
a run reads each of its cells once more, when that time has passed.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from advrun.files import appending, content_of, digest_of_bytes, has_torn_end, inside, write_bytes
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
        self._new: list[bytes] = []
        self._is_untidy = False
        """Whether lines of the file do not count."""
        try:
            found = list(lines(content_of(root / FILE, MOST)))
        except FileNotFoundError:
            return
        except OSError:
            damaged(FILE, "no file that can be read; without one all reports take their time, so remove what is there")
            return
        self._lines = counting(found)
        self._is_untidy = len(self._lines) < len(found)
        if broken := sum(not key for key, _ in found):
            damaged(FILE, f"{broken} of its lines changed by hand, or torn")

    def find(self, key: str, record: str) -> Remembered | None:
        """What is known of a cell, where its files are those that it was learnt from. record: the name of its manifest."""
        line = self._lines.get(key)
        entry = None if line is None else parsed(line)
        return entry if entry and entry.manifest.key == key and holds(self.root, record, entry) else None

    def learn(self, entry: Remembered) -> None:
        """Enter what was read of a cell. Its stamps are older than the reading."""
        if max(max(changed) for _, _, *changed in entry.stamps) < time.time_ns() - SETTLED:
            self._new.append(sealed(entry))
            self._is_untidy |= self._lines.pop(entry.manifest.key, None) is not None

    def forget(self, key: str) -> None:
        """Nothing is known of a cell."""
        self._lines.pop(key, None)

    def append(self) -> None:
        """Write what is new behind the rest. Raises OSError."""
        if self._new:
            with appending(inside(self.root, FILE)) as file:
                if has_torn_end(file):
                    file.seek(0)
                    file.truncate(file.read().rfind(b"\n") + 1)
                file.write(b"".join(line + b"\n" for line in self._new))
            self._new.clear()

    def keep(self) -> None:
        """The same; then leave out of the file what does not count, where there is such. Raises OSError, WriteError."""
        self.append()
        if self._is_untidy:
            counted = counting(lines(content_of(self.root / FILE, MOST)))
            write_bytes(inside(self.root, FILE), b"".join(line + b"\n" for line in counted.values()))
            self._is_untidy = False


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


def sealed(entry: Remembered) -> bytes:
    """The line of an entry."""
    manifest = entry.manifest
    said = [manifest.key, manifest.label, manifest.files, manifest.inputs, manifest.info, entry.leaf, entry.stamps]
    text = json.dumps(said, separators=(",", ":")).encode()
    return _LINE % (digest_of_bytes(text).encode(), text)


_LINE = b'["%s",%s]'
_HEAD, _END = len('["",') + 32, len("]")


def lines(content: bytes) -> Iterator[tuple[str, bytes]]:
    """The keys and lines of an index; no key where a line does not bear its seal. What is behind the last line end is torn, and no line."""
    for line in content.split(b"\n")[:-1]:
        text = line[_HEAD:-_END]
        is_whole = line == _LINE % (digest_of_bytes(text).encode(), text)
        yield text[2:].partition(b'"')[0].decode("ascii", errors="replace") if is_whole else "", line


def counting(found: Iterable[tuple[str, bytes]]) -> dict[str, bytes]:
    """Of the lines of an index those that count: the last of each key that bear their seals."""
    return {key: line for key, line in found if key}


def parsed(line: bytes) -> Remembered | None:
    """The entry of a line, None where it is none."""
    try:
        key, label, files, inputs, info, leaf, marks = json.loads(line)[1]
        manifest = Manifest.of({"key": key, "label": label, "files": files, "inputs": inputs, "info": info})
        return Remembered(manifest, leaf, tuple([(inode, size, content, state) for inode, size, content, state in marks]))
    except (ValueError, TypeError, LookupError, RecursionError):
        return None
