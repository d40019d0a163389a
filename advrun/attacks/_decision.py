"""What decision-based attacks share: questions within a budget, a first adversarial image, and the way from it to the boundary."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from advrun.attacks._best import Best
from advrun.engine import Rng, ops, repeat, select
from advrun.geometry import Ball, per_image
from advrun.system import Decisions
from advrun.types import Tensor

TRIES = 26
"""Images tried at most to start from: those handed over, then random ones."""


class Ask:
    """Asks whether images succeed, as long as their queries last.

    left: (m,) int32, what each image in work may still ask. A mask (m,) says whose answer is wanted.
    """

    def __init__(self, model: Decisions, y: Tensor) -> None:
        self.model, self.y = model, y

    def __call__(self, images: Tensor, wanted: Tensor, left: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Whether each image was asked and succeeds; whether it was asked; what is left."""
        asked = ops.logical_and(wanted, left > 0)
        success = self.model.succeeds(images, self.y, asked=asked)
        return ops.logical_and(asked, success), asked, left - ops.cast(asked, "int32")


class Walk(NamedTuple):
    """For each image: itself, its label, its adversarial image now, whether there is one, the queries left, and the closest one so far."""

    x: Tensor
    y: Tensor
    x_adv: Tensor
    found: Tensor
    left: Tensor
    best: Best

    @property
    def going(self) -> Tensor:
        """Images that can still get better, (m,) bool."""
        return ops.logical_and(self.found, self.left > 0)


def begin(model: Decisions, x: Tensor, y: Tensor, starts: Tensor, rng: Rng, queries: int) -> Walk:
    """From the first of the images handed over (k, n, h, w, c) that succeeds, else from the first of some random ones that does.

    An image that is misclassified already is its own closest adversarial image: it begins no walk, stays at x, and asks nothing more.
    """
    ask = Ask(model, y)
    done, _, left = ask(x, ops.ones_like(y, dtype="bool"), ops.full(y.shape, queries, dtype="int32"))

    def attempt(i: Tensor, now: Walk) -> Walk:
        handed = starts.shape[0]
        trial = ops.where(i < handed, ops.take(starts, ops.minimum(i, handed - 1), axis=0), rng.fold(i).uniform(x.shape))
        success, _, left = ask(trial, ops.logical_not(now.found), now.left)
        return now._replace(x_adv=select(success, trial, now.x_adv), found=ops.logical_or(now.found, success), left=left)

    start = Walk(x, y, x, ops.zeros(y.shape, dtype="bool"), ops.where(done, 0, left), Best.nothing(x))
    return repeat(attempt, TRIES, start, until=lambda now: ops.all(ops.logical_or(now.found, ops.equal(now.left, 0))))


def closest(norm: Ball, walk: Walk) -> Tensor:
    """The closest adversarial image; the clean one where there was none."""
    return walk.best.closer(walk.x_adv, walk.found, norm.distance(walk.x_adv, walk.x)).x


def bisect(ask: Ask, image: Callable[[Tensor], Tensor], high: Tensor, which: Tensor, left: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """The smallest position (m,) whose `image` succeeds, between 0 and `high`, which does; and the queries left."""

    def halve(_: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        low, high, left = state
        middle = (low + high) / 2
        success, asked, left = ask(image(middle), which, left)
        failed = ops.logical_and(asked, ops.logical_not(success))
        return select(failed, middle, low), select(success, middle, high), left

    return repeat(halve, steps, (ops.zeros_like(high), high, left))[1:]


def to_boundary(ask: Ask, norm: Ball, walk: Walk, which: Tensor, steps: int) -> Walk:
    """Bisection from x to x_adv, a query a step, for the images of the mask `which`; x_adv stays adversarial."""
    start = ops.ones_like(walk.y, dtype="float32")
    share, left = bisect(ask, lambda share: norm.line(walk.x, walk.x_adv, share), start, which, walk.left, steps)
    moved = select(share < 1, norm.line(walk.x, walk.x_adv, share), walk.x_adv)
    best = walk.best.closer(moved, walk.found, norm.distance(moved, walk.x))
    return walk._replace(x_adv=moved, left=left, best=best)


def normal_direction(
    ask: Ask, walk: Walk, draw: Callable[[Tensor], Tensor], radius: Tensor, samples: Tensor | int
) -> tuple[Tensor, Tensor]:
    """A Monte Carlo estimate of the boundary's normal at x_adv, pointing to the adversarial side, and the queries left.

    sum_b (phi_b - mean phi) u_b, phi_b = 1 if clip(x_adv + radius u_b) succeeds, else -1, u_b = draw(b) as it is after clipping.
    """

    def add(b: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        with_sign, plain, total, count, left = state
        trial = ops.clip(walk.x_adv + per_image(radius, walk.x) * draw(b), 0.0, 1.0)
        success, asked, left = ask(trial, walk.found, left)
        u = (trial - walk.x_adv) / per_image(ops.maximum(radius, 1e-12), walk.x)
        phi = ops.where(asked, ops.where(success, 1.0, -1.0), 0.0)
        weight = per_image(ops.cast(asked, "float32"), u)
        return with_sign + per_image(phi, u) * u, plain + weight * u, total + phi, count + ops.cast(asked, "float32"), left

    zeros, none = ops.zeros_like(walk.x), ops.zeros_like(walk.y, dtype="float32")

    def spent(state: tuple[Tensor, ...]) -> Tensor:
        return ops.logical_not(ops.any(ops.logical_and(walk.found, state[-1] > 0)))

    with_sign, plain, total, count, left = repeat(add, samples, (zeros, zeros, none, none, walk.left), until=spent)
    mean = total / ops.maximum(count, 1.0)
    # Where all answers are the same, the mean says nothing but that.
    mean = ops.where(ops.abs(mean) < 1, mean, 0.0)
    return with_sign - per_image(mean, plain) * plain, left


def bits(precision: float) -> int:
    """Bisection steps that leave at most this share of the interval."""
    return max(math.ceil(-math.log2(precision)), 1)
