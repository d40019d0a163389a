"""How far the attack went."""

from __future__ import annotations

import numpy as np

from advrun.geometry import GEOMETRIES
from advrun.metrics import Outcome


def distance(outcome: Outcome) -> dict[str, float | None]:
    """Mean distance in each norm over the images that were right before the attack and are wrong after it; None if none is."""
    x, x_adv = outcome.x[outcome.fooled], outcome.x_adv[outcome.fooled]
    return {name: float(np.mean(ball.distance(x_adv, x))) if len(x) else None for name, ball in GEOMETRIES.items()}
