"""How far the attack went."""

from __future__ import annotations

import numpy as np

from advrun.engine import to_unit
from advrun.geometry import GEOMETRIES
from advrun.images import by_blocks
from advrun.metrics import Outcome


def distance(outcome: Outcome) -> dict[str, float | None]:
    """Mean and median distance in each norm over the `fooled` images: right before the attack, wrong after it; None if none is."""
    columns: dict[str, float | None] = dict.fromkeys(("fooled", *GEOMETRIES, *(f"{name}_median" for name in GEOMETRIES)))
    if outcome.attacked is None:
        return columns
    x, x_adv = to_unit(outcome.images[outcome.fooled]), outcome.attacked[outcome.fooled]
    for name, moved in zip(GEOMETRIES, by_blocks(_each, x_adv, x).T.copy() if len(x) else (), strict=False):
        columns |= {name: float(moved.mean()), f"{name}_median": float(np.median(moved))}
    return columns | {"fooled": float(len(x))}


def _each(x_adv: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The distances in each norm, (n, norms): images that lie on the disk are read once for all."""
    return np.stack([np.asarray(ball.distance(x_adv, x)) for ball in GEOMETRIES.values()], axis=-1)
