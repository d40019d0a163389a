"""Empirical robustness (Moosavi-Dezfooli, Fawzi and Frossard, 2016, arXiv:1511.04599, equation 1)."""

from __future__ import annotations

import numpy as np

from advrun.engine import to_unit
from advrun.geometry import GEOMETRIES
from advrun.images import by_blocks
from advrun.metrics import Outcome


def robustness(outcome: Outcome) -> dict[str, float | None]:
    """Mean over the fooled images of the L2 length of the change, as a share of the image's own; None where none is fooled."""
    if outcome.attacked is None or not outcome.fooled.any():
        return {"empirical_robustness": None}
    x, x_adv = to_unit(outcome.images[outcome.fooled]), outcome.attacked[outcome.fooled]
    moved, own = by_blocks(_lengths, x_adv, x).T
    return {"empirical_robustness": float((moved / np.maximum(own, 1e-12)).mean())}


def _lengths(x_adv: np.ndarray, x: np.ndarray) -> np.ndarray:
    """(n, 2): of the change, and of the image."""
    distance = GEOMETRIES["l2"].distance
    return np.stack([np.asarray(distance(x_adv, x)), np.asarray(distance(x, np.zeros_like(x)))], axis=-1)
