"""How far the nearest and the farthest of the fooled images were moved."""

from __future__ import annotations

import numpy as np

from advrun.engine import to_unit
from advrun.geometry import GEOMETRIES
from advrun.images import by_blocks
from advrun.metrics import Outcome

SHARES = {"q25": 0.25, "q75": 0.75, "q95": 0.95}


def quantiles(outcome: Outcome) -> dict[str, float | None]:
    """Quartiles and the 95 % quantile of the L2 and Linf distance over the fooled images, beside `distance`'s median; None if none is.

    Linear between the values (Hyndman and Fan, 1996, doi:10.2307/2684934, definition 7).
    """
    columns: dict[str, float | None] = dict.fromkeys(f"{norm}_{name}" for norm in ("l2", "linf") for name in SHARES)
    if outcome.attacked is None or not outcome.fooled.any():
        return columns
    x, x_adv = to_unit(outcome.images[outcome.fooled]), outcome.attacked[outcome.fooled]
    for norm in ("l2", "linf"):
        moved = by_blocks(GEOMETRIES[norm].distance, x_adv, x)
        columns |= {f"{norm}_{name}": float(np.quantile(moved, share)) for name, share in SHARES.items()}
    return columns
