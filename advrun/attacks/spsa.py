"""Simultaneous perturbation stochastic approximation (Uesato, O'Donoghue, Kohli and van den Oord, 2018, ICML, arXiv:1802.05666)."""

from __future__ import annotations

from typing import Any

from advrun.attacks._adam import Adam
from advrun.attacks._estimate import Ask, State, climb, pairs_within, slope
from advrun.engine import Rng, ops
from advrun.geometry import L2, Linf
from advrun.losses import margin
from advrun.system import Scores
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

    Every iterate is projected onto the ball, but the images asked about are not clipped to the box; the attack stops at the first
    success. The paper's strongest runs take 8,192 samples.

    Args:
        queries: at most this many for each image.
        samples: queries of each gradient, an even number, two for each v (the paper's n counts the v); fewer where the queries last for
            no step.
        delta: how far the samples are from the iterate, in each pixel.
        step_size: Adam's learning rate, in pixel units.
    """
    pairs = pairs_within(queries, samples)

    def move(i: Tensor, rows: Tensor, ask: Ask, now: State) -> tuple[Tensor, Any]:
        gradient = slope(ask, now.x_adv, lambda rng: rng.signs(ops.shape(now.x)), rng.part(rows).fold(i), pairs=pairs, radius=delta)
        adam = now.memory.update(gradient)
        return ball.project(now.x_adv + step_size * adam.step(i + 1), now.x), adam

    return climb(model, x, y, margin, move, Adam.start(x), queries=queries, per_step=2 * pairs)
