"""What a cell costs, about, before anything is measured: gradients of one image. The expected end of a run starts from it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from statistics import fmean

from advrun import registry
from advrun.config import AttackEntry
from advrun.console import Part
from advrun.runs.needs import is_divisible, is_trained, training_of
from advrun.runs.plan import Cell, Plan

QUERY = 1 / 3
"""Of a gradient: one pass forward, where a gradient takes that and twice as much backward."""
LOADING = 2000.0
"""What reading a model and compiling a graph costs besides."""


PROBED = 64
"""A few images, with twice the steps."""


def part(cell: Cell, plan: Plan) -> Part:
    """The cell as `Course` sees it."""
    return replace(_part(cell, plan), model="" if cell.kind == "learn" else cell.model.label)  # what is learnt of images has none


def _part(cell: Cell, plan: Plan) -> Part:
    if cell.kind == "train":
        return Part(LOADING + _training(cell, plan), (f"train {cell.defense_label}", "train"))
    if cell.kind == "learn" and cell.attack is not None:
        images = min(int(cell.attack.settings.get("images", len(plan.data.y_train))), len(plan.data.y_train))
        return Part(LOADING + int(cell.attack.settings.get("epochs", 1)) * images, ("learn",))
    images = shown(cell, plan)
    if cell.kind == "attack" and cell.attack is not None:
        goals = plan.data.classes if cell.attack.target == "all" else 1
        named = f"attack {cell.attack.label}"
        return Part(LOADING + images * goals * _cost(cell.attack), (f"{named} {cell.model.label} {cell.defense_label}", named))
    if cell.bound is not None:
        cost = registry.get("bounds", cell.bound.name).cost(cell.bound.settings)
        return Part(LOADING + images * max(cost.gradients + QUERY * cost.queries, QUERY), (f"bound {cell.bound.label}",))
    if cell.kind == "prove" and cell.attack is not None:
        return Part(2 * LOADING + PROBED * _cost(cell.attack), (f"prove {cell.attack.label}", "prove"))
    groups = (f"metric {cell.metric}",) if cell.metric else ("measure",)
    if cell.kind == "probe" and cell.attack is not None:
        return Part(LOADING / 4 + PROBED * _cost(cell.attack), groups)
    return Part(images * QUERY / (20 if cell.metric else 1), groups)


def useful(cells: Iterable[Cell], plan: Plan) -> int:
    """More workers than this are never busy with these cells: one for each, or for each batch of one that may be divided."""
    return sum(_pieces(cell, plan) for cell in cells)


def _pieces(cell: Cell, plan: Plan) -> int:
    if not is_divisible(cell):
        return 1
    return max(math.ceil(shown(cell, plan) / plan.experiment.compute.batch_size), 1)


def shown(cell: Cell, plan: Plan) -> int:
    """How many images a cell is about."""
    entry, every = cell.attack or cell.bound, len(plan.data.y_test)
    return min(entry.examples or every, every) if entry else every


def _training(cell: Cell, plan: Plan) -> float:
    """Every image of every epoch, and what attacking it costs where a defence does that."""
    training = training_of(cell.model, cell.defense)
    if training is None or (cell.defense is None and not is_trained(cell.model)):
        return 0.0
    images = training.epochs * len(plan.data.y_train)
    if cell.defense is None:
        return images
    plugin = registry.get("defenses", cell.defense.name)
    costs = [registry.on_attacks(_cost, value) for name, value in cell.defense.settings.items() if plugin.settings[name].is_attack]
    return images * (1 + sum(fmean(cost) if isinstance(cost, tuple) else cost for cost in costs))  # of a list each has its share


def _cost(attack: AttackEntry) -> float:
    cost = registry.get("attacks", attack.name).cost(attack.settings)
    return max(cost.gradients + QUERY * cost.queries, QUERY)
