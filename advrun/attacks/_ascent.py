"""The loop that the iterated gradient sign attacks share."""

from __future__ import annotations

from collections.abc import Callable

from advrun.attacks._best import Best
from advrun.classifier import Gradients
from advrun.engine import repeat
from advrun.geometry import Ball
from advrun.losses import cross_entropy
from advrun.types import Tensor

Direction = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(gradient, memory) -> (what to step along, next memory), all of the images' shape."""


def ascent(
    model: Gradients,
    x: Tensor,
    y: Tensor,
    ball: Ball,
    start: Tensor,
    best: Best,
    *,
    steps: int,
    step_size: float,
    direction: Direction = lambda gradient, memory: (gradient, memory),
) -> Best:
    """`steps` times x_adv <- P(x_adv + step_size * steepest(direction)), from `start`; the best of all iterates and `best`.

    Costs `steps` gradients and one forward pass. `memory` starts at the start image times zero.
    """

    def step(_: Tensor, state: tuple[Tensor, Tensor, Best]) -> tuple[Tensor, Tensor, Best]:
        x_adv, memory, best = state
        _, logits, gradient = model.value_and_gradient(cross_entropy, x_adv, y)
        best = best.update(x_adv, model.lead(logits, y))
        along, memory = direction(gradient, memory)
        return ball.project(x_adv + step_size * ball.steepest(along), x), memory, best

    x_adv, _, best = repeat(step, steps, (start, 0 * start, best))
    return best.update(x_adv, model.lead(model.logits(x_adv), y))
