"""Brendel and Bethge's attack (Brendel, Rauber, Kümmerer, Ustyuzhaninov and Bethge, 2019, NeurIPS, arXiv:1907.01003, section 2)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from advrun.attacks._best import Best
from advrun.attacks._decision import TRIES, Ask, begin, bits, to_boundary
from advrun.attacks._hyperplane import ENDLESS, inner, to_hyperplane
from advrun.engine import Rng, fused, ops, repeat, select
from advrun.geometry import L0, L1, L2, Ball, Linf, axes, l2_norm, per_image
from advrun.losses import margin
from advrun.system import Gradients
from advrun.types import Cost, Count, Labels, Positive, Targets, Tensor

CONTRACT = {"rounding": None}  # iterates lie on the boundary: rounding decides which succeed

PRESETS = {"fast": {"steps": 200}, "paper": {"steps": 1000}}  # the authors' own code
LOOKS = bits(1e-3)
HALVINGS = 8
"""How often r is halved on the way."""
BEYOND, NEARER, FARTHER = (1e-4, 0.5), 0.5, 2.0
"""A step aims so far beyond the linearised boundary, as a share of r; less after a success, more after a miss."""
LEVELS, ROOT, SLACK = 10, 6, 0.1
"""Bisection steps over how strongly the norm pulls, steps towards the root lambda in each, and by what share of r <b, d> may fall short."""


class State(NamedTuple):
    """The iterate, how far beyond the boundary the next step aims as a share of r (n,), and the closest success."""

    x_adv: Tensor
    beyond: Tensor
    best: Best


def brendel_bethge(
    model: Gradients,
    x: Tensor,
    y: Labels | Targets,
    norm: L2 | Linf | L1 | L0,
    rng: Rng,
    starts: Tensor,
    *,
    steps: Count = 200,
    radius: Positive = 1.0,
) -> Tensor:
    """Brendel and Bethge: follow the boundary inwards by min_d |x_k + d - x|_p with <b, d> = c, |d|_2 <= r, x_k + d in the box.

    b is the gradient of the margin at x_k, and c brings it to zero. The minimum is found through its dual: x_k + d - x is the proximal
    map of the norm at x_k - x + lambda b, cut to the box; lambda, for <b, d> = c, by Newton's method, and the weight of the norm, for
    |d|_2 = r, by bisection. r begins at `radius` times the distance and is halved eight times on the way.
    The walk begins on the boundary between x and an image of another class, and where it ends depends on that: for some images far
    from the closest point of the boundary, so that several seeds are worth their time. What is never adversarial comes back clean.

    The authors' code takes the mean of b over several steps, a radius that is the same for every image, and 1,000 steps.

    Args:
        steps: iterations.
        radius: r at first, as a share of the L2 distance.
    """

    def step(k: Tensor, state: State) -> State:
        lead, _, b = model.value_and_gradient(margin, state.x_adv, y)
        best = state.best.closer(state.x_adv, lead > 0, norm.distance(state.x_adv, x))
        r = first * 0.5 ** (HALVINGS * ops.cast(k, "float32") / steps)
        beyond = ops.clip(state.beyond * ops.where(lead > 0, NEARER, FARTHER), *BEYOND)
        c = -lead / ops.maximum(l2_norm(b), 1e-12) + beyond * r
        x_adv = fused(partial(inwards, norm))(state.x_adv, b, ops.clip(c, -r, r), r, x)
        return State(x_adv, beyond, best)

    walk = begin(model, x, y, starts, rng.fold(-1), 1 + TRIES + LOOKS)
    walk = to_boundary(Ask(model, y), norm, walk, walk.found, LOOKS)
    first = radius * l2_norm(walk.x_adv - x)
    end = repeat(step, steps, State(walk.x_adv, BEYOND[0] * ops.ones_like(first), walk.best))
    closest = end.best.closer(end.x_adv, model.succeeds(end.x_adv, y), norm.distance(end.x_adv, x))
    return closest.x


def cost(steps: int) -> Cost:
    """One gradient a step; before that the way to the boundary, with a look at the image itself, and one at the last image."""
    return Cost(gradients=steps, queries=2 + TRIES + LOOKS)


def inwards(norm: Ball, x_adv: Tensor, b: Tensor, c: Tensor, r: Tensor, x: Tensor) -> Tensor:
    """The next iterate."""
    return ops.clip(x + smallest(norm, x_adv - x, L2(1.0).steepest(b), c, r, x), 0.0, 1.0)


def smallest(norm: Ball, u: Tensor, b: Tensor, c: Tensor, r: Tensor, x: Tensor) -> Tensor:
    """The change z from x, x + z in the box, that is smallest in the norm with <b, z - u> = c and |z - u|_2 <= r.

    Where the smallest change without the last constraint fulfils it, that is the answer, and it is known exactly. b has length 1, and
    |c| <= r: without a pull of the norm (level 0) the constraint on r holds, but for the box.
    """
    best = to_hyperplane(norm, x, b, c + inner(b, u))
    return select(l2_norm(best - u) <= r, best, within(norm, u, b, c, r, x))


def within(norm: Ball, u: Tensor, b: Tensor, c: Tensor, r: Tensor, x: Tensor) -> Tensor:
    """The same where the constraint on r binds, through the dual."""
    # Without a pull of the norm, u + c b is the answer, which may lie farther out than u.
    largest = ops.max(ops.maximum(ops.abs(u), ops.abs(u + per_image(c, b) * b)), axis=axes(u))

    def solve(level: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        """z and lambda at a level: 0, no pull, to 1, all the way to x."""

        def closer(_: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            """Newton's step where it stays between what is known to be too little and too much, else bisection, or farther out."""
            little, much, multiplier = state
            v = u + per_image(multiplier, b) * b
            z = proximal(norm, v, level, largest, x)
            free = ops.cast(ops.logical_and(z > -x, z < 1 - x), "float32") * moves(norm, z, v, level, largest)
            rate = ops.sum(free * b * b, axis=axes(b))
            gap = c - ops.sum(b * (z - u), axis=axes(b))
            little, much = ops.where(gap > 0, multiplier, little), ops.where(gap > 0, much, multiplier)
            newton = multiplier + gap / ops.maximum(rate, 1e-9)
            farther = multiplier + ops.sign(gap) * (1 + 4 * ops.abs(multiplier))
            between = ops.where(ops.logical_and(little > -ENDLESS, much < ENDLESS), (little + much) / 2, farther)
            return little, much, ops.where(ops.logical_and(newton > little, newton < much), newton, between)

        endless = ops.full_like(start, ENDLESS)
        multiplier = repeat(closer, ROOT, (-endless, endless, start))[2]
        v = u + per_image(multiplier, b) * b
        return proximal(norm, v, level, largest, x), multiplier

    def halve(_: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        low, high, multiplier, kept = state
        level = (low + high) / 2
        z, found = solve(level, multiplier)
        d = z - u  # summed here, for `inner` is a product of matrices, and slower in the midst of this kernel
        inside = ops.logical_and(ops.sum(d * d, axis=axes(d)) <= r * r, ops.sum(b * d, axis=axes(d)) >= c - SLACK * r)
        return select(inside, level, low), select(inside, high, level), select(inside, found, multiplier), select(inside, z, kept)

    low, high = ops.zeros_like(c), ops.ones_like(c)
    z, multiplier = solve(low, c)
    return repeat(halve, LEVELS, (low, high, multiplier, z))[3]


def proximal(norm: Ball, v: Tensor, level: Tensor, largest: Tensor, x: Tensor) -> Tensor:
    """What norm and box make of a change v: L2 shrinks it, Linf cuts it off, L1 and L0 threshold it softly and hardly; (n,) levels."""
    return PULLS[norm.name](v, per_image(level, v), per_image(largest, v), lambda v: ops.clip(v, -x, 1 - x))


def moves(norm: Ball, z: Tensor, v: Tensor, level: Tensor, largest: Tensor) -> Tensor:
    """The derivative of z = `proximal` of v, value by value, within the box."""
    return DERIVATIVES[norm.name](z, v, per_image(level, v), per_image(largest, v))


def _cut(v: Tensor, level: Tensor, largest: Tensor, boxed: Boxed) -> Tensor:
    cut = (1 - level) * largest
    return boxed(ops.clip(v, -cut, cut))


def _thresholded(v: Tensor, level: Tensor, largest: Tensor, boxed: Boxed) -> Tensor:
    return boxed(ops.sign(v) * ops.maximum(ops.abs(v) - level * largest, 0.0))


def _chosen(v: Tensor, level: Tensor, largest: Tensor, boxed: Boxed) -> Tensor:
    """A value is changed where that, as far as the box lets it, brings it nearer to v by more than the threshold: v^2 - (v - z)^2."""
    z = boxed(v)
    return ops.where(z * (2 * v - z) > (level * largest) ** 2, z, 0.0)


Boxed = Callable[[Tensor], Tensor]
PULLS: dict[str, Callable[[Tensor, Tensor, Tensor, Boxed], Tensor]] = {
    "L2": lambda v, level, largest, boxed: boxed(v * (1 - level)),
    "Linf": _cut,
    "L1": _thresholded,
    "L0": _chosen,
}
DERIVATIVES: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "L2": lambda z, v, level, largest: (1 - level) * ops.ones_like(v),
    "Linf": lambda z, v, level, largest: ops.cast(ops.abs(v) < (1 - level) * largest, "float32"),
    "L1": lambda z, v, level, largest: ops.cast(z != 0, "float32"),
    "L0": lambda z, v, level, largest: ops.cast(z != 0, "float32"),
}
