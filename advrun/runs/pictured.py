"""Whose images a report reads: every row's, while they fit into memory together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from advrun.runs.columns import aim
from advrun.runs.plan import Cell

MEMORY = 400_000_000
"""Bytes for the images of all rows."""
IMAGES, LARGEST = 24, 8 * 256 * 256 * 3
"""A row has at most so many images, or so many values."""


def pictured(cells: Sequence[Cell], shape: Sequence[int]) -> list[Cell]:
    """The cells whose images are read, of those that have some.

    All of them, or, where they would take more than MEMORY, one for each system, attack and eps, which is what figures show: adaptive
    rather than replayed, of the first seed.

    shape: (height, width, channels) of an image of the data set.
    """
    if len(cells) * 8 * min(IMAGES * math.prod(shape), LARGEST) <= MEMORY:
        return list(cells)
    shown: dict[tuple[Any, ...], Cell] = {}
    for cell in cells:
        place = cell.name, cell.attack_label, cell.norm, aim(cell), cell.eps
        before = shown.setdefault(place, cell)
        if (cell.threat != "adaptive", cell.seed) < (before.threat != "adaptive", before.seed):
            shown[place] = cell
    return list(shown.values())
