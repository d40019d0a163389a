"""Carlini and Wagner's L0 attack (2017, IEEE S&P, arXiv:1608.04644, section VI.B)."""

from __future__ import annotations

import math
from typing import NamedTuple

from advrun.attacks._adam import Adam
from advrun.attacks._best import Best
from advrun.attacks.cw import to_tanh
from advrun.engine import flat, ops, repeat_undecided, select, shaped
from advrun.geometry import L0, per_image
from advrun.losses import margin
from advrun.system import Gradients
from advrun.types import Cost, Count, Fraction, Labels, NonNegative, Positive, Targets, Tensor

PRESETS = {"fast": {"steps": 1000}, "paper": {"steps": 100_000, "patience": 1000, "step_size": 0.01, "initial_c": 1e-3, "largest_c": 2e6}}


class State(NamedTuple):
    """For each image: itself, its label, w, its Adam, steps since c or the mask changed, c, the values that may change,
    the share of them to freeze next, whether it is done, and the best."""

    x: Tensor
    y: Tensor
    w: Tensor
    adam: Adam
    age: Tensor
    c: Tensor
    allowed: Tensor
    share: Tensor
    done: Tensor
    best: Best


def cw_l0(
    model: Gradients,
    x: Tensor,
    y: Labels | Targets,
    norm: L0,
    *,
    steps: Count = 1000,
    patience: Count = 40,
    step_size: Positive = 0.05,
    initial_c: Positive = 0.1,
    largest_c: Positive = 100.0,
    removal: Fraction = 0.3,
    confidence: NonNegative = 0.0,
) -> Tensor:
    """Carlini and Wagner's L0 attack: run their L2 attack, freeze the values i with the smallest |g_i d_i|, and again on what is left.

    g is the gradient of f at the adversarial image, d its change. Values count one by one, where the authors' code counts pixels. A
    success freezes a share of those that may still change, one at least (the authors: 0.3 sqrt(count), and none beyond a small gain);
    when `patience` steps bring no success, c doubles. At the largest c the paper stops; here the best success is taken up again, and half
    the share is frozen, until a single value was too many. Every image goes at its own pace. What is never fooled stays clean.

    Args:
        steps: gradient steps in all.
        patience: steps that each c gets.
        step_size: Adam's learning rate, in units of w.
        initial_c: first c.
        largest_c: where the search over c ends.
        removal: the share of the values that is frozen after a success, at first.
        confidence: kappa, by how much the wrong class must lead, in logits.
    """

    def step(_: Tensor, rows: Tensor, now: State) -> State:
        tanh, allowed = ops.tanh(now.w), now.allowed
        x_adv = ops.where(allowed > 0, (tanh + 1) / 2, now.x)
        going = ops.logical_not(now.done)
        lead, _, gradient = model.part(rows).value_and_gradient(margin, x_adv, now.y, asked=going)
        success = ops.logical_and(going, lead > confidence)
        best = now.best.closer(x_adv, success, norm.distance(x_adv, now.x))

        tired = ops.logical_and(going, ops.logical_and(~success, now.age >= patience))
        spent = ops.logical_and(tired, 2 * now.c > largest_c)
        c = ops.where(spent, initial_c, ops.where(tired, 2 * now.c, now.c))
        gain = ops.abs(gradient * (x_adv - now.x))
        allowed = select(success, without_smallest(gain, allowed, now.share), allowed)
        single = now.share * best.distance <= 1
        share = ops.where(spent, now.share / 2, now.share)
        fresh = ops.logical_or(success, tired)
        age = ops.where(fresh, 0.0, now.age) + 1

        push = ops.where(lead < confidence, c, 0.0)
        slope = allowed * (2 * (x_adv - now.x) - per_image(push, x) * gradient) * (1 - ops.square(tanh)) / 2
        adam = now.adam.forget(fresh).update(slope)
        w = select(spent, to_tanh(best.x), now.w - step_size * adam.step(per_image(age, x)))
        allowed = select(spent, ops.cast(ops.not_equal(best.x, now.x), "float32"), allowed)
        over = ops.logical_or(best.distance <= 1, ops.logical_and(spent, ops.logical_or(single, best.distance == math.inf)))
        done = ops.logical_or(now.done, over)
        return State(now.x, now.y, w, adam, age, c, allowed, share, done, best)

    n, w = ops.ones(x.shape[:1]), to_tanh(x)
    away = model.lead(model.logits(x), y) > confidence
    best = Best.nothing(x).closer(x, away, 0 * n)
    start = State(x, y, w, Adam.start(w), 0 * n, initial_c * n, ops.ones_like(x), removal * n, away, best)
    return repeat_undecided(step, steps, start, decided=lambda now: now.done).best.x


def cost(steps: int) -> Cost:
    """One gradient a step, and a look at the image itself."""
    return Cost(gradients=steps, queries=1)


def without_smallest(gain: Tensor, allowed: Tensor, share: Tensor) -> Tensor:
    """The mask without the values of the smallest gain: all without any, and of the k others this share (n,), one at least."""
    gains = flat(allowed * gain)
    useful = ops.sum(ops.cast(gains > 0, "float32"), axis=1)
    keep = ops.cast(ops.maximum(useful - ops.maximum(ops.floor(share * useful), 1.0), 1.0), "int32")
    falling = ops.flip(ops.sort(gains, axis=1), axis=1)
    least = ops.take_along_axis(falling, (keep - 1)[:, None], axis=1)
    return shaped(ops.cast(ops.logical_and(gains >= least, gains > 0), "float32"), gain)
