"""Are the logits such as attacks need: no probabilities, and not beyond what float32 knows of their loss?"""

from __future__ import annotations

import numpy as np

from advrun.metrics import Outcome

DEAD = 87.0
"""exp(-87) is the smallest float32 that is not subnormal."""


def logit_scale(outcome: Outcome) -> dict[str, float | None]:
    """Whether clean scores look like probabilities (1 or 0), and the share of images whose cross-entropy has no gradient in float32.

    Probabilities are at least 0, and have the same sum for every image. None under attack. (Croce and Hein, 2020, arXiv:2003.01690;
    Carlini and Wagner, 2017, arXiv:1608.04644, of defensive distillation)
    """
    if outcome.attacked is not None:
        return {"probabilities": None, "saturated": None}
    scores = outcome.before.astype(np.float64)
    sums = scores.sum(-1)
    probable = len(scores) > 1 and scores.min() >= 0 and sums.mean() > 0 and np.ptp(sums) <= 1e-4 * sums.mean()
    second, first = np.sort(scores, axis=-1)[:, -2:].T
    return {"probabilities": int(probable), "saturated": float((first - second > DEAD).mean())}
