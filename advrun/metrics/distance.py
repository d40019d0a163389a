"""How far the attack went."""

from __future__ import annotations

import numpy as np

from advrun.engine import to_unit
from advrun.geometry import GEOMETRIES
from advrun.metrics import Outcome


def distance(outcome: Outcome) -> dict[str, float | None]:
    """Mean distance in each norm over the images that were right before the attack and are wrong after it; None if none is."""
    if outcome.attacked is None or not outcome.fooled.any():
        return dict.fromkeys(GEOMETRIES)
    x, x_adv = to_unit(outcome.images[outcome.fooled]), outcome.attacked[outcome.fooled]
    return {name: float(np.mean(ball.distance(x_adv, x))) for name, ball in GEOMETRIES.items()}
