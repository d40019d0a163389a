"""Square Attack (Andriushchenko, Croce, Flammarion and Hein, 2020, arXiv:1912.00049, algorithms 1 to 3).

In L1: Croce and Hein, 2021, ICML, arXiv:2103.01208.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from advrun.engine import Rng, fused, ops, repeat_undecided, select, shaped
from advrun.geometry import L1, L2, Ball, Linf
from advrun.losses import cross_entropy, margin
from advrun.system import Scores
from advrun.types import Count, Fraction, Labels, Targets, Tensor

PRESETS = {"paper": {"queries": 10_000, "initial_share": 0.05}, "autoattack": {"rescale": False}}  # in L2 the paper takes 0.1
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Iterations of 10,000 at which the share of changed pixels is halved: those of the authors' code (section 5 leaves out 500)."""
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
    ball: Linf | L2 | L1,
    rng: Rng,
    *,
    queries: Count = 5000,
    initial_share: Fraction = 0.8,
    rescale: bool = True,
) -> Tensor:
    """Square Attack: random search that sets one square of the image to the border of the ball, kept if the loss grows.

    Loss: the margin, and cross-entropy in the targeted form. Every image gets squares of its own, and is asked about no
    more once it has succeeded. In L2 and L1 the squares are bumps. AutoAttack runs it with `rescale: false`. In L2 each channel of a window
    keeps its own mass, as in algorithm 3 and in AutoAttack now; AutoAttack's first code, and torchattacks, give each the mass of all.

    Args:
        queries: N, at most this many for each image.
        initial_share: p, share of the pixels that the first squares cover; 0.8 is AutoAttack's, the paper takes 0.05 to 0.1 on ImageNet.
        rescale: stretch the schedule of p, made for 10,000 iterations, to N.
    """
    objective = cross_entropy if model.targeted else margin
    shares = share_of_step(queries, initial_share, rescale)
    start, propose = SEARCHES[ball.name](ball, x, shares, rng)
    logits = model.logits(start)

    def step(i: Tensor, rows: Tensor, state: State) -> State:
        trial = propose(i, state.x_adv, state.x, rng.part(rows).fold(i))
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
        return fused(painted)(x_adv, x, rng.uniform((ops.shape(x)[0], 2 + channels)), sides[i])

    def painted(x_adv: Tensor, x: Tensor, chance: Tensor, side: Tensor) -> Tensor:
        border = lines(x) + ball.eps * ops.tile(sign(chance[:, None, 2:]), (1, 1, width))
        new = ops.where(inside(x, *corner(x, chance[:, :2], side), side), border, lines(x_adv))
        return shaped(ball.project(new, lines(x)), x)

    return ball.project(x + ball.eps * rng.signs((n, 1, width, channels)), x), propose


