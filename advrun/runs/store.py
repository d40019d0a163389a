"""The results folder. A file there is whole or absent; a cell is done when its manifest says so and its bytes agree.

    results/NAME/
        config.yaml          the resolved configuration of the last run
        models/              trained models (.keras) and their training history (.json)
        examples/            adversarial images (.h5)
        rows/                measured rows (.json) and the images for the figures (.npz)
        manifests/           one per finished cell: its key, its inputs, its files with their hashes
        partial/             checkpoints of cells that were interrupted; a finished cell leaves none
        tables/ figures/ report.html log.jsonl

Every file is written under a temporary name, flushed to the disk and renamed. The manifest comes last, so a kill at any
moment leaves either the finished cell or the last checkpoint of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from advrun.checkpoints import Checkpoints
from advrun.errors import AdvrunError, LockError
from advrun.files import atomic, content_key, digest, write_text


@dataclass(frozen=True)
class Manifest:
    """What a finished cell left behind. files: path relative to the results folder -> digest. info: anything worth keeping."""

    key: str
    label: str
    files: Mapping[str, str]
    inputs: Mapping[str, str]
    info: Mapping[str, Any]

    @property
    def output(self) -> str:
        """One hash for all files of the cell."""
        return content_key(dict(self.files))


class Store:
    """Reads and writes one results folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._verified: dict[str, Manifest] = {}

    # Cells -------------------------------------------------------------------------------------------------------

    def manifest(self, cell: Any, *, verify: bool = True) -> Manifest | None:
        """The manifest of a finished cell, or None. With `verify`, its files must have the bytes that it left.

        A cell is finished only if the cells that it was made from are, and have the outputs that it was made from.
        """
        if cell.key in self._verified:
            return self._verified[cell.key]
        path = self._manifest_path(cell)
        try:
            manifest = Manifest(**json.loads(path.read_text(encoding="utf-8")))
            if not isinstance(manifest.files, dict) or not isinstance(manifest.inputs, dict):
                raise ValueError("not a manifest")
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, OSError):
            self.event("damaged", cell=cell.label, file=str(path.relative_to(self.root)))
            return None
        if manifest.key != cell.key:
            return None
        for needed in cell.needs:
            source = self.manifest(needed, verify=verify)
            if source is None or manifest.inputs.get(needed.key) != source.output:
                return None
        for name, expected in manifest.files.items():
            file = self.root / name
            if not file.is_file() or (verify and digest(file) != expected):
                self.event("damaged", cell=cell.label, file=name)
                return None
        if verify:
            self._verified[cell.key] = manifest
        return manifest

    def finish(self, cell: Any, files: Mapping[str, Callable[[Path], Any]], info: Mapping[str, Any]) -> Manifest:
        """Write a cell's files and then its manifest. `files` maps a relative path to a function that writes that path."""
        for name, write in files.items():
            with atomic(self.root / name) as temporary:
                write(temporary)
        inputs = {needed.key: manifest.output for needed in cell.needs if (manifest := self.manifest(needed))}
        manifest = Manifest(cell.key, cell.label, {name: digest(self.root / name) for name in files}, inputs, dict(info))
        write_text(self._manifest_path(cell), json.dumps(vars(manifest), indent=1))
        self._verified[cell.key] = manifest
        return manifest

    def finished(self, cell: Any) -> Manifest:
        """The manifest of a cell that must be finished. Raises AdvrunError when it is not."""
        manifest = self.manifest(cell)
        if manifest is None:
            raise AdvrunError(f"{self.root}: {cell.label} is missing or damaged; run again to rebuild it")
        return manifest

    def file(self, cell: Any, ending: str) -> Path:
        """The file of a finished cell with this ending."""
        return self.root / next(name for name in self.finished(cell).files if name.endswith(ending))

    def _manifest_path(self, cell: Any) -> Path:
        return self.root / "manifests" / f"{cell.stem}.json"

    # Checkpoints -------------------------------------------------------------------------------------------------

    def checkpoints(self, cell: Any) -> Checkpoints:
        return Checkpoints(self.root / "partial" / cell.key)

    # Log and lock ------------------------------------------------------------------------------------------------

    def event(self, kind: str, /, **details: Any) -> None:
        """Append one line to log.jsonl. A line torn by a kill is closed by the next event, and readers skip it.

        A log that cannot be written (full disk, read-only folder) stops nothing.
        """
        line = json.dumps({"time": round(time.time(), 3), "event": kind, "pid": os.getpid(), **details}, default=str)
        with contextlib.suppress(OSError):
            self.root.mkdir(parents=True, exist_ok=True)
            with open(self.root / "log.jsonl", "ab+") as file:
                torn = file.tell() > 0 and _last_byte(file) != b"\n"
                file.write((b"\n" if torn else b"") + line.encode() + b"\n")

    def tidy(self) -> None:
        """Remove what killed writers left half-written. Only under the lock."""
        for file in [*self.root.glob(".*.tmp*"), *self.root.glob("*/.*.tmp*"), *self.root.glob("partial/*/.*.tmp*")]:
            file.unlink(missing_ok=True)

    @contextlib.contextmanager
    def locked(self, wait: bool = False) -> Iterator[None]:
        """Hold the folder for writing. The lock is the kernel's, so it dies with its owner, however that ends.

        Raises:
            LockError: when another process holds it, naming that process; with `wait`, waits instead.
        """
        from filelock import FileLock, Timeout

        owner = self.root / ".owner"
        lock = FileLock(self.root / ".lock", timeout=-1 if wait else 0.5)
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout as error:
            held_by = owner.read_text(encoding="utf-8") if owner.exists() else "another process"
            raise LockError(f"{self.root} is being written by {held_by}; wait for it, or use --wait") from error
        except OSError as error:
            raise AdvrunError(f"{self.root}: cannot be written ({error.strerror or error}); choose another `results` folder") from error
        try:
            write_text(owner, f"process {os.getpid()} on {socket.gethostname()}")
            yield
        finally:
            owner.unlink(missing_ok=True)
            lock.release()


def _last_byte(file: BinaryIO) -> bytes:
    file.seek(-1, os.SEEK_END)
    return file.read(1)
