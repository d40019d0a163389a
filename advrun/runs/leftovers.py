"""What of a results folder no configuration names any more: files of its cells, their manifests, and checkpoints."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from advrun.errors import AdvrunError
from advrun.files import inside, is_regular
from advrun.runs import proofs
from advrun.runs.needs import is_oracle
from advrun.runs.oracles import FOLDER as ANSWERS
from advrun.runs.plan import Cell, Plan
from advrun.runs.store import CELLS, RECORD, Store
from advrun.runs.untouched import listed

PARTIAL = "partial"
SHARED = (RECORD, proofs.ASKED)
"""Files in these folders that are of no single cell."""


@dataclass(frozen=True)
class Leftover:
    """A file that may go. name: path within the results folder. size: in bytes."""

    name: str
    size: int

    @property
    def kind(self) -> str:
        """The folder that it lies in."""
        return PurePosixPath(self.name).parts[0]


@dataclass(frozen=True)
class Leftovers:
    """files: what may go. cells: finished cells among it. kept: finished cells that stay. named: cells that the configurations name."""

    files: tuple[Leftover, ...]
    cells: int
    kept: int
    named: int

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(file.size for file in self.files)

    def by_kind(self) -> dict[str, tuple[int, int]]:
        """Files and bytes by folder, the largest first."""
        found: dict[str, tuple[int, int]] = {}
        for file in self.files:
            count, size = found.get(file.kind, (0, 0))
            found[file.kind] = count + 1, size + file.size
        return dict(sorted(found.items(), key=lambda item: -item[1][1]))


def leftovers(store: Store, plans: Sequence[Plan], *, answers: bool = False) -> Leftovers:
    """What the folder holds of cells that none of the plans has. Changes nothing.

    Args:
        store: the results folder.
        plans: of all configurations whose results it keeps.
        answers: name also what services have answered that no configuration asks any more: it may have cost money.
    """
    named = {cell.key: cell for plan in plans for cell in _all(plan, store)}
    stems = {cell.stem for cell in named.values()}
    files = [name for kind in (*CELLS, "manifests") for name in listed(store.root, kind) if name not in SHARED and not _is_of(name, stems)]
    files += [
        name for folder in listed(store.root, PARTIAL) if PurePosixPath(folder).name not in named for name in listed(store.root, folder)
    ]
    if answers:
        asked = {model.label for plan in plans for model in plan.experiment.models if is_oracle(model)}
        files += [name for name in listed(store.root, ANSWERS) if not _is_of(name, asked)]
    kept = sum(_is_of(name, stems) for name in listed(store.root, "manifests"))
    found = tuple(Leftover(name, os.lstat(inside(store.root, name)).st_size) for name in files if is_regular(store.root / name))
    return Leftovers(found, sum(file.kind == "manifests" for file in found), kept, len(named))


def free(store: Store, found: Leftovers) -> int:
    """Remove these files; manifests go first, so that a kill leaves no cell that seems finished. Only under the lock. Returns the bytes."""
    freed = 0
    for file in sorted(found.files, key=lambda file: file.kind != "manifests"):
        with contextlib.suppress(OSError, AdvrunError):
            inside(store.root, file.name).unlink()
            freed += file.size
    for folder in {Path(file.name).parent for file in found.files if file.kind == PARTIAL}:
        with contextlib.suppress(OSError, AdvrunError):
            inside(store.root, f"{folder.as_posix()}/x").parent.rmdir()  # stays where anything else is in it
    return freed


def _all(plan: Plan, store: Store) -> Iterator[Cell]:
    """The cells of a plan, those that they are made from, and the tests of `advrun prove`."""
    waiting: list[Cell] = [*plan.cells, *(proofs.cells(plan, images) if (images := proofs.asked(store)) else ())]
    seen: set[str] = set()
    while waiting:
        cell = waiting.pop()
        if cell.key not in seen:
            seen.add(cell.key)
            waiting += cell.needs
            yield cell


def _is_of(name: str, stems: set[str]) -> bool:
    """Whether a file is called after one of these: `rows/STEM.json`; a stem may hold dots itself."""
    base = PurePosixPath(name).name
    return any(base[:place] in stems for place, letter in enumerate(base) if letter == ".")
