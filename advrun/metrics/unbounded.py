"""Does the attack reach every image once nothing bounds it (Carlini et al., 2019, arXiv:1902.06705, section 5.5)?"""

from __future__ import annotations

import numpy as np

from advrun.probed import SAMPLE, Probed


def unbounded(outcome: Probed) -> dict[str, float | None]:
    """Of up to 32 clean images: how many were attacked in a ball that holds every image, and how many stayed right.

    With twice the attack's steps. None for an attack without steps, which need not arrive, and for all but the largest eps of a sweep.
    """
    if not outcome.iterated or not outcome.widest:
        return {"unbounded_tried": None, "unbounded_right": None}
    rows = np.flatnonzero(outcome.right)[:SAMPLE]
    if not len(rows):
        return {"unbounded_tried": 0, "unbounded_right": 0}
    x, y = outcome.some(rows)
    everything = float(np.asarray(outcome.ball.distance(np.ones_like(x[:1]), np.zeros_like(x[:1])))[0])
    return {"unbounded_tried": len(rows), "unbounded_right": int(outcome.again(x, y, eps=everything, times=2).right.sum())}
