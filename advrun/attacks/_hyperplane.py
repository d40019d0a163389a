"""Projections onto a hyperplane inside the image box (Croce and Hein, 2020, arXiv:1907.02044, section 2.2 and appendix A)."""

from __future__ import annotations

from collections.abc import Callable

from advrun.engine import flat, ops, repeat, select, shaped, total
from advrun.geometry import Ball, between
from advrun.types import Tensor

ENDLESS = 1e30


def to_hyperplane(norm: Ball, x: Tensor, w: Tensor, gap: Tensor) -> Tensor:
    """The smallest change d, in the norm, with <w, d> = gap and x + d in [0, 1]; exact.

    Where the box has no such point, d leads to its corner with the largest <w, d>.

    Args:
        norm: Linf, L2, L1 or L0.
        x, w: (n, h, w, c).
        gap: (n,), of any sign.
    """
    uphill = flat(w) * ops.sign(gap)[:, None]
    a = ops.abs(uphill)
    largest = ops.max(a, axis=1)
    largest = ops.where(largest > 0, largest, 1.0)  # gradients of confident models are small: their squares would underflow
    a, gap = a / largest[:, None], ops.abs(gap) / largest
    x = flat(x)
    room = select(uphill > 0, 1 - x, x)
    return shaped(ops.sign(uphill) * CHANGES[norm.name](a, room, gap), w)


def _water_level(pace: Tensor, a: Tensor, room: Tensor, gap: Tensor) -> Tensor:
    """Changes min(level * pace, room): the level at which they add up to the gap.

    Their sum grows with the level along a concave, piecewise linear curve, so Newton's method comes from below and ends on the root.
    """
    gain, speed = a * room, a * pace

    def newton(_: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        level, _ = state
        full = ops.cast(level[:, None] * pace >= room, "float32")
        rate = total(speed - full * speed)
        higher = (gap - total(full * gain)) / ops.where(rate > 0, rate, 1.0)
        return ops.where(rate > 0, ops.maximum(higher, level), ENDLESS), level

    start = ops.zeros_like(gap)
    level, _ = repeat(newton, a.shape[1], (start, start - 1), until=lambda state: ops.all(state[0] <= state[1]))
    return ops.minimum(level[:, None] * pace, room)


def _greedy(a: Tensor, room: Tensor, gap: Tensor) -> Tensor:
    """The whole room of the values with the largest |w|, and a part of the next."""
    gain, gap = a * room, gap[:, None]
    low, high = between(lambda level: total(ops.where(a > level, gain, 0.0))[:, None] >= gap, a)
    above, equal = ops.cast(a > high, "float32"), ops.cast(ops.logical_and(a > low, a <= high), "float32")
    gained, left = (total(mask * gain)[:, None] for mask in (above, equal))
    share = ops.clip((gap - gained) / ops.where(left > 0, left, 1.0), 0.0, 1.0)
    return room * (above + equal * share)


CHANGES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "Linf": lambda a, room, gap: _water_level(ops.sign(a), a, room, gap),
    "L2": lambda a, room, gap: _water_level(a, a, room, gap),
    "L1": _greedy,
    "L0": lambda a, room, gap: room * _greedy(a * room, ops.ones_like(room), gap),
}
"""How far each value moves, (|w|, room, gap) -> (n, d): in L0 a value counts by how much it gains over its whole room."""


def inner(a: Tensor, b: Tensor) -> Tensor:
    """<a, b> of each image, (n,)."""
    return total(a * b)
