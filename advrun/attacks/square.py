"""Square Attack (Andriushchenko, Croce, Flammarion and Hein, 2020, arXiv:1912.00049, algorithms 1 to 3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from advrun.classifier import Scores
from advrun.engine import Rng, fused, ops, repeat_undecided, select
from advrun.geometry import L2, Ball, Linf, l2_norm, per_image
from advrun.losses import cross_entropy, margin
from advrun.types import Count, Fraction, Labels, Targets, Tensor

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Iterations of 10,000 at which the share of changed pixels is halved (section 5)."""
TINY = 1e-12
Proposal = Callable[[Tensor, Tensor, Tensor, Rng], Tensor]
"""(iteration, x_adv, x, rng) -> the image to try next."""


class State(NamedTuple):
    """For each image: itself, its label, the best image, its loss, and the lead there."""

    x: Tensor
    y: Tensor
    x_adv: Tensor
    loss: Tensor
    lead: Tensor


def square(
    model: Scores,
    x: Tensor,
    y: Labels | Targets,
    ball: Linf | L2,
    rng: Rng,
    *,
    queries: Count = 5000,
    initial_share: Fraction = 0.8,
    rescale: bool = True,
) -> Tensor:
    """Square Attack: random search that sets one square of the image to the border of the ball, kept if the loss grows.

    Loss: the margin, and cross-entropy in the targeted form. Every image gets squares of its own, and is asked about no
    more once it has succeeded. AutoAttack runs it with `rescale: false`.

    Args:
        queries: N, at most this many for each image.
        initial_share: p, share of the pixels that the first squares cover.
        rescale: stretch the schedule of p, made for 10,000 iterations, to N.
    """
    objective = cross_entropy if model.targeted else margin
    shares = share_of_step(queries, initial_share, rescale)
    start, propose = (linf_search if isinstance(ball, Linf) else l2_search)(ball, x, shares, rng)
    logits = model.logits(start)

    def step(i: Tensor, rows: Tensor, state: State) -> State:
        trial = propose(i, state.x_adv, state.x, rng.fold(i))
        logits = model.part(rows).logits(trial, asked=state.lead <= 0)
        loss, lead = model.value(objective, logits, state.y), model.lead(logits, state.y)
        taken = ops.logical_and(state.lead <= 0, ops.logical_or(loss > state.loss, lead > 0))
        new = (select(taken, new, old) for new, old in ((trial, state.x_adv), (loss, state.loss), (lead, state.lead)))
        return State(state.x, state.y, *new)

    state = State(x, y, start, model.value(objective, logits, y), model.lead(logits, y))
    return repeat_undecided(step, queries - 1, state, decided=lambda state: state.lead > 0).x_adv


def share_of_step(steps: int, initial: float, rescale: bool) -> np.ndarray:
    """p of every iteration, (steps,)."""
    numbers = np.arange(steps) * (10_000 / steps if rescale else 1)
    return initial / 2.0 ** (numbers[:, None] > HALVINGS).sum(1)


def linf_search(ball: Ball, x: Tensor, shares: np.ndarray, rng: Rng) -> tuple[Tensor, Proposal]:
    """Stripes of +-eps in each column and channel; then squares of one sign in each channel (algorithm 2)."""
    n, height, width, channels = x.shape
    sides = ops.convert_to_tensor(side_of_step(shares, height, width, smallest=1))

    def propose(i: Tensor, x_adv: Tensor, x: Tensor, rng: Rng) -> Tensor:
        side = sides[i]
        return fused(painted)(x_adv, x, *corner(x, side, rng), side, rng.signs((x.shape[0], 1, 1, channels)))

    def painted(x_adv: Tensor, x: Tensor, top: Tensor, left: Tensor, side: Tensor, sign: Tensor) -> Tensor:
        return ball.project(ops.where(inside(x, top, left, side), x + ball.eps * sign, x_adv), x)

    return ball.project(x + ball.eps * rng.signs((n, 1, width, channels)), x), propose


