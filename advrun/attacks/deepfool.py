"""DeepFool (Moosavi-Dezfooli, Fawzi and Frossard, 2016, CVPR, arXiv:1511.04599, algorithm 2, and section 3.3 for Linf)."""

from __future__ import annotations

import math
from typing import NamedTuple

from advrun.attacks._rivals import rivals
from advrun.engine import ops, repeat_undecided, select
from advrun.geometry import L2, Ball, Linf
from advrun.system import Gradients
from advrun.types import Cost, Count, Labels, NonNegative, Tensor

BEYOND = {"L2": 1e-4, "Linf": 1e-6}
"""How much farther than the boundary each step goes, in L2 as in the authors' code: else some images come ever nearer and never across."""


class State(NamedTuple):
    """For each image: itself, its label, its rivals (n, k), the sum of all steps, and whether that is enough to fool the model."""

    x: Tensor
    y: Tensor
    rivals: Tensor
    total: Tensor
    fooled: Tensor


def deepfool(
    model: Gradients, x: Tensor, y: Labels, norm: L2 | Linf, *, steps: Count = 50, overshoot: NonNegative = 0.02, candidates: Count = 10
) -> Tensor:
    """DeepFool: go to the nearest boundary of the linearised classifier, r = |f'_l| / |w'_l|_q * (w'_l's steepest direction), and again.

    w'_k = grad f_k - grad f_y, f'_k = f_k - f_y, and l has the smallest |f'_k| / |w'_k|_q, q the dual norm. The next point is
    x_0 + (1 + overshoot) * (sum of all r), clipped to the box. What is never fooled comes back clean.

    Args:
        steps: iterations at most.
        overshoot: eta, how far beyond the boundary, as a share of the whole change.
        candidates: the true class and the likeliest others on the clean image, whose boundaries are looked at.
    """

    def reached(state: State) -> Tensor:
        return ops.clip(state.x + (1 + overshoot) * state.total, 0.0, 1.0)

    def step(_: Tensor, rows: Tensor, state: State) -> State:
        view = model.part(rows)
        classes = ops.concatenate([state.y[None], ops.transpose(state.rivals)])
        logits, slopes = view.jacobian(reached(state), classes, asked=~state.fooled)
        fooled = ops.logical_or(state.fooled, view.lead(logits, state.y) > 0)
        gaps = ops.transpose(ops.take_along_axis(logits, ops.transpose(classes), axis=-1))
        total = state.total + nearest(norm, gaps[1:] - gaps[:1], slopes[1:] - slopes[:1])
        return state._replace(total=select(fooled, state.total, total), fooled=fooled)

    likeliest = ops.transpose(rivals(model.logits(x), y, max(candidates - 1, 1)))
    start = State(x, y, likeliest, ops.zeros_like(x), ops.zeros(x.shape[:1], dtype="bool"))
    end = repeat_undecided(step, steps, start, decided=lambda state: state.fooled)
    x_adv = reached(end)
    fooled = ops.logical_or(end.fooled, model.succeeds(x_adv, y, asked=ops.logical_not(end.fooled)))
    return select(fooled, x_adv, x)


def cost(steps: int, candidates: int) -> Cost:
    """One gradient for each candidate in each step; most images need a few steps only. A first look and a last one."""
    return Cost(gradients=steps * max(candidates, 2), queries=2)


def nearest(norm: Ball, gaps: Tensor, slopes: Tensor) -> Tensor:
    """The step (n, ...) to the nearest of k hyperplanes: `gaps` (k, n) are f'_k, `slopes` (k, n, ...) are w'_k."""
    image, one_by_one = slopes.shape[2:], (gaps.shape[0], -1, math.prod(slopes.shape[2:]))
    direction = ops.reshape(norm.unit(ops.reshape(slopes, (-1, *image))), one_by_one)
    slopes = ops.reshape(slopes, one_by_one)
    dual = ops.maximum(ops.sum(slopes * direction, axis=-1), 1e-12)
    distance = ops.abs(gaps) / dual + BEYOND[norm.name]
    chosen = ops.one_hot(ops.argmin(distance, axis=0), gaps.shape[0], axis=0)
    step = ops.sum((chosen * ops.minimum(distance, 1e6))[..., None] * direction, axis=0)
    return ops.reshape(step, (-1, *image))