def bump_search(ball: L2 | L1, x: Tensor, shares: np.ndarray, rng: Rng) -> tuple[Tensor, Proposal]:
    """Bumps on a grid of squares, a fifth of the image wide; then mass moves from one square to another, with a new bump (algorithm 3)."""
    n, height, width, channels = x.shape
    p = int(ball.order)
    gain = {2: 1, 1: channels}[p]  # in L1 a square gets so many times its share before the projection, as in the authors' code
    steps = side_of_step(shares, height, width, smallest=3)
    steps = np.where(steps % 2 == 0, np.minimum(steps + 1, (min(height, width) - 1) // 2 * 2 + 1), steps)
    kinds, which = np.unique(steps, return_inverse=True)
    bumps = ops.convert_to_tensor(np.stack([padded(bump(side, p), max(height, width)) for side in kinds]))
    sides, kind = ops.convert_to_tensor(steps), ops.convert_to_tensor(which)

    def propose(i: Tensor, x_adv: Tensor, x: Tensor, rng: Rng) -> Tensor:
        chance = rng.uniform((ops.shape(x)[0], 5 + channels))
        return fused(carried)(x_adv, x, chance, bumps[kind[i]], sides[i])

    def carried(x_adv: Tensor, x: Tensor, chance: Tensor, pattern: Tensor, side: Tensor) -> Tensor:
        """What one square and another hold goes into the first, and what was not used of eps."""
        there = corner(x, chance[:, :2], side)
        into, out = inside(x, *there, side), inside(x, *corner(x, chance[:, 2:4], side), side)
        shape = placed(pattern, x, *there, chance[:, 4] < 0.5, sign(chance[:, None, None, 5:]))
        delta = lines(x_adv) - lines(x)
        kept = ops.where(into, delta, 0.0)
        used, freed, below = (mass(part) for part in (delta, ops.where(ops.logical_or(into, out), delta, 0.0), kept))
        unused = ops.maximum(ball.eps**p / channels - ops.mean(used, axis=2, keepdims=True), 0.0)
        new = lines(shape) + kept / (length(below) + TINY)
        new = new * gain * length(unused + freed) / (length(mass(new)) + TINY)
        moved = ops.where(into, new, ops.where(out, 0.0, delta))  # in L2 of length eps, unless the box has cut
        return ball.project(x + shaped(moved, x), x)

    def mass(values: Tensor) -> Tensor:
        """Each channel's |values|_p^p."""
        return of_channel(ops.square(values) if p == 2 else ops.abs(values), channels)

    def length(mass: Tensor) -> Tensor:
        return ops.sqrt(mass) if p == 2 else mass

    side = max(min(height, width) // 5, 1)
    across, down = width // side, height // side
    tile = np.tile(bump(side, p), (down, across))
    spot = np.arange(down * across).reshape(down, across).repeat(side, 0).repeat(side, 1)  # which tile a pixel belongs to
    margins = [
        ((length - size) // 2, length - size - (length - size) // 2) for length, size in zip((height, width), tile.shape, strict=True)
    ]
    tile, turned, spot = (ops.convert_to_tensor(np.pad(each, margins)) for each in (tile, np.tile(bump(side, p).T, (down, across)), spot))
    turn = ops.take(rng.uniform((n, down * across, 1)), spot, axis=1) < 0.5
    start = ops.where(turn, turned[..., None], tile[..., None]) * ops.take(rng.signs((n, down * across, channels)), spot, axis=1)
    return ball.project(x + (ball.steepest(start) if p == 2 else start), x), propose


def corner(x: Tensor, chance: Tensor, side: Tensor) -> tuple[Tensor, Tensor]:
    """First row and column (n,) int32 of a square of `side` pixels in each image; chance: (n, 2) in [0, 1)."""
    _, height, width, _ = x.shape
    rooms = (ops.cast(length - side + 1, "float32") for length in (height, width))
    return tuple(ops.cast(chance[:, axis] * room, "int32") for axis, room in enumerate(rooms))


def sign(chance: Tensor) -> Tensor:
    """-1 or 1, for numbers in [0, 1)."""
    return ops.where(chance < 0.5, -1.0, 1.0)


def lines(images: Tensor) -> Tensor:
    """(n, h, w, c) as (n, h, w * c): masked arithmetic is three times as fast there as where the last axis is as short as c."""
    _, height, width, channels = images.shape
    return ops.reshape(images, (-1, height, width * channels))


def inside(x: Tensor, top: Tensor, left: Tensor, side: Tensor) -> Tensor:
    """(n, h, w * c) bool: the pixels of the square whose first row and column are `top` and `left` (n,)."""
    _, height, width, channels = x.shape
    down = np.arange(height, dtype=np.int32)[None, :, None] - top[:, None, None]
    right = np.arange(width, dtype=np.int32).repeat(channels)[None, None] - left[:, None, None]
    return ops.logical_and(ops.logical_and(down >= 0, down < side), ops.logical_and(right >= 0, right < side))


def of_channel(values: Tensor, channels: int) -> Tensor:
    """Each channel's sum of values (n, h, w * c), at all of its places in a line: (n, 1, w * c)."""
    columns = ops.reshape(ops.sum(values, axis=1), (-1, values.shape[2] // channels, channels))
    return ops.tile(ops.sum(columns, axis=1), (1, columns.shape[1]))[:, None]


def placed(pattern: Tensor, x: Tensor, top: Tensor, left: Tensor, turn: Tensor, sign: Tensor) -> Tensor:
    """A pattern on images as large as x: the content of its top left corner, transposed where `turn` (n,) holds, at `top` and `left` (n,).

    pattern: (s, s), s the longer side of x. sign: (n, 1, 1, c), what the pattern is multiplied by.
    """
    _, height, width, _ = x.shape
    rows = ((np.arange(height, dtype=np.int32) - top[:, None]) % height)[:, :, None]
    columns = ((np.arange(width, dtype=np.int32) - left[:, None]) % width)[:, None, :]
    side = pattern.shape[0]
    index = ops.where(turn[:, None, None], columns * side + rows, rows * side + columns)
    return ops.take(ops.reshape(pattern, (-1,)), index)[..., None] * sign


def side_of_step(shares: np.ndarray, height: int, width: int, smallest: int) -> np.ndarray:
    """Side of the square in every iteration, in pixels, int32."""
    sides = np.rint(np.sqrt(shares * height * width)).astype(np.int32)
    return np.clip(sides, min(smallest, height, width), min(height, width))


def bump(side: int, p: int) -> np.ndarray:
    """eta of appendix A: two half squares of opposite sign that fade from their centres, of length 1 in Lp, (side, side)."""
    half = side // 2
    pattern = np.concatenate([faded(half, side, p), -faded(side - half, side, p)]).astype(np.float32)
    return pattern / np.linalg.norm(pattern.ravel(), p)


def faded(height: int, width: int, p: int) -> np.ndarray:
    """Nested rectangles around the centre, each adding 1 / k^2 (in L1: 1 / k^4) for k = 1, 2, ...; of length 1 in Lp."""
    pattern = np.zeros((height, width))
    row, column = height // 2, width // 2
    for k in range(max(row, column) + 1):
        pattern[max(row - k, 0) : row + k + 1, max(column - k, 0) : column + k + 1] += 1 / (k + 1) ** (4 // p)
    return pattern / max(float(np.linalg.norm(pattern.ravel(), p)), TINY)


def padded(pattern: np.ndarray, side: int) -> np.ndarray:
    """(side, side) float32 with the pattern at the top left."""
    full = np.zeros((side, side), np.float32)
    full[: pattern.shape[0], : pattern.shape[1]] = pattern
    return full


SEARCHES: dict[str, Callable[..., tuple[Tensor, Proposal]]] = {"Linf": linf_search, "L2": bump_search, "L1": bump_search}
