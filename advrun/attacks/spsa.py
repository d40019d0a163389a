"""Simultaneous perturbation stochastic approximation (Uesato, O'Donoghue, Kohli and van den Oord, 2018, ICML, arXiv:1802.05666)."""

from __future__ import annotations

from typing import Any

from advrun.attacks._estimate import Ask, State, climb, random_signs, slope
from advrun.classifier import Scores
from advrun.engine import Rng, ops
from advrun.geometry import L2, Linf
from advrun.losses import margin
from advrun.types import Count, Labels, Positive, Targets, Tensor


def spsa(
    model: Scores,
    x: Tensor,
    y: Labels | Targets,
    ball: Linf | L2,
    rng: Rng,
    *,
    queries: Count = 10_000,
    samples: Count = 128,
    delta: Positive = 0.01,
    step_size: Positive = 0.01,
) -> Tensor:
    """SPSA (algorithm 1): Adam on the margin; gradient (f(x + delta v) - f(x - delta v)) / (2 delta) * v averaged over random signs v.

    Every iterate is projected onto the ball; the attack stops at the first success. The paper's strongest runs take 8,192 samples.

    Args:
        queries: at most this many for each image.
        samples: n, an even number, of each gradient.
        delta: how far the samples are from the iterate, in each pixel.
        step_size: Adam's learning rate, in pixel units.
    """
    pairs = max(samples // 2, 1)

    def move(i: Tensor, ask: Ask, now: State) -> tuple[Tensor, Any]:
        gradient = slope(ask, now.x_adv, lambda rng: random_signs(now.x.shape, rng), rng.fold(i), pairs=pairs, radius=delta)
        first, second = now.memory
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * ops.square(gradient)
        t = ops.cast(i + 1, "float32")
        rate = step_size * ops.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        return ball.project(now.x_adv + rate * first / (ops.sqrt(second) + 1e-8), now.x), (first, second)

    zeros = ops.zeros_like(x)
    return climb(model, x, y, margin, move, (zeros, zeros), queries=queries, per_step=2 * pairs)
