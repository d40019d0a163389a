"""Sparse-PGD (Zhong, Huang and Liu, 2024, ICML, arXiv:2405.05075, algorithm 1)."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from advrun.attacks._best import Best, unfinished
from advrun.engine import Rng, ops, repeat_undecided, select
from advrun.geometry import L0, L2, axes
from advrun.losses import log_odds
from advrun.system import Gradients
from advrun.types import Cost, Count, Labels, Positive, Targets, Tensor

PRESETS = {"paper": {"steps": 10_000}}


class State(NamedTuple):
    """One run; the first axis of everything is the images.

    x, y: clean image and label. z: x + p, what the values would become if all changed. mask: the continuous one. m: the binary one, 1 at
    its eps largest values. unchanged: steps (n,) since m last became another.
    """

    x: Tensor
    y: Tensor
    z: Tensor
    mask: Tensor
    m: Tensor
    unchanged: Tensor
    best: Best

    @property
    def x_adv(self) -> Tensor:
        return ops.where(self.m > 0, self.z, self.x)


def sparse_pgd(
    model: Gradients,
    x: Tensor,
    y: Labels | Targets,
    ball: L0,
    rng: Rng,
    *,
    steps: Count = 300,
    step_size: Positive = 0.25,
    mask_step: Positive = 0.25,
    patience: Count = 3,
    gradient: Literal["unprojected", "projected"] = "unprojected",
    early_stop: bool = True,
) -> Tensor:
    """Sparse-PGD: x_adv = x + p * m, m the eps largest values of a mask; p climbs by signs, and the mask along its own gradient.

    With d the gradient at x_adv and s the sigmoid of the mask, the mask takes a step of fixed length in L2 along d p s (1 - s), as if s
    had been in the place of m. p moves along the signs of d m, of the values that are chosen (projected), or of d s, of all values
    (unprojected). An m that stays the same for `patience` steps gives way to a random one. The most adversarial iterate is kept.

    NOTE: the mask has a value for each value of the image, as this library's L0 counts them, the paper's one for each pixel.

    Args:
        steps: T.
        step_size: alpha, by how much p moves.
        mask_step: beta, the length of the mask's step, as a multiple of the root of its size.
        patience: t.
        gradient: of p, where m stands in the forward pass: through the sigmoid of the mask, or through m itself.
        early_stop: leave images alone once they are misclassified.
    """
    beta = mask_step * math.sqrt(math.prod(x.shape[1:]))

    def binary(mask: Tensor) -> Tensor:
        return ball.steepest(ops.sigmoid(mask))  # of what is positive, 1 at the eps largest values

    def step(i: Tensor, rows: Tensor, now: State) -> State:
        view, asked = model.part(rows), unfinished(now.best, early_stop)
        _, logits, d = view.value_and_gradient(log_odds, now.x_adv, now.y, asked=asked)
        best = now.best.update(now.x_adv, ops.where(asked, view.lead(logits, now.y), -math.inf))
        s = ops.sigmoid(now.mask)
        mask = now.mask + beta * L2(1.0).steepest(d * (now.z - now.x) * s * (1 - s))
        m = binary(mask)
        unchanged = ops.where(ops.any(ops.not_equal(m, now.m), axis=axes(m)), 0.0, now.unchanged + 1)
        anew = unchanged >= patience
        mask = select(anew, rng.part(rows).fold(i).normal(ops.shape(mask)), mask)
        z = ops.clip(now.z + step_size * ops.sign(d if gradient == "unprojected" else d * now.m), 0.0, 1.0)
        return State(now.x, now.y, z, mask, select(anew, binary(mask), m), ops.where(anew, 0.0, unchanged), best)

    draw = rng.fold(steps)
    mask, z = draw.fold(0).normal(x.shape), draw.fold(1).uniform(x.shape)
    start = State(x, y, z, mask, binary(mask), ops.zeros(x.shape[:1]), Best.nothing(x))
    decided = (lambda now: now.best.score > 0) if early_stop else None
    end = repeat_undecided(step, steps, start, decided=decided)
    asked = unfinished(end.best, early_stop)
    return end.best.update(end.x_adv, ops.where(asked, model.lead(model.logits(end.x_adv, asked), y), -math.inf)).x


def cost(steps: int) -> Cost:
    """One gradient a step, and a last look."""
    return Cost(gradients=steps, queries=1)
