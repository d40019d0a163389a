"""How far the attack went."""

from __future__ import annotations

import numpy as np

from advrun.metrics import Outcome


def distance(outcome: Outcome) -> dict[str, float | None]:
    """Mean L2 and Linf distance over the images that were right before the attack and are wrong after it; None if none is."""
    if not outcome.fooled.any():
        return {"l2": None, "linf": None}
    change = (outcome.x_adv - outcome.x)[outcome.fooled]
    pixels = (1, 2, 3)
    return {"l2": float(np.sqrt(np.square(change).sum(pixels)).mean()), "linf": float(np.abs(change).max(pixels).mean())}
