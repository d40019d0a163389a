"""Additive noise, the baseline that any attack must beat (Rauber, Brendel and Bethge, 2017, Foolbox, arXiv:1707.04131)."""

from __future__ import annotations

from advrun.attacks._tries import most_adversarial
from advrun.engine import Rng
from advrun.geometry import L2, Linf
from advrun.system import Scores
from advrun.types import Count, Labels, Targets, Tensor


def noise(model: Scores, x: Tensor, y: Labels | Targets, ball: Linf | L2, rng: Rng, *, queries: Count = 100) -> Tensor:
    """Random noise, again and again until the image is misclassified: uniform in the Linf ball, Gaussian of length eps in L2.

    Args:
        queries: how many draws for each image, at most.
    """
    return most_adversarial(model, x, y, lambda i, rows, x: ball.noise(x, rng.part(rows).fold(i)), queries)
