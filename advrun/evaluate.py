"""Measuring: images and what a system makes of them -> a typed row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from advrun.engine import to_unit
from advrun.geometry import GEOMETRIES
from advrun.images import by_blocks
from advrun.metrics import Outcome
from advrun.results import DISAGREE, ONE_DRAW, SPREAD, Result, Row, binomial_interval


def measure(outcome: Outcome, row: Mapping[str, Any], known: Mapping[str, float | None], answers: np.ndarray | None = None) -> Result:
    """Accuracy with its interval, as a row; the metrics of the registry come later, each as a cell of its own.

    Args:
        outcome: the images and what the measured system makes of them.
        row: the row's other columns.
        known: metrics that are known already.
        answers: (n, draws) int, the class in each draw, of a system that votes.
    """
    predictions = outcome.answers
    right, n = int((predictions == outcome.y).sum()), len(outcome.y)
    content = Row(n=n, accuracy=right / n, interval=binomial_interval(right, n), metrics=dict(known), **row)
    distances = np.zeros(n, np.float32)
    if content.norm and outcome.attacked is not None:
        distances = by_blocks(GEOMETRIES[content.norm].distance, outcome.attacked, to_unit(outcome.images))
    return Result(content, outcome.y, predictions, distances, None if answers is None else no_majority(answers, outcome.y))


def no_majority(answers: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How probable it is, for each image, that so few draws give the true class, if half of all that could be drawn did, (n,) float32.

    The one-sided exact binomial test by which a smoothed classifier is told from a coin (Cohen et al., 2019, arXiv:1902.02918, section
    3.2.1, PREDICT).
    """
    from scipy.stats import binom

    return binom.cdf((answers == y[:, None]).sum(1), answers.shape[1], 0.5).astype(np.float32)


def varied(answers: np.ndarray, logits: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """How a random system's answers vary from draw to draw.

    A row's accuracy is about the mean of all draws. Beside it stand the accuracy of one draw, which is what somebody gets who asks once
    (the mean over the draws), its standard deviation from draw to draw, and the share of single answers that are not the mean's.

    Args:
        answers: (n, draws) int, the class in each draw.
        logits: (n, classes), the means over the draws.
        y: (n,) int.
    """
    each = (answers == y[:, None]).mean(0)
    spread = float(each.std(ddof=1)) if len(each) > 1 else 0.0
    return {ONE_DRAW: float(each.mean()), SPREAD: spread, DISAGREE: float((answers != logits.argmax(-1)[:, None]).mean())}
