"""Carlini and Wagner's L-infinity attack (2017, IEEE S&P, arXiv:1608.04644, section VI.C)."""

from __future__ import annotations

from typing import NamedTuple

from advrun.attacks._adam import Adam
from advrun.attacks._best import Best
from advrun.engine import ops, repeat_undecided, select
from advrun.geometry import Linf, per_image
from advrun.losses import margin
from advrun.system import Gradients
from advrun.types import Cost, Count, Fraction, Labels, NonNegative, Positive, Targets, Tensor

PRESETS = {"fast": {"steps": 1000}, "paper": {"steps": 60_000, "patience": 1000, "initial_c": 1e-5}}
FIRST_TAU = 0.1
"""Steps are shares of tau, and of this while tau is larger."""
CLOSE = 0.01
"""The search for tau ends when a failure and the best success are so close, as a share."""


class State(NamedTuple):
    """For each image: itself, label, iterate, its Adam, steps since c or tau changed, c, tau, its largest failure, the best."""

    x: Tensor
    y: Tensor
    x_adv: Tensor
    adam: Adam
    age: Tensor
    c: Tensor
    tau: Tensor
    failed: Tensor
    best: Best

    @property
    def done(self) -> Tensor:
        return (1 - CLOSE) * self.best.distance <= self.failed


def cw_linf(
    model: Gradients,
    x: Tensor,
    y: Labels | Targets,
    norm: Linf,
    *,
    steps: Count = 1000,
    patience: Count = 30,
    step_size: Positive = 0.05,
    initial_c: Positive = 0.1,
    largest_c: Positive = 20.0,
    decrease: Fraction = 0.9,
    confidence: NonNegative = 0.0,
) -> Tensor:
    """Carlini and Wagner's Linf attack: minimise c f(x + d) + sum_i max(|d_i| - tau, 0) over d by projected Adam.

    When the image is adversarial inside tau, tau falls to 0.9 |d|_inf; when `patience` steps do not get there, c doubles. Every image
    goes at its own pace. At the largest c the paper stops; here tau then goes half way back to the best success, until they are 1 %
    apart, and c is halved after a success (the authors' code keeps it, and Adam's rate). The box is held by projection, the first of the
    paper's three ways (section V.B): with tanh, black and white pixels hardly move, and all pixels count here. What is never fooled comes
    back clean.

    Args:
        steps: gradient steps in all.
        patience: steps that each pair of c and tau gets.
        step_size: Adam's learning rate, as a share of tau; it falls to zero within `patience` steps.
        initial_c: first c.
        largest_c: where the search over c ends.
        decrease: factor of tau after a success.
        confidence: kappa, by how much the wrong class must lead, in logits.
    """

    def step(_: Tensor, rows: Tensor, now: State) -> State:
        x_adv = now.x_adv
        going = ops.logical_not(now.done)
        lead, _, gradient = model.part(rows).value_and_gradient(margin, x_adv, now.y, asked=going)
        distance = norm.distance(x_adv, now.x)
        success = ops.logical_and(going, lead > confidence)
        best = now.best.closer(x_adv, success, distance)

        reached = ops.logical_and(success, distance <= now.tau)
        tired = ops.logical_and(going, ops.logical_and(~reached, now.age >= patience))
        spent = ops.logical_and(tired, 2 * now.c > largest_c)
        failed = select(spent, ops.maximum(now.failed, ops.minimum(now.tau, best.distance)), now.failed)
        tau = ops.where(reached, ops.maximum(decrease * distance, (failed + distance) / 2), now.tau)
        tau = ops.where(spent, (failed + ops.minimum(best.distance, 1.0)) / 2, tau)
        c = ops.where(spent, initial_c, ops.where(tired, 2 * now.c, ops.where(reached, ops.maximum(now.c / 2, initial_c), now.c)))
        # A new c or tau: Adam begins anew, and after failures with the largest c from the best image.
        fresh = ops.logical_or(reached, tired)
        age = ops.where(fresh, 0.0, now.age) + 1

        change = x_adv - now.x
        beyond = ops.cast(ops.abs(change) > per_image(tau, x), "float32") * ops.sign(change)
        push = ops.where(lead < confidence, c, 0.0)
        slope = beyond - per_image(push, x) * gradient
        adam = now.adam.forget(fresh).update(slope)
        rate = step_size * (1 - (age - 1) / patience) * ops.minimum(tau, FIRST_TAU)
        moved = ops.clip(x_adv - per_image(rate, x) * adam.step(per_image(age, x)), 0.0, 1.0)
        return State(now.x, now.y, select(spent, best.x, moved), adam, age, c, tau, failed, best)

    n = ops.ones(x.shape[:1])
    start = State(x, y, x, Adam.start(x), 0 * n, initial_c * n, n, 0 * n, Best.nothing(x))
    return repeat_undecided(step, steps, start, decided=lambda now: now.done).best.x


def cost(steps: int) -> Cost:
    """One gradient a step."""
    return Cost(gradients=steps)
