"""The results folder. A file there is whole or absent; a cell is done when its manifest says so and its bytes agree.

    results/NAME/
        config.yaml          the resolved configuration of the last run
        record.json          its test images in their order, its code and its rows, as hashes (`record.py`)
        index.jsonl          what files of finished cells were found to hold, and their stamps (`index.py`)
        nearest.json         how near the closest examples are that a ledger knew, where one was named (`known.py`)
        models/              trained models (.keras) and their training history (.json)
        learnt/              what attacks learnt from images alone (.learnt.npz), its curves and pictures
        examples/            adversarial images (.h5)
        rows/                measured rows (.json) and the images for the figures and the page (.npz)
        bounds/              how far no attack can reach, image by image (.json)
        answers/             what models that can only be asked have answered, and how many images they were sent (.sqlite)
        proofs/              which planted examples each attack found (.json), where `advrun prove` was run
        manifests/           one per finished cell: its key, its inputs, its files with their hashes
        partial/             checkpoints of cells that were interrupted; a finished cell leaves none
        tables/ figures/ report.html log.jsonl

Every file is written under a temporary name, flushed to the disk and renamed. The manifest comes last, so a kill at any
moment leaves either the finished cell or the last checkpoint of it.

A results folder may come from somebody else. Nothing outside it is written, followed or deleted, whatever its manifests name and
whatever links it holds; only the folder itself, and those that it lies in, may be links.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from advrun.checkpoints import END, Checkpoints, LeftToOthers
from advrun.errors import AdvrunError, LockError, WriteError
from advrun.files import (
    MAX_JSON,
    appending,
    atomic,
    content_of,
    digest_of,
    digest_of_bytes,
    has_torn_end,
    inside,
    is_regular,
    opened,
    write_text,
)
from advrun.process import uncollected
from advrun.runs import index
from advrun.runs.index import Remembered
from advrun.runs.manifest import Manifest

CELLS = ("models", "learnt", "examples", "surveys", "rows", "metrics", "bounds", "proofs")
"""Folders in which a file is called after its cell."""
FOLDERS = (*CELLS, "manifests", "answers", "partial", "tables", "figures")
"""Of a results folder."""
LOG = "log.jsonl"
RECORD = "manifests/report.json"
"""What the report was made from, and the hashes of its files."""
RECENT = 256
"""Manifests that are kept in memory."""
T = TypeVar("T")


class Store:
    """Reads and writes one results folder.

    Args:
        root: the folder.
        ask: where several workers may do one cell together: as `Checkpoints.turn`, after the key of the cell.
    """

    def __init__(self, root: Path, ask: Callable[[str, Sequence[str]], str] | None = None) -> None:
        self.root = root
        self._ask = ask
        self.made: Callable[[], None] | None = None
        """Told whenever a piece of an unfinished cell is made."""
        self._outputs: dict[str, str] = {}
        """Of each cell that is known to be finished, by its key."""
        self._recent: dict[str, Manifest] = {}
        """Manifests of the last of them: of ten thousand, memory holds few."""
        self._index: index.Index | None = None
        self._young: deque[tuple[int, Any]] = deque()
        """Cells that were adopted, and when: those that are not in the index yet."""

    # Cells -------------------------------------------------------------------------------------------------------

    def manifest(self, cell: Any, *, verify: bool = True) -> Manifest | None:
        """The manifest of a finished cell, or None. With `verify`, its files must have the bytes that it left.

        A cell is finished only if the cells that it was made from are, and have the outputs that it was made from.
        """
        if cell.key in self._recent:
            return self._recent[cell.key]
        entry = self._sealed(cell, verify)
        if entry is None:
            return None
        manifest = entry.manifest
        if not entry.vouches and self._outputs.get(cell.key) != manifest.output and not self._is_whole(cell, entry, verify):
            return None
        if verify:
            self._remember(manifest)
        return manifest

    def _is_whole(self, cell: Any, entry: Remembered, verify: bool = True) -> bool:
        """Whether all files of a cell are there, with the bytes that it left if these are looked at; then it is entered in the index."""
        marks = self._stamps(entry.manifest)
        for name, expected in entry.manifest.files.items():
            if not self.holds(name, expected if verify else None):
                self._damaged(cell.label, name, "its bytes are not those that were written")
                return False
        if verify:
            self._learn(entry, marks)
        return True

    def leaf(self, cell: Any, parse: Callable[[Any], T]) -> T | None:
        """What `parse` makes of the JSON of a cell with one small file, from which nothing is made; None where it is not finished.

        The file is read once, for its hash and for what it says: there may be a hundred thousand of them.

        Raises:
            AdvrunError: as `read`.
        """
        entry = self._sealed(cell, verify=True)
        if entry is None:
            return None
        name = next(iter(entry.manifest.files), "")
        try:
            if entry.leaf is not None:
                return parse(entry.leaf)
            marks = self._stamps(entry.manifest)
            content = self._only_file(entry.manifest)
            if content is None:
                self._damaged(cell.label, name, "its bytes are not those that were written")
                return None
            said = json.loads(content)
            found = parse(said)
            self._learn(entry._replace(leaf=said), marks)
            return found
        except (ValueError, RecursionError) as error:
            raise self._unusable(cell, name, error) from error

    def _only_file(self, manifest: Manifest) -> bytes | None:
        """What the only file of a cell holds; None where it has several, or other bytes than were written."""
        try:
            ((name, expected),) = manifest.files.items()
            content = content_of(inside(self.root, name), MAX_JSON)
        except (OSError, ValueError, AdvrunError):
            return None
        return content if digest_of_bytes(content) == expected else None

    def _sealed(self, cell: Any, verify: bool) -> Remembered | None:
        """The manifest of a cell whose inputs are finished and what they were; its own files are not looked at."""
        name = f"manifests/{cell.stem}.json"
        entry = self._index.find(cell.key, name) if self._index else None
        if entry is None:
            entry = self._read(cell, name)
        if entry is None or entry.manifest.key != cell.key:
            return None
        manifest = entry.manifest
        if cell.key in self._outputs and self._outputs[cell.key] == manifest.output:
            return entry
        for needed in cell.needs:
            source = self.output(needed, verify=verify)
            if source is None or manifest.inputs.get(needed.key) != source:
                return None
        return entry

    def _read(self, cell: Any, name: str) -> Remembered | None:
        """The manifest of this name, with its stamp where there is an index to keep it."""
        try:
            path = inside(self.root, name)
            marks = index.stamps(self.root, (name,)) if self._index else ()
            manifest = Manifest.read(path)
        except FileNotFoundError:
            return None
        except (ValueError, AdvrunError) as error:
            self._damaged(cell.label, name, str(error))
            return None
        return None if manifest is None else Remembered(manifest, None, marks)

    def _stamps(self, manifest: Manifest) -> tuple[index.Stamp, ...]:
        return index.stamps(self.root, tuple(manifest.files)) if self._index else ()

    def _learn(self, entry: Remembered, marks: tuple[index.Stamp, ...]) -> None:
        """A cell was read and is whole. marks: of its files, from before that."""
        whole = entry._replace(stamps=entry.stamps[:1] + marks)
        if self._index and whole.vouches:
            self._index.learn(whole)

    # The index ---------------------------------------------------------------------------------------------------

    @uncollected()
    def recall(self) -> None:
        """From here on know what `index.py` holds of cells that are as they were, those of other writers too, and enter what is adopted.

        For whoever looks at all of them; again, for those that were entered since.
        """

        def damaged(name: str, reason: str) -> None:
            if is_first:
                self._damaged("index", name, reason, "the cells are read anew")

        is_first = self._index is None
        self._index = index.Index(self.root, damaged)

    def keep(self) -> None:
        """Write down what has been learnt since; an index that cannot be written stops nothing."""
        if self._index:
            self._enter()
            with contextlib.suppress(OSError, AdvrunError):
                self._index.keep()

    def _enter(self) -> None:
        """Append to the index the cells that were adopted long enough ago. One that is no longer what it was counts as not done."""
        ends = time.monotonic_ns() - index.SETTLED
        while self._young and self._young[0][0] <= ends:
            cell = self._young.popleft()[1]
            if not self._still_is(cell):
                self._outputs.pop(cell.key, None)
                self._recent.pop(cell.key, None)
        if self._index:
            with contextlib.suppress(OSError, AdvrunError):
                self._index.append()

    def _still_is(self, cell: Any) -> bool:
        """Whether a cell is what it was when it was finished; then it is known to the index."""
        if cell.metric:
            try:
                return self.leaf(cell, lambda said: True) is not None
            except AdvrunError:
                return False
        entry = self._sealed(cell, verify=True)
        return entry is not None and (entry.vouches or self._is_whole(cell, entry))

    def output(self, cell: Any, *, verify: bool = True) -> str | None:
        """What `Manifest.output` says of a finished cell, or None; a cell that is known to be finished is not read again."""
        if cell.key in self._outputs:
            return self._outputs[cell.key]
        manifest = self.manifest(cell, verify=verify)
        return None if manifest is None else manifest.output

    def adopt(self, cell: Any) -> Manifest | None:
        """The manifest that another process has just written, or None: its files need not be read again, for it has hashed them."""
        manifest = self.manifest(cell, verify=False)
        if manifest is not None:
            self._remember(manifest)
            if self._index:
                self._young.append((time.monotonic_ns(), cell))
                self._enter()
        return manifest

    def _remember(self, manifest: Manifest) -> None:
        self._outputs[manifest.key] = manifest.output
        self._recent[manifest.key] = manifest
        if len(self._recent) > RECENT:
            del self._recent[next(iter(self._recent))]

    def finish(self, cell: Any, files: Mapping[str, Callable[[Path], Any]], info: Mapping[str, Any]) -> Manifest:
        """Write a cell's files and then its manifest. `files` maps a relative path to a function that writes that path.

        Raises:
            WriteError: when the disk is full; then the cell is not finished, and what was there before is. LeftToOthers: where another
                worker has all that the cell is made of, too, and was the first to say so.
        """
        if self._ask and not self._ask(cell.key, [END]):
            raise LeftToOthers
        digests = {}
        for name, write in files.items():
            place = inside(self.root, name)
            with atomic(place) as temporary:
                write(temporary)
            with opened(place) as file:
                digests[name] = digest_of(file)
        inputs = {needed.key: output for needed in cell.needs if (output := self.output(needed))}
        manifest = Manifest(cell.key, cell.label, digests, inputs, dict(info))
        write_text(inside(self.root, f"manifests/{cell.stem}.json"), manifest.to_json())
        self._remember(manifest)
        return manifest

    def finished(self, cell: Any) -> Manifest:
        """The manifest of a cell that must be finished. Raises AdvrunError when it is not."""
        manifest = self.manifest(cell)
        if manifest is None:
            raise AdvrunError(f"{self.root}: {cell.label} is missing or damaged; run again to rebuild it")
        return manifest

    def file(self, cell: Any, ending: str) -> Path:
        """The file of a finished cell with this ending. Raises AdvrunError."""
        return self.read(cell, ending, lambda path: path)

    def read(self, cell: Any, ending: str, reader: Callable[[Path], T]) -> T:
        """What `reader` makes of the file of a finished cell with this ending.

        Raises:
            AdvrunError: when there is none, or `reader` raises an error, though the file has the bytes that its manifest says. Then the
                cell is forgotten, and the next run does it again.
        """
        name = next((name for name in self.finished(cell).files if name.endswith(ending)), None)
        try:
            if name is None:
                raise ValueError(f"its manifest names no {ending} file")
            return reader(inside(self.root, name))
        except MemoryError:
            raise
        except Exception as error:  # whatever it is, the cell can be done anew
            raise self._unusable(cell, name or f"manifests/{cell.stem}.json", error) from error

    def _unusable(self, cell: Any, name: str, error: Exception) -> AdvrunError:
        """A file has the bytes that were written, and is of no use all the same: the cell is forgotten."""
        self.forget(cell)
        reason = str(error) if isinstance(error, (AdvrunError, ValueError)) else f"{type(error).__name__}: {error}"
        self._damaged(cell.label, name, " ".join(reason.split()))
        return AdvrunError(f"{self.root / name}: cannot be used ({' '.join(reason.split())}); run again to rebuild it")

    def forget(self, cell: Any) -> None:
        """A cell is not finished after all."""
        self._outputs.pop(cell.key, None)
        self._recent.pop(cell.key, None)
        if self._index:
            self._index.forget(cell.key)
        self.remove(f"manifests/{cell.stem}.json")

    def holds(self, name: str, expected: str | None = None) -> bool:
        """Whether there is such a file, with the digest that is expected where one is."""
        try:
            with opened(inside(self.root, name)) as file:
                return expected is None or digest_of(file) == expected
        except (OSError, ValueError, AdvrunError):
            return False

    def remove(self, name: str) -> None:
        """Remove a file, if it is there, and lies in the results folder; a link is removed, not what is behind it."""
        with contextlib.suppress(OSError, AdvrunError):
            inside(self.root, name).unlink()

    def _damaged(self, label: str, name: str, reason: str, then: str = "it counts as not done") -> None:
        self.event("damaged", cell=label, file=name, reason=reason)
        logging.getLogger("advrun").warning("%s: %s: %s; %s", label, self.root / name, reason, then)

    # Checkpoints -------------------------------------------------------------------------------------------------

    def checkpoints(self, cell: Any) -> Checkpoints:
        """Of an unfinished cell. One that cannot be used is told in the log and on the console."""

        def damaged(file: Path, reason: str) -> None:
            self.event("damaged", cell=cell.label, file=str(file.relative_to(self.root)), reason=reason)
            logging.getLogger("advrun").warning("%s: %s: a checkpoint that cannot be used (%s) is thrown away", cell.label, file, reason)

        ask = partial(self._ask, cell.key) if self._ask else None
        return Checkpoints(inside(self.root, f"partial/{cell.key}"), damaged, ask, self.made)

    # Log and lock ------------------------------------------------------------------------------------------------

    def event(self, kind: str, /, **details: Any) -> None:
        """Append one line to log.jsonl. A line torn by a kill is closed by the next event, and readers skip it.

        A log that cannot be written (full disk, read-only folder) stops nothing.
        """
        line = json.dumps({"time": round(time.time(), 3), "event": kind, "pid": os.getpid(), **details}, default=str)
        with contextlib.suppress(OSError, ValueError):
            self.root.mkdir(parents=True, exist_ok=True)
            with appending(self.root / LOG) as file:
                file.write(b"\n" * has_torn_end(file) + line.encode(errors="surrogateescape") + b"\n")

    def tidy(self) -> None:
        """Remove what killed writers left half-written. Only under the lock."""
        for pattern in (".*.tmp*", *(f"{folder}/.*.tmp*" for folder in FOLDERS), "partial/*/.*.tmp*"):
            for file in self.root.glob(pattern):
                with contextlib.suppress(OSError, AdvrunError):
                    inside(self.root, file.relative_to(self.root).as_posix()).unlink()

    def holder(self) -> str:
        """Who writes the folder now: "process 17 on host"; "" where nobody does. Nothing is written, and nobody waited for."""
        try:
            import fcntl

            with opened(self.root / ".lock") as file:
                fcntl.flock(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _text(self.root / ".owner") or "another process"
        except (OSError, ImportError):
            return ""
        return ""

    def _check(self) -> None:
        """Refuse links where our folders should be, and put away what is no file where the log and the index should be."""
        for name in FOLDERS:
            inside(self.root, f"{name}/file")
        for name in (LOG, index.FILE):
            place = self.root / name
            if os.path.lexists(place) and not (is_regular(place) and place.stat().st_nlink == 1):
                with contextlib.suppress(OSError):
                    place.unlink()  # the name, not the file behind it
                self.event("damaged", file=name, reason="a link, or no file")

    @contextlib.contextmanager
    def locked(self, wait: bool = False, *, shared: bool = False) -> Iterator[None]:
        """Hold the folder for writing. The lock is the kernel's, so it dies with its owner, however that ends.

        Args:
            wait: until it is free.
            shared: others may hold it so too; they claim each cell (`runs/claims.py`).

        Raises:
            LockError: when another process holds it, naming that process; with `wait`, waits instead.
        """
        from filelock import FileLock, Timeout

        owner, place = self.root / ".owner", self.root / ".lock"
        lock = _Shared(place, wait) if shared else FileLock(place, timeout=-1 if wait else 0.5)
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            if os.path.lexists(place) and not is_regular(place):
                raise AdvrunError(f"{place} is a link, or no file; remove it, and run again")
            lock.acquire()
        except Timeout as error:
            held_by = _text(owner) or "another process"
            raise LockError(f"{self.root} is being written by {held_by}; wait for it, or use --wait") from error
        except OSError as error:
            raise WriteError(f"{self.root}: cannot be written ({error.strerror or error}); choose another `results` folder") from error
        try:
            self._check()
            write_text(owner, f"process {os.getpid()} on {socket.gethostname()}")
            yield
        finally:
            with contextlib.suppress(OSError):
                owner.unlink()
            lock.release()


class _Shared:
    """The lock that `FileLock` takes alone, as several hold it at once."""

    def __init__(self, place: Path, wait: bool) -> None:
        self._place, self._wait = place, wait

    def acquire(self) -> None:
        """Raises filelock.Timeout where somebody has it alone, for longer than half a second."""
        import fcntl

        from filelock import Timeout

        self._file = opened(self._place, os.O_RDWR | os.O_CREAT, "r+b")
        ends = time.monotonic() + 0.5
        while True:
            with contextlib.suppress(BlockingIOError, PermissionError):
                fcntl.flock(self._file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return
            if not self._wait and time.monotonic() > ends:
                self._file.close()
                raise Timeout(str(self._place))
            time.sleep(0.05)

    def release(self) -> None:
        self._file.close()


def _text(path: Path) -> str:
    """The first words of a small file of text; "" where there is none."""
    try:
        with opened(path) as file:
            text = file.read(200).decode("ascii", errors="replace")
            return "".join(letter if letter.isprintable() else "?" for letter in text)
    except OSError:
        return ""
