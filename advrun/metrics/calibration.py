"""Expected calibration error (Guo, Pleiss, Sun and Weinberger, 2017, arXiv:1706.04599, equation 3), clean and under attack."""

from __future__ import annotations

import numpy as np

from advrun.metrics import Outcome, softmax

BINS = 15
"""Of equal width, as in the paper."""
ROWS = 4096
"""Images at once."""


def calibration(outcome: Outcome) -> dict[str, float | None]:
    """How far confidence is from accuracy: the mean gap over 15 bins of confidence, weighted by images, before and after the attack."""
    return {"ece_before": error(outcome.before, outcome.y), "ece_after": error(outcome.after, outcome.y)}


def error(logits: np.ndarray, y: np.ndarray) -> float:
    """The expected calibration error, 0 to 1, of logits (n, classes) and classes (n,)."""
    parts = [softmax(logits[start : start + ROWS]).max(-1) for start in range(0, len(y), ROWS)]
    sure, right = np.concatenate(parts).astype(np.float64), logits.argmax(-1) == y
    bins = np.clip(np.ceil(sure * BINS).astype(int) - 1, 0, BINS - 1)
    gaps = [abs(right[bins == each].sum() - sure[bins == each].sum()) for each in range(BINS)]
    return float(sum(gaps) / len(y))
