"""Decoupled direction and norm (Rony, Hafemann, Oliveira, Ben Ayed, Sabourin and Granger, 2019, CVPR, arXiv:1811.09600, algorithm 1)."""

from __future__ import annotations

from typing import NamedTuple

from advrun.attacks._best import Best
from advrun.attacks._schedule import cosine
from advrun.engine import fused, ops, repeat
from advrun.geometry import L2, l2_norm, per_image
from advrun.losses import log_odds
from advrun.system import Gradients
from advrun.types import Cost, Count, Fraction, Labels, Positive, Targets, Tensor

PRESETS = {"fast": {"steps": 100}, "paper": {"steps": 1000}}


class State(NamedTuple):
    """The iterate, the length eps (n,) that it is brought to, and the closest success."""

    x_adv: Tensor
    eps: Tensor
    best: Best


def ddn(
    model: Gradients,
    x: Tensor,
    y: Labels | Targets,
    norm: L2,
    *,
    steps: Count = 100,
    initial_eps: Positive = 1.0,
    gamma: Fraction = 0.05,
    step_size: Positive = 1.0,
) -> Tensor:
    """Decoupled direction and norm: delta <- delta + alpha g / |g|, then |delta| <- eps.

    eps shrinks by gamma after a success, and grows by gamma otherwise; alpha falls from `step_size` to a hundredth of it along
    half a cosine. The closest success is kept; what is never fooled comes back clean. The paper's rounding of the result to
    8 bits is left to the metric `accuracy_8bit`.

    Args:
        steps: K, iterations.
        initial_eps: eps_0, first length of the change.
        gamma: by which share eps changes.
        step_size: alpha_0, the first step's length.
    """

    def move(x_adv: Tensor, slope: Tensor, eps: Tensor, alpha: Tensor) -> Tensor:
        delta = x_adv - x + L2(alpha).steepest(slope)
        delta = delta * per_image(eps / ops.maximum(l2_norm(delta), 1e-12), x)
        return ops.clip(x + delta, 0.0, 1.0)

    def step(k: Tensor, state: State) -> State:
        _, logits, slope = model.value_and_gradient(log_odds, state.x_adv, y)
        success = model.lead(logits, y) > 0
        best = state.best.closer(state.x_adv, success, norm.distance(state.x_adv, x))
        eps = state.eps * ops.where(success, 1 - gamma, 1 + gamma)
        return State(fused(move)(state.x_adv, slope, eps, cosine(step_size, step_size / 100, k, steps)), eps, best)

    start = State(x, ops.full((x.shape[0],), initial_eps, dtype="float32"), Best.nothing(x))
    end = repeat(step, steps, start)
    return end.best.closer(end.x_adv, model.succeeds(end.x_adv, y), norm.distance(end.x_adv, x)).x


def cost(steps: int) -> Cost:
    """One gradient a step, and a last look."""
    return Cost(gradients=steps, queries=1)
