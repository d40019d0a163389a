"""How much of a cell an earlier run has left among its checkpoints, as far as their names tell; what they hold is judged by who goes on.

Batches are called after their images (`turns.py`), those of a stage of a cascade, or of a target, after that too; a training keeps its
curves (`train.py`), which have a value for each epoch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from statistics import fmean

from advrun import registry
from advrun.console import Part
from advrun.geometry import GEOMETRIES
from advrun.npz import unpack
from advrun.runs.expected import LOADING, part, shown
from advrun.runs.needs import training_of
from advrun.runs.plan import Cell, Plan
from advrun.runs.untouched import listed

BATCH = re.compile(r"((?:stage|target)[0-9]{1,4}-)?([0-9]{1,9})-([0-9]{1,9})\.npz")
TRAINING = re.compile(r"fit-.+(?<!\.before)\.npz")


def parts(cells: Sequence[Cell], plan: Plan, root: Path) -> list[Part]:
    """The cells as `Course` sees them, with what an earlier run has left of each in the results folder. Loading is to be done again."""
    begun = set(listed(root, "partial"))
    found = [part(cell, plan) for cell in cells]
    for number, cell in enumerate(cells):
        if f"partial/{cell.key}" in begun:
            whole = found[number]
            found[number] = replace(whole, kept=kept(cell, plan, root) * max(whole.work - LOADING, 0) / whole.work)
    return found


def kept(cell: Cell, plan: Plan, root: Path) -> float:
    """The share of its images, or of its epochs, that is done: 0 to 1."""
    files = [PurePosixPath(name).name for name in listed(root, f"partial/{cell.key}")]
    if cell.kind in ("train", "learn"):
        training = training_of(cell.model, cell.defense)
        epochs = training.epochs if training else 0
        if cell.kind == "learn" and cell.attack is not None:
            epochs = int(cell.attack.settings.get("epochs", 0))
        done = [_epochs(root / "partial" / cell.key / name) for name in files if TRAINING.fullmatch(name)]
        if min(done, default=epochs) >= epochs:  # and yet the cell is not done: the next training was not begun
            done.append(0)
        return min(fmean(done) / epochs, 1.0) if epochs else 0.0
    sizes: dict[tuple[str, int], int] = {}  # of what begins at an image: a batch, and a part of it that was made when memory was short
    for found in filter(None, map(BATCH.fullmatch, files)):
        start = found[1] or "", int(found[2])
        sizes[start] = max(sizes.get(start, 0), int(found[3]))
    return min(sum(sizes.values()) / max(shown(cell, plan) * _rounds(cell, plan), 1), 1.0)


def _epochs(file: Path) -> int:
    """Of a training's checkpoint; 0 where it cannot be read."""
    try:
        return len(json.loads(str(unpack(file, only="progress")["progress"]))["history"]["loss"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _rounds(cell: Cell, plan: Plan) -> int:
    """How often each image is attacked: once for each stage, or for each class that is a target."""
    if cell.attack is None:
        return 1
    plugin = registry.get("attacks", cell.attack.name)
    if plugin.is_cascade:
        return len(plugin.function(GEOMETRIES[cell.attack.norm](), **cell.attack.settings))
    return plan.data.classes if cell.attack.target == "all" else 1
