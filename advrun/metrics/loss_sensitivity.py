"""Loss sensitivity (Arpit et al., 2017, A Closer Look at Memorization in Deep Networks, arXiv:1706.05394, section 4.3)."""

from __future__ import annotations

from typing import Any

import numpy as np

from advrun import engine
from advrun.losses import cross_entropy
from advrun.metrics import Outcome
from advrun.system import BlackBox
from advrun.system.classifier import pad

ASKED = 256
"""Images whose gradient is taken."""


def loss_sensitivity(outcome: Outcome) -> dict[str, float | None]:
    """Mean L1 norm of the gradient of the cross-entropy at the first 256 clean images, with respect to the image.

    How fast the loss may grow around an image. None under attack, and for a model without gradients.
    """
    classifier = outcome.classifier
    if outcome.attacked is not None or isinstance(classifier, BlackBox):
        return {"loss_sensitivity": None}

    def build() -> Any:
        return lambda x, y: engine.total(engine.ops.abs(classifier.gradient(cross_entropy, engine.to_unit(x), y)))

    run, n = classifier.compiled("loss sensitivity", build), min(ASKED, len(outcome.y))
    size, lengths = min(outcome.batch_size, n), []
    for start in range(0, n, size):
        x, y = np.asarray(outcome.images[start : min(start + size, n)]), outcome.y[start : min(start + size, n)]
        lengths.append(np.asarray(run(pad(x, size), pad(y, size)))[: len(y)])
    return {"loss_sensitivity": float(np.concatenate(lengths).mean())}
