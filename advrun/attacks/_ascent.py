"""The loop that the iterated gradient sign attacks share."""

from __future__ import annotations

import math
from collections.abc import Callable

from advrun.attacks._best import Best
from advrun.classifier import Gradients
from advrun.engine import ops, repeat, repeat_undecided
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
    early_stop: bool = False,
) -> Best:
    """`steps` times x_adv <- P(x_adv + step_size * steepest(direction)), from `start`; the best of all iterates and `best`.

    Costs `steps` gradients and one forward pass; with early_stop, fewer for images that are fooled before, whose first success is
    kept. `memory` starts at the start image times zero.
    """

    def open_to(best: Best, lead: Tensor) -> Tensor:
        return ops.where(best.score <= 0, lead, -math.inf) if early_stop else lead

    def step(rows: Tensor | None, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        x, y, x_adv, memory, best = state
        view = model if rows is None else model.part(rows)
        _, logits, gradient = view.value_and_gradient(cross_entropy, x_adv, y)
        best = best.update(x_adv, open_to(best, view.lead(logits, y)))
        along, memory = direction(gradient, memory)
        return x, y, ball.project(x_adv + step_size * ball.steepest(along), x), memory, best

    state = (x, y, start, 0 * start, best)
    if early_stop:
        state = repeat_undecided(lambda _, rows, state: step(rows, state), steps, state, decided=lambda state: state[-1].score > 0)
    else:
        state = repeat(lambda _, state: step(None, state), steps, state)
    _, _, x_adv, _, best = state
    logits = model.logits(x_adv, asked=best.score <= 0 if early_stop else None)
    return best.update(x_adv, open_to(best, model.lead(logits, y)))
