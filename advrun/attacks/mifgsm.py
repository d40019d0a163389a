"""Momentum iterative FGSM (Dong, Liao, Pang, Su, Zhu, Hu and Li, 2018, arXiv:1710.06081, algorithm 1)."""

from __future__ import annotations

from advrun.attacks._ascent import ascent
from advrun.attacks._best import Best
from advrun.attacks._momentum import accumulate
from advrun.geometry import L2, Linf
from advrun.system import Gradients
from advrun.types import Cost, Count, Labels, NonNegative, Positive, Targets, Tensor


def mifgsm(
    model: Gradients,
    x: Tensor,
    y: Labels | Targets,
    ball: Linf | L2,
    *,
    steps: Count = 10,
    step_size: Positive = 0.1,
    decay: NonNegative = 1.0,
) -> Tensor:
    """Momentum iterative FGSM: g <- mu g + grad / |grad|_1, x <- P(x + alpha * sign(g)).

    The norm of each gradient is taken image by image. Returns each image's most adversarial iterate.

    Args:
        steps: gradient steps, T.
        step_size: alpha, as a share of eps; the paper's is 1 / T.
        decay: mu, the decay factor of the momentum.
    """

    def momentum(gradient: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        g = accumulate(g, gradient, decay)
        return g, g

    return ascent(model, x, y, ball, x, Best.nothing(x), steps=steps, step_size=step_size, direction=momentum).x


def cost(steps: int) -> Cost:
    """One gradient a step, and a last look."""
    return Cost(gradients=steps, queries=1)
