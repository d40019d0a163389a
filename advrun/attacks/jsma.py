"""Jacobian-based saliency map attack (Papernot et al., 2016, EuroS&P, arXiv:1511.07528, algorithms 2 and 3)."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from advrun.engine import flat, ops, repeat_undecided, select, shaped
from advrun.geometry import L0
from advrun.losses import at_label, log_odds
from advrun.system import Gradients
from advrun.types import Cost, Count, Fraction, Labels, Positive, Targets, Tensor

PRESETS = {"paper": {"output": "logits", "direction": "increase", "theta": 1.0, "gamma": 0.145}}


class State(NamedTuple):
    """For each image: its label, the current iterate, values that may still change (n, d) bool, and whether the attack is over."""

    y: Tensor
    x_adv: Tensor
    open: Tensor
    over: Tensor


def jsma(
    model: Gradients,
    x: Tensor,
    y: Labels | Targets,
    norm: L0,
    *,
    theta: Positive = 1.0,
    gamma: Fraction = 1.0,
    steps: Count = 500,
    output: Literal["probabilities", "logits"] = "probabilities",
    direction: Literal["increase", "decrease", "both"] = "both",
    candidates: Count = 64,
) -> Tensor:
    """Saliency map attack: change the pair (p, q) of values with the largest -alpha * beta by theta, again and again.

    alpha is the sum of dF_t / dx over the pair, beta that of all other classes' F; alpha > 0 > beta when values increase. F are the
    probabilities, so beta = -alpha, and the derivatives are those of the log-odds, which rank alike and do not vanish where the model is
    sure. The authors took logits (JSMA-Z of Carlini and Wagner, 2017, arXiv:1608.04644), twice the gradients for up to twice the values.
    The untargeted form lowers F_y in place of raising F_t. `direction: both` tries increases and decreases (Wiyatno and Xu, 2018,
    arXiv:1808.07945). Of logits, where there are d^2 pairs to compare, those of the most salient values are: the best one is among them
    unless its values are salient only together. Images that were never fooled come back clean.

    Args:
        theta: change of a value.
        gamma: share of the values that may change.
        steps: pairs that may change.
        output: F, the probabilities or the logits.
        direction: whether values increase, decrease, or what is better.
        candidates: of logits, how many of the values with the largest alpha, and as many with the largest -beta, are paired.
    """
    n, size = x.shape[0], math.prod(x.shape[1:])
    signs = {"increase": (1.0,), "decrease": (-1.0,), "both": (1.0, -1.0)}[direction]
    kept = min(candidates, size)

    def away(logits: Tensor, y: Tensor) -> Tensor:
        return -at_label(logits, y)

    def others(logits: Tensor, y: Tensor) -> Tensor:
        return at_label(logits, y) - ops.sum(logits, axis=-1)

    def largest_pair(alpha: Tensor, open_: Tensor) -> tuple[Tensor, Tensor]:
        """The best pair where beta = -alpha, and the root of its saliency."""
        values, pair = ops.top_k(ops.where(open_, alpha, -1e9), 2)
        return pair, ops.maximum(ops.sum(values, axis=-1), 0.0)

    def best_pair(alpha: Tensor, beta: Tensor, open_: Tensor) -> tuple[Tensor, Tensor]:
        """Indices (m, 2) of the best pair, and its saliency (m,), 0 where there is none."""
        alpha, beta = ops.where(open_, alpha, -1e9), ops.where(open_, beta, 1e9)
        index = ops.concatenate([ops.top_k(alpha, kept)[1], ops.top_k(-beta, kept)[1]], axis=-1)
        a, b = ops.take_along_axis(alpha, index, axis=-1), ops.take_along_axis(beta, index, axis=-1)
        pair_a, pair_b = a[:, :, None] + a[:, None, :], b[:, :, None] + b[:, None, :]
        different = ops.not_equal(index[:, :, None], index[:, None, :])
        valid = ops.logical_and(different, ops.logical_and(pair_a > 0, pair_b < 0))
        saliency = ops.reshape(ops.where(valid, -pair_a * pair_b, 0.0), (-1, index.shape[1] ** 2))
        top = ops.argmax(saliency, axis=-1)
        p, q = (ops.take_along_axis(index, ops.cast(which, "int32")[:, None], axis=-1) for which in (top // (2 * kept), top % (2 * kept)))
        return ops.concatenate([p, q], axis=-1), ops.max(saliency, axis=-1)

    def step(_: Tensor, rows: Tensor, state: State) -> State:
        y, x_adv, open_, over = state
        view = model.part(rows)
        _, logits, slope = view.value_and_gradient(away if output == "logits" else log_odds, x_adv, y, asked=~over)
        alpha, values = flat(slope), flat(x_adv)
        movable = [ops.logical_and(open_, values < 1 if sign > 0 else values > 0) for sign in signs]
        if output == "logits":
            beta = flat(view.gradient(others, x_adv, y, asked=~over))
            found = [best_pair(sign * alpha, sign * beta, free) for sign, free in zip(signs, movable, strict=True)]
        else:
            found = [largest_pair(sign * alpha, free) for sign, free in zip(signs, movable, strict=True)]
        pair, saliency, sign = found[0][0], found[0][1], ops.full_like(found[0][1], signs[0])
        for (other, larger), other_sign in zip(found[1:], signs[1:], strict=True):
            better = larger > saliency
            pair, saliency, sign = select(better, other, pair), select(better, larger, saliency), ops.where(better, other_sign, sign)
        chosen = ops.max(ops.one_hot(pair, size), axis=1)
        moved = ops.clip(values + theta * sign[:, None] * chosen, 0.0, 1.0)
        over = ops.logical_or(over, ops.logical_or(model.lead(logits, y) > 0, saliency <= 0))
        # A value that was moved up must not come down again later.
        open_ = ops.logical_and(open_, ops.logical_or(chosen < 1, theta < 1))
        return State(y, select(over, x_adv, shaped(moved, x)), open_, over)

    start = State(y, x, ops.ones((n, size), dtype="bool"), ops.zeros((n,), dtype="bool"))
    pairs = min(steps, int(gamma * size / 2 + 1e-6))
    x_adv = repeat_undecided(step, pairs, start, decided=lambda state: state.over).x_adv
    return select(model.succeeds(x_adv, y), x_adv, x)


def cost(steps: int, output: str) -> Cost:
    """A gradient a pair, of logits two, and a last look."""
    return Cost(gradients=steps * (2 if output == "logits" else 1), queries=1)
