"""Does the system answer twice alike (Croce and Hein, 2020, arXiv:2003.01690; Athalye et al., 2018, arXiv:1802.00420)?"""

from __future__ import annotations

import numpy as np

from advrun.metrics import Outcome
from advrun.system import BlackBox

ASKED = 64
ALIKE = 1e-3
"""By how much two logits may differ for rounding, as a share of the range of the image's logits."""


def steadiness(outcome: Outcome) -> dict[str, float | None]:
    """Of 64 clean images: the share whose logits differ when the system is asked again. None under attack, and where asking is dear."""
    if outcome.attacked is not None or isinstance(outcome.classifier, BlackBox):
        return {"unsteady": None}
    images = outcome.images[:ASKED]
    first, second = (outcome.classifier.predict(images, outcome.batch_size) for _ in range(2))
    spread = first.max(-1) - first.min(-1)
    return {"unsteady": float((np.abs(first - second).max(-1) > ALIKE * spread).mean())}
