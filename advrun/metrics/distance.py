"""How far the attack went."""

from __future__ import annotations

import numpy as np

from advrun.engine import to_unit
from advrun.geometry import GEOMETRIES
from advrun.metrics import Outcome


def distance(outcome: Outcome) -> dict[str, float | None]:
    """Mean and median distance in each norm over the `fooled` images: right before the attack, wrong after it; None if none is."""
    columns: dict[str, float | None] = dict.fromkeys(("fooled", *GEOMETRIES, *(f"{name}_median" for name in GEOMETRIES)))
    if outcome.attacked is None:
        return columns
    x, x_adv = to_unit(outcome.images[outcome.fooled]), outcome.attacked[outcome.fooled]
    for name, ball in GEOMETRIES.items() if len(x) else ():
        moved = np.asarray(ball.distance(x_adv, x))
        columns |= {name: float(moved.mean()), f"{name}_median": float(np.median(moved))}
    return columns | {"fooled": float(len(x))}