def l2_search(ball: Ball, x: Tensor, shares: np.ndarray, rng: Rng) -> tuple[Tensor, Proposal]:
    """Bumps on a 5 x 5 grid; then mass moves from one square to another, where a new bump is added (algorithm 3)."""
    n, height, width, channels = x.shape
    steps = side_of_step(shares, height, width, smallest=3)
    steps = np.where(steps % 2 == 0, np.minimum(steps + 1, (min(height, width) - 1) // 2 * 2 + 1), steps)
    kinds, which = np.unique(steps, return_inverse=True)
    bumps = ops.convert_to_tensor(np.stack([padded(bump(side), height, width) for side in kinds]))
    sides, kind = ops.convert_to_tensor(steps), ops.convert_to_tensor(which)

    def propose(i: Tensor, x_adv: Tensor, x: Tensor, rng: Rng) -> Tensor:
        side, there, origin = sides[i], corner(x, sides[i], rng), corner(x, sides[i], rng)
        shape = moved(turned(bumps[kind[i]], x, rng), *there) * rng.signs((x.shape[0], 1, 1, channels))
        return fused(carried)(x_adv, x, shape, inside(x, *there, side), inside(x, *origin, side))

    def carried(x_adv: Tensor, x: Tensor, shape: Tensor, into: Tensor, out: Tensor) -> Tensor:
        delta = x_adv - x
        kept = ops.where(into, delta, 0.0)
        freed = l2_of_channel(ops.where(ops.logical_or(into, out), delta, 0.0))
        new = shape + kept / (l2_of_channel(kept) + TINY)
        unused = ops.maximum(ball.eps**2 - per_image(l2_norm(delta), x) ** 2, 0.0) / channels
        new = new / (l2_of_channel(new) + TINY) * ops.sqrt(unused + freed**2)
        return stretched(ops.where(into, new, ops.where(out, 0.0, delta)), x, ball)

    tile = np.zeros((height, width), np.float32)
    side = max(min(height, width) // 5, 1)
    spot = np.zeros((height, width), np.int32)  # which tile a pixel belongs to
    for number, (row, column) in enumerate(np.ndindex(height // side, width // side)):
        place = np.s_[row * side : (row + 1) * side, column * side : (column + 1) * side]
        tile[place], spot[place] = bump(side), number
    sign = rng.signs((n, (height // side) * (width // side), channels))
    return stretched(tile[..., None] * ops.take(sign, ops.convert_to_tensor(spot), axis=1), x, ball), propose


def stretched(delta: Tensor, x: Tensor, ball: Ball) -> Tensor:
    """x + delta, brought to the length eps, in the box."""
    return ball.project(x + ball.radius(x) * delta / per_image(l2_norm(delta) + TINY, x), x)


def corner(x: Tensor, side: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
    """First row and column (n,) int32 of a square of `side` pixels at a random place of each image."""
    n, height, width, _ = x.shape
    return tuple(ops.cast(rng.uniform((n,)) * ops.cast(length - side + 1, "float32"), "int32") for length in (height, width))


def inside(x: Tensor, top: Tensor, left: Tensor, side: Tensor) -> Tensor:
    """(n, h, w, 1) bool: the pixels of the square whose first row and column are `top` and `left` (n,)."""
    _, height, width, _ = x.shape
    rows, columns = ops.arange(height)[None, :, None, None], ops.arange(width)[None, None, :, None]
    down, right = rows - top[:, None, None, None], columns - left[:, None, None, None]
    return ops.logical_and(ops.logical_and(down >= 0, down < side), ops.logical_and(right >= 0, right < side))


def moved(pattern: Tensor, top: Tensor, left: Tensor) -> Tensor:
    """(n, h, w) patterns whose content is at the top left, moved so that it begins at `top` and `left` (n,): (n, h, w, 1)."""
    _, height, width = pattern.shape
    rows, columns = (ops.arange(height)[None] - top[:, None]) % height, (ops.arange(width)[None] - left[:, None]) % width
    return ops.take_along_axis(ops.take_along_axis(pattern, rows[:, :, None], axis=1), columns[:, None, :], axis=2)[..., None]


def side_of_step(shares: np.ndarray, height: int, width: int, smallest: int) -> np.ndarray:
    """Side of the square in every iteration, in pixels, int32."""
    sides = np.rint(np.sqrt(shares * height * width)).astype(np.int32)
    return np.clip(sides, min(smallest, height, width), min(height, width))


def turned(pattern: Tensor, x: Tensor, rng: Rng) -> Tensor:
    """(h, w) -> (n, h, w): transposed with probability 1/2, where images are square."""
    height, width = pattern.shape
    stack = ops.broadcast_to(pattern, (x.shape[0], height, width))
    if height != width:
        return stack
    return ops.where(rng.uniform((x.shape[0], 1, 1)) < 0.5, stack, ops.swapaxes(stack, 1, 2))


def l2_of_channel(images: Tensor) -> Tensor:
    """(n, 1, 1, c)."""
    return ops.sqrt(ops.sum(ops.square(images), axis=(1, 2), keepdims=True))


def bump(side: int) -> np.ndarray:
    """eta of appendix A: two half squares of opposite sign that fade from their centres, of L2 length 1, (side, side)."""
    half = side // 2
    pattern = np.concatenate([faded(half, side), -faded(side - half, side)]).astype(np.float32)
    return pattern / np.linalg.norm(pattern)


def faded(height: int, width: int) -> np.ndarray:
    """Nested rectangles around the centre, each adding 1 / k^2 for k = 1, 2, ...; of L2 length 1."""
    pattern = np.zeros((height, width))
    row, column = height // 2, width // 2
    for k in range(max(row, column) + 1):
        pattern[max(row - k, 0) : row + k + 1, max(column - k, 0) : column + k + 1] += 1 / (k + 1) ** 2
    return pattern / max(float(np.linalg.norm(pattern)), TINY)


def padded(pattern: np.ndarray, height: int, width: int) -> np.ndarray:
    """(height, width) float32 with the pattern at the top left."""
    full = np.zeros((height, width), np.float32)
    full[: pattern.shape[0], : pattern.shape[1]] = pattern
    return full
