"""One changed image after the other is shown to the model until one succeeds."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from advrun.engine import ops, repeat_undecided, select
from advrun.system import Scores
from advrun.types import Tensor


class Tries(NamedTuple):
    """For each image: itself, its label, the most adversarial try so far, and its lead."""

    x: Tensor
    y: Tensor
    x_adv: Tensor
    lead: Tensor


def most_adversarial(model: Scores, x: Tensor, y: Tensor, change: Callable[[Tensor, Tensor, Tensor], Tensor], tries: int) -> Tensor:
    """The first successful of `change(i, rows, images)`, i = 0 .. tries - 1, else the one that came closest; a query each.

    rows: the numbers of the images in the batch.
    """

    def step(i: Tensor, rows: Tensor, state: Tries) -> Tries:
        trial, view, undecided = change(i, rows, state.x), model.part(rows), state.lead <= 0
        lead = view.lead(view.logits(trial, asked=undecided), state.y)
        better = ops.logical_and(undecided, lead > state.lead)
        return Tries(state.x, state.y, select(better, trial, state.x_adv), select(better, lead, state.lead))

    start = Tries(x, y, x, ops.full((x.shape[0],), -math.inf, dtype="float32"))
    return repeat_undecided(step, tries, start, decided=lambda state: state.lead > 0).x_adv
