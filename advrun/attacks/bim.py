"""Basic iterative method, or I-FGSM (Kurakin, Goodfellow and Bengio, 2017, arXiv:1607.02533, section 2.2)."""

from __future__ import annotations

from advrun.attacks._ascent import ascent
from advrun.attacks._best import Best
from advrun.geometry import L2, Linf
from advrun.system import Gradients
from advrun.types import Cost, Count, Labels, Positive, Targets, Tensor


def bim(
    model: Gradients,
    x: Tensor,
    y: Labels | Targets,
    ball: Linf | L2,
    *,
    steps: Count = 10,
    step_size: Positive = 0.125,
) -> Tensor:
    """Basic iterative method: FGSM in small steps from the clean image, x <- P(x + alpha * sign(grad_x J(x, y))).

    The defaults are the paper's at eps = 8/255: alpha = 1/255, and min(eps + 4, 1.25 eps) = 10 steps. Returns each image's
    most adversarial iterate.

    Args:
        steps: gradient steps.
        step_size: alpha, as a share of eps.
    """
    return ascent(model, x, y, ball, x, Best.nothing(x), steps=steps, step_size=step_size).x


def cost(steps: int) -> Cost:
    """One gradient a step, and a last look."""
    return Cost(gradients=steps, queries=1)
