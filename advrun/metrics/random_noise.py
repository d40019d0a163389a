"""Does random noise find what the attack did not (Carlini et al., 2019, arXiv:1902.06705, section 5.1)?"""

from __future__ import annotations

import numpy as np

from advrun.engine import Rng, to_unit
from advrun.probed import Probed

DRAWS = 20
"""For each image, by turns inside the ball and as far out as one step goes."""


def random_noise(outcome: Probed) -> dict[str, float | None]:
    """Of up to 32 images that the attack left right: how many were tried, and how many one of 20 random changes fools.

    None for an attack without steps, which is no search.
    """
    rows, ball = outcome.survivors, outcome.ball
    if not outcome.iterated:
        return {"noise_tried": None, "noise_fooled": None}
    if not len(rows):
        return {"noise_tried": 0, "noise_fooled": 0}
    x, y = outcome.some(rows)
    x, fooled, rng = to_unit(x), np.zeros(len(rows), bool), Rng.from_seed(0x40153).of(to_unit(x))
    for draw in range(DRAWS):
        own = rng.fold(draw)
        noisy = ball.sample(x, own) if draw % 2 else ball.project(x + ball.steepest(own.normal(x.shape)), x)
        fooled |= ~outcome.classifier.right(outcome.classifier.predict(np.asarray(noisy).clip(0, 1), outcome.batch_size), y)
    return {"noise_tried": len(rows), "noise_fooled": int(fooled.sum())}
