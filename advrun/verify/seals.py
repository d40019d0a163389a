"""The finished cells of a results folder, as their manifests tell, whatever version of advrun wrote them; and the hashes of their files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from advrun.errors import AdvrunError
from advrun.files import MAX_JSON, content_key, content_of, inside
from advrun.runs import index
from advrun.runs.manifest import Manifest
from advrun.runs.plan import stem_of
from advrun.runs.store import RECORD
from advrun.runs.untouched import NOTHING, Untouched, listed
from advrun.verify.minutes import Minutes

SYSTEM = (".keras", ".npz")
"""Endings of the file that holds a system."""
ADVICE = "what the manifest of its cell says"


@dataclass(frozen=True, eq=False)
class Sealed:
    """A finished cell. record: the name of its manifest. known: all cells of the folder, by key; they grow while the folder is read."""

    record: str
    manifest: Manifest
    known: Mapping[str, Sealed]

    @property
    def label(self) -> str:
        return self.manifest.label

    def file(self, folder: str, *endings: str) -> str | None:
        """Its file in `folder/` with one of these endings."""
        return next((name for name in self.manifest.files if name.startswith(f"{folder}/") and name.endswith(endings)), None)

    @property
    def sources(self) -> list[Sealed]:
        """The cells that it was made from, as far as they are here."""
        return [self.known[key] for key in self.manifest.inputs if key in self.known]

    @property
    def row(self) -> str | None:
        """Its measured row."""
        return self.file("rows", f"{PurePosixPath(self.record).stem}.json")

    @property
    def examples(self) -> str | None:
        """Its adversarial images."""
        return self.file("examples", ".h5")

    @property
    def is_system(self) -> bool:
        """Whether it is a trained system, or one that can only be asked."""
        return any(name.startswith("models/") for name in self.manifest.files)

    @cached_property
    def system(self) -> Sealed | None:
        """The system that it is about."""
        if self.is_system:
            return self
        return next((source.system for source in self.sources if source.is_system or source.row), None)

    @property
    def images(self) -> Sealed | None:
        """Of a row: the cell that crafted its images."""
        return next((source for source in self.sources if source.examples), None)

    @property
    def own(self) -> Sealed | None:
        """Of a row whose images come from another system: what that makes of them."""
        return next((source for source in self.sources if source.row), None)


def sealed(store: Untouched, minutes: Minutes) -> dict[str, Sealed]:
    """All finished cells by key; every manifest, file and input is checked."""
    root, cells = store.root, dict[str, Sealed]()
    for name in listed(root, "manifests"):
        if name != RECORD and name.endswith(".json") and (manifest := _manifest(root, name, minutes)):
            cells[manifest.key] = Sealed(name, manifest, cells)
    for cell in cells.values():
        _files(store, cell, minutes)
        for key, output in cell.manifest.inputs.items():
            if key not in cells:
                minutes.find(cell.record, f"that it was made from a cell {key[:8]}", "a cell that is here")
            elif cells[key].manifest.output != output:
                said, now = f"that {cells[key].label} was {output[:12]}", f"{cells[key].manifest.output[:12]}, which it is"
                minutes.find(cell.record, said, now)
    minutes.cells = len(cells)
    return cells


def check_index(root: Path, cells: Mapping[str, Sealed], minutes: Minutes) -> None:
    """What reports believe without reading the cells, where its stamps hold: it must be what these say. cells: those whose seals hold."""
    try:
        content = bytes_of(root, index.FILE, index.MOST)
    except FileNotFoundError:
        return
    except (OSError, AdvrunError) as error:
        minutes.find(index.FILE, str(error), "a file, or nothing")
        return
    if content and not content.endswith(b"\n"):
        minutes.note(f"{index.FILE}: its last line is torn, as by a kill; nobody believes it, and the next writer cuts it off")
    lines = list(index.lines(content))
    last = dict(lines)
    for number, (key, line) in enumerate(lines, 1):
        if not key:
            minutes.find(f"{index.FILE}:{number}", "what does not belong to its seal", "what was sealed")
            continue
        cell, entry = cells.get(key), index.parsed(line)
        if last[key] is not line or cell is None or (entry is not None and not index.holds(root, cell.record, entry)):
            continue  # nobody believes it
        if entry is None or entry.manifest != cell.manifest or (entry.leaf is not None and not _is_leaf(root, cell, entry.leaf)):
            minutes.find(f"{index.FILE}:{number}", f"something else of {cell.label}", "what its manifest and its files say")


def _is_leaf(root: Path, cell: Sealed, leaf: Any) -> bool:
    try:
        (name,) = cell.manifest.files
        return content_key(json.loads(bytes_of(root, name))) == content_key(leaf)
    except (OSError, ValueError, AdvrunError):
        return False


def fingerprint(cells: Mapping[str, Sealed]) -> str:
    """One hash of all finished cells: who has published it cannot be given another folder."""
    return content_key(sorted((key, cell.manifest.output, content_key(dict(cell.manifest.info))) for key, cell in cells.items()))


def bytes_of(root: Path, name: str, most: int = MAX_JSON) -> bytes:
    """The content of a file of the folder. Raises OSError for what is no file in itself, or too large; AdvrunError for names elsewhere."""
    content = content_of(inside(root, name), most + 1)
    if len(content) > most:
        raise OSError(f"larger than {most >> 20} MiB")
    return content


def _manifest(root: Path, name: str, minutes: Minutes) -> Manifest | None:
    try:
        content = bytes_of(root, name)
        manifest = Manifest.read(inside(root, name))
    except (OSError, ValueError, AdvrunError) as error:
        minutes.find(name, f"what does not belong to its seal ({error})", "what was sealed")
        return None
    if manifest is None:
        minutes.note(f"{name}: written by an earlier advrun, without a seal; its cell is not checked")
        return None
    if content != manifest.to_json().encode():
        minutes.find(name, "the same in other bytes", "what advrun writes")
    stem = stem_of(manifest.label, manifest.key)
    if name != f"manifests/{stem}.json":
        minutes.find(name, f"that it is of {manifest.label} ({manifest.key[:8]})", "the cell that it is named after")
        return None
    return manifest


def _files(store: Untouched, cell: Sealed, minutes: Minutes) -> None:
    stem = PurePosixPath(cell.record).stem
    for name, expected in cell.manifest.files.items():
        if not PurePosixPath(name).name.startswith(f"{stem}."):
            minutes.find(cell.record, f"that {name} is its file", f"files that are called {stem}")
            continue
        found = store.hash_of(name)
        if found != expected:
            minutes.find(name, found if found.startswith(NOTHING) else f"bytes with the hash {found[:12]}", f"{expected[:12]}, {ADVICE}")
