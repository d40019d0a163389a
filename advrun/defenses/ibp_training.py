"""Training for interval bounds (Gowal et al., 2018, arXiv:1810.12715, section 3.2)."""

from __future__ import annotations

from typing import Any

import numpy as np

from advrun.bounds._intervals import around, margins
from advrun.engine import Rng, ops
from advrun.losses import cross_entropy
from advrun.system.copies import fresh_copy
from advrun.train import Fit, accuracy
from advrun.types import Count, Fraction, Natural, Positive, Tensor

PRESETS = {
    "mnist": {"eps": 0.4, "kappa": 0.5, "warm_up": 2000, "ramp": 10_000},
    "cifar10": {"eps": 8.8 / 255, "kappa": 0.5, "warm_up": 5000, "ramp": 50_000},
}
CONTRACT = {"settings": {"eps": 1e-4, "warm_up": 12, "ramp": 1000}}


def ibp_training(
    model: Any, fit: Fit, *, eps: Positive = 2 / 255, kappa: Fraction = 0.5, warm_up: Natural = 500, ramp: Count = 3000
) -> Any:
    """Train a fresh copy of the classifier so that `ibp` certifies it: kappa J(z, y) + (1 - kappa) J(z', y).

    z are the logits of the clean image, z' the worst ones that intervals allow within eps (equation 9; the last layer is folded in). For
    `warm_up` steps of the optimiser kappa is 1; over the next `ramp` steps it falls to its value, and the eps rises from 0 to its own, both
    linearly (section 4). Give it as many epochs as both take, and some more. The epoch that is kept has the smallest loss on the validation
    images, which is taken at the full eps. Presets are the authors' schedules for two data sets. NOTE: in intervals, batch normalisation
    uses its moving averages. A classifier with layers that intervals do not pass is refused.

    Args:
        eps: the radius in Linf that is trained for; a little more than what shall be certified.
        kappa: weight of the clean images at the end.
        warm_up: steps before the bounds count.
        ramp: steps in which they come to their weight and eps.
    """
    network = fresh_copy(model)

    def objective(x: Tensor, y: Tensor, rng: Rng, training: bool, memory: Any) -> dict[str, Tensor]:
        share = ops.clip((memory["steps"] - warm_up) / ramp, 0.0, 1.0) if training else 1.0
        logits = network(x, training=training)
        worst = -margins(network, around(x, share * eps), y).lower
        if training:
            memory["steps"].assign_add(1.0)
        weight = 1 - share * (1 - kappa)
        return {
            "loss": weight * cross_entropy(logits, y) + (1 - weight) * cross_entropy(worst, y),
            "accuracy": accuracy(logits, y),
            "certified_accuracy": accuracy(worst, y),
        }

    return fit(network, objective, memory={"steps": np.zeros((), np.float32)})
