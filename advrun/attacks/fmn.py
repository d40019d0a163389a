"""Fast minimum-norm attacks (Pintor, Roli, Brendel and Biggio, 2021, NeurIPS, arXiv:2102.12827, algorithm 1)."""

from __future__ import annotations

import math
from typing import NamedTuple

from advrun.attacks._best import Best
from advrun.attacks._schedule import cosine
from advrun.engine import ops, repeat, select
from advrun.geometry import L0, L1, L2, Linf
from advrun.losses import margin
from advrun.system import Gradients
from advrun.types import Cost, Count, Fraction, Labels, Positive, Targets, Tensor

PRESETS = {"fast": {"steps": 100}, "paper": {"steps": 1000}}


class State(NamedTuple):
    """The iterate, the radius eps (n,) that it is projected onto, and the closest success."""

    x_adv: Tensor
    eps: Tensor
    best: Best


def fmn(
    model: Gradients,
    x: Tensor,
    y: Labels | Targets,
    norm: L2 | Linf | L1 | L0,
    *,
    steps: Count = 100,
    step_size: Positive = 1.0,
    gamma: Fraction = 0.05,
) -> Tensor:
    """Fast minimum norm: delta <- P_eps(delta + alpha g / |g|_2), with eps closing in on the boundary from both sides.

    Until the first success eps = |delta|_p + L / |grad L|_q, the distance to the linearised boundary; afterwards it shrinks by gamma
    after a success (in L0 by one value at least). Every other time it grows by gamma (in L0 by one value at least): in the paper not
    before the first success, so that some images come ever nearer to the boundary and never cross it. alpha falls from `step_size` to a
    hundredth, gamma to a fiftieth, along half a cosine. In L0 the authors' code begins with one value instead. The closest success is
    kept; what is never fooled comes back clean.

    Args:
        steps: K, iterations.
        step_size: alpha_0, L2 length of the first step.
        gamma: gamma_0, share by which eps changes at first.
    """

    def step(k: Tensor, state: State) -> State:
        lead, _, slope = model.value_and_gradient(margin, state.x_adv, y)
        success, length = lead > 0, norm.distance(state.x_adv, x)
        best = state.best.closer(state.x_adv, success, length)
        share = cosine(gamma, gamma / 50, k, steps)
        linear = length + ops.abs(lead) / ops.maximum(norm.dual(slope), 1e-12)
        grown = norm.larger(ops.where(best.distance < math.inf, state.eps, norm.possible(linear, x)), share)
        eps = select(success, ops.minimum(norm.smaller(state.eps, share), best.distance), grown)
        moved = state.x_adv + L2(cosine(step_size, step_size / 100, k, steps)).steepest(slope)
        return State(norm.resized(eps).project(moved, x), eps, best)

    start = State(x, ops.full((x.shape[0],), math.inf, dtype="float32"), Best.nothing(x))
    end = repeat(step, steps, start)
    return end.best.closer(end.x_adv, model.succeeds(end.x_adv, y), norm.distance(end.x_adv, x)).x


def cost(steps: int) -> Cost:
    """One gradient a step, and a last look."""
    return Cost(gradients=steps, queries=1)
