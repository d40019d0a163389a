"""The loop that the iterated gradient sign attacks share."""

from __future__ import annotations

import math
from collections.abc import Callable

from advrun.attacks._best import Best, unfinished
from advrun.engine import ops, repeat_undecided
from advrun.geometry import Ball
from advrun.losses import log_odds
from advrun.system import Gradients
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
    early_stop: bool = False,
) -> Best:
    """`steps` times x_adv <- P(x_adv + step_size * steepest(direction)), from `start`; the best of all iterates and `best`.

    Costs `steps` gradients and one forward pass; with early_stop, fewer for images that are fooled before, whose first success is
    kept. `memory` starts at the start image times zero.
    """

    def step(_: Tensor, rows: Tensor, now: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        x, y, x_adv, memory, best = now
        view, asked = model.part(rows), unfinished(best, early_stop)
        _, logits, gradient = view.value_and_gradient(log_odds, x_adv, y, asked=asked)
        best = best.update(x_adv, ops.where(asked, view.lead(logits, y), -math.inf))
        along, memory = direction(gradient, memory)
        return x, y, ball.project(x_adv + step_size * ball.steepest(along), x), memory, best

    start = (x, y, start, 0 * start, best)
    *_, x_adv, _, best = repeat_undecided(step, steps, start, decided=(lambda now: now[-1].score > 0) if early_stop else None)
    asked = unfinished(best, early_stop)
    return best.update(x_adv, ops.where(asked, model.lead(model.logits(x_adv, asked), y), -math.inf))
