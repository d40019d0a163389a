"""The weakest degradation that fools the model (Rauber, Brendel and Bethge, 2017, Foolbox, arXiv:1707.04131)."""

from __future__ import annotations

from typing import Literal, NamedTuple

from advrun.attacks._blur import gaussian_blur
from advrun.engine import Rng, ops, repeat, repeat_undecided, select
from advrun.geometry import L0, L2, per_image
from advrun.system import Decisions
from advrun.types import Cost, Count, Labels, Targets, Tensor


class Scan(NamedTuple):
    """For each image: itself, its label, its random numbers, and the weakest strength that works so far, infinite before."""

    x: Tensor
    y: Tensor
    places: Tensor
    values: Tensor
    strength: Tensor


def degradation(
    model: Decisions,
    x: Tensor,
    y: Labels | Targets,
    norm: L2 | L0,
    rng: Rng,
    *,
    kind: Literal["salt_and_pepper", "contrast", "blur"] = "salt_and_pepper",
    levels: Count = 100,
    bisections: Count = 10,
) -> Tensor:
    """Salt-and-pepper noise, loss of contrast, or Gaussian blur, as weak as still fools the model.

    Strengths rise from 1 / levels to 1; from the first that works, bisection goes down to where it ceases to. Strength 1 is: every
    value black or white, plain grey, or a blur as wide (sigma) as a quarter of the image. What is never fooled comes back clean.

    Args:
        kind: the degradation.
        levels: strengths tried one after the other.
        bisections: halvings of the last interval.
    """

    def degraded(state: Scan, strength: Tensor) -> Tensor:
        share = per_image(strength, state.x)
        if kind == "contrast":
            return state.x + share * (0.5 - state.x)
        if kind == "blur":
            return gaussian_blur(state.x, strength * max(x.shape[1:3]) / 4, widest=max(x.shape[1:3]) / 4)
        return ops.where(state.places < share, state.values, state.x)

    def climb(i: Tensor, rows: Tensor, state: Scan) -> Scan:
        strength = ops.full_like(state.strength, 1.0) * ops.cast(i + 1, "float32") / levels
        undecided = state.strength > 1
        works = model.part(rows).succeeds(degraded(state, strength), state.y, asked=undecided)
        return state._replace(strength=select(ops.logical_and(undecided, works), strength, state.strength))

    places, values = rng.uniform(x.shape), ops.cast(rng.uniform(x.shape) < 0.5, "float32")
    start = Scan(x, y, places, values, ops.where(model.succeeds(x, y), 0.0, 2.0))
    end = repeat_undecided(climb, levels, start, decided=lambda state: state.strength <= 1)
    found = end.strength <= 1

    def halve(_: Tensor, interval: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        low, high = interval
        middle = (low + high) / 2
        works = model.succeeds(degraded(end, middle), y, asked=found)
        return select(works, low, middle), select(works, middle, high)

    _, strength = repeat(halve, bisections, (ops.maximum(end.strength - 1 / levels, 0.0), end.strength))
    return select(found, degraded(end, strength), x)


def cost(levels: int, bisections: int) -> Cost:
    """One query for the image itself, and one for each strength."""
    return Cost(queries=1 + levels + bisections)
