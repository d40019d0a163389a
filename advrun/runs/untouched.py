"""A results folder that is only looked at: nothing in it is written, forgotten or removed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from advrun.errors import AdvrunError, DataError
from advrun.files import digest_of, inside, opened
from advrun.runs.store import Store

NOTHING = "nothing: it is "


class Untouched(Store):
    """Of a folder that is somebody else's, or that another process writes. Every file is hashed once.

    damaged: by the label of a cell, the file that is not as it was written, and what is wrong with it.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.hashes: dict[str, str] = {}
        self.damaged: dict[str, tuple[str, str]] = {}

    def hash_of(self, name: str) -> str:
        """The hash of a file of the folder; in its place, in words, what is wrong with it."""
        if name not in self.hashes:
            self.hashes[name] = self._hash_of(name)
        return self.hashes[name]

    def holds(self, name: str, expected: str | None = None) -> bool:
        """As `Store.holds`."""
        found = self.hash_of(name)
        return found == expected if expected is not None else not found.startswith(NOTHING)

    def event(self, kind: str, /, **details: Any) -> None:
        """Not logged."""

    def forget(self, cell: Any) -> None:
        """Not forgotten."""

    def remove(self, name: str) -> None:
        """Not removed."""

    def _damaged(self, label: str, name: str, reason: str, then: str = "") -> None:
        self.damaged[label] = name, reason

    def _hash_of(self, name: str) -> str:
        try:
            with opened(inside(self.root, name)) as file:
                return digest_of(file)
        except FileNotFoundError:
            return f"{NOTHING}missing"
        except (OSError, AdvrunError):
            return f"{NOTHING}{_kind(self.root / name)}"


def _kind(path: Path) -> str:
    try:
        mode = os.lstat(path).st_mode
    except (OSError, ValueError):
        return "missing, or elsewhere"
    return "a link" if stat.S_ISLNK(mode) else "no file that can be read"


def check_folder(root: Path) -> None:
    """Raise DataError where there is no folder."""
    if not root.is_dir():
        what = "a file, where a folder is expected" if root.exists() else "no such folder"
        raise DataError(f"{root}: {what}; give the results folder of a run, such as results/demo")


def check_results(root: Path) -> None:
    """Raise DataError where there is no folder, or none that a run has left."""
    check_folder(root)
    if not any(listed(root, "manifests")):
        near = next((name for name in listed(root, ".") if any(listed(root, f"{name}/manifests"))), "")
        remedy = f"did you mean {root / near}?" if near else "give RESULTS/NAME of a run"
        raise DataError(f"{root}: no results folder: it has no manifests/ with finished cells; {remedy}")


def listed(root: Path, folder: str) -> Iterator[str]:
    """Names of what lies in a folder of the results, sorted; hidden files aside. Nothing where it is a link, or no folder."""
    try:
        place = inside(root, f"{folder}/x").parent
        with os.scandir(place) as entries:
            names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
    except (OSError, AdvrunError):
        return
    yield from (f"{folder}/{name}" for name in names)
