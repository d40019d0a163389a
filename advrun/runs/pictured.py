"""Whose images a report reads: every row's, while they are few enough to be read, and to be looked at."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from typing import Any

from advrun.runs.columns import aim
from advrun.runs.plan import Cell

log = logging.getLogger(__name__)
MEMORY = 400_000_000
"""Bytes for the images of all rows."""
IMAGES, LARGEST = 24, 8 * 256 * 256 * 3
"""A row has at most so many images, or so many values."""
ROWS = 1000
"""The images of more rows take longer to read than all their numbers."""


def pictured(cells: Sequence[Cell], shape: Sequence[int]) -> list[Cell]:
    """The cells whose images are read, of those that have some, in their order.

    All of them, or, where there are too many, one for each system, attack and eps, adaptive rather than replayed, of the first seed; if
    these are too many, those of the largest eps of each attack, which is what figures show; and if these are, those of some models and
    attacks, from all places of the list, each against all systems that it met. What is left out is told.

    shape: (height, width, channels) of an image of the data set.
    """
    most = min(ROWS, MEMORY // (8 * min(IMAGES * math.prod(shape), LARGEST)))
    chosen = list(cells)
    for fewer in (_one_each, _widest):
        if len(chosen) > most:
            chosen = fewer(chosen)
    if len(chosen) > most:
        shown: dict[tuple[Any, ...], list[Cell]] = {}
        for cell in chosen:
            shown.setdefault((cell.model.label, *_attack(cell)), []).append(cell)
        groups = list(shown.values())
        kept = max(len(groups) * most // len(chosen), 1)
        chosen = [cell for group in groups[:: -(-len(groups) // kept)] for cell in group]
    if len(chosen) < len(cells):
        log.warning(
            "images of %d of %d rows are shown, all numbers are in tables/; name fewer models, attacks, eps or seeds by --set for others",
            *(len(chosen), len(cells)),
        )
    return chosen


def _one_each(cells: Iterable[Cell]) -> list[Cell]:
    """Of each system, attack and eps."""
    shown: dict[tuple[Any, ...], Cell] = {}
    for cell in cells:
        place = cell.name, *_attack(cell), cell.eps
        before = shown.setdefault(place, cell)
        if (cell.threat != "adaptive", cell.seed) < (before.threat != "adaptive", before.seed):
            shown[place] = cell
    return list(shown.values())


def _widest(cells: Iterable[Cell]) -> list[Cell]:
    """Of each system and attack that of its largest eps."""
    return [cell for cell in cells if cell.eps is None or cell.is_widest]


def _attack(cell: Cell) -> tuple[str, str, str]:
    return cell.attack_label, cell.norm, aim(cell)
