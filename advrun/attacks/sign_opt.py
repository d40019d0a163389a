"""Sign-OPT (Cheng, Singh, Chen, Chen, Liu and Hsieh, 2020, ICLR, arXiv:1909.10773, algorithm 1)."""

from __future__ import annotations

from typing import NamedTuple

from advrun.attacks._decision import Ask, begin, bisect, bits
from advrun.engine import Rng, ops, repeat, repeat_undecided, select
from advrun.geometry import L2, l2_norm, per_image
from advrun.system import Decisions
from advrun.types import Count, Labels, Positive, Targets, Tensor

PRESETS = {"paper": {"samples": 200}}  # the authors' own code
BISECTION = bits(1e-5)
TRIES = 6
LOWER = tuple(0.001 * 2**k for k in range(9))
"""Shares by which a new direction is asked to lower g, one after the other until one fails."""


class State(NamedTuple):
    """For each image: itself, its label, the unit direction theta, g(theta), the step alpha, whether there is a start, and queries left."""

    x: Tensor
    y: Tensor
    theta: Tensor
    g: Tensor
    alpha: Tensor
    found: Tensor
    left: Tensor

    def image(self, theta: Tensor, length: Tensor) -> Tensor:
        return ops.clip(self.x + per_image(length, self.x) * theta, 0.0, 1.0)


def sign_opt(
    model: Decisions,
    x: Tensor,
    y: Labels | Targets,
    norm: L2,
    rng: Rng,
    starts: Tensor,
    *,
    queries: Count = 5000,
    samples: Count = 100,
    step_size: Positive = 0.2,
    radius: Positive = 0.001,
) -> Tensor:
    """Sign-OPT: descend g(theta), the distance to the boundary in direction theta, along sum_q sign(g(theta + eps u_q) - g(theta)) u_q.

    Each sign is one query: is x + g(theta) (theta + eps u) / |theta + eps u| still adversarial? Along the mean direction, of length 1, the
    step doubles while g falls, and else shrinks to a quarter, 6 tries in all. A step is asked whether it lowers g by 0.1 %, 0.2 %, 0.4 %
    and so on; g itself is found by bisection along the best of them. (The authors bisect at every step, from up to 15 tries each way.)
    It starts from one image of another class (the target), where the authors compare 100 directions.

    Args:
        queries: at most this many for each image.
        samples: Q, of each gradient (the authors' code: 200).
        step_size: eta, of the unit vector theta, at first.
        radius: eps, for unit vectors u.
    """

    def step(i: Tensor, rows: Tensor, now: State) -> State:
        ask, draw = Ask(model.part(rows), now.y), rng.part(rows).fold(i)

        def add(q: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            total, left = state
            u = unit(draw.fold(q).normal(ops.shape(now.x)))
            success, asked, left = ask(now.image(unit(now.theta + radius * u), now.g), now.found, left)
            sign = ops.where(asked, ops.where(success, -1.0, 1.0), 0.0)  # still adversarial: the boundary is nearer
            return total + per_image(sign, u) * u, left

        gradient, left = repeat(add, samples, (ops.zeros_like(now.x), now.left))
        gradient = unit(gradient)

        def search(_: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            theta, g, alpha, improved, done, left = state
            trial = unit(now.theta - per_image(alpha, now.theta) * gradient)

            def sink(k: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
                lowest, falling, left = state
                length = (1 - ops.convert_to_tensor(LOWER)[k]) * g
                success, _, left = ask(now.image(trial, length), falling, left)
                return select(success, length, lowest), success, left

            falling = ops.logical_and(now.found, ops.logical_not(done))
            lowest, _, left = repeat(sink, len(LOWER), (g, falling, left), until=lambda state: ops.logical_not(ops.any(state[1])))
            lower = lowest < g
            # Doubled until g falls no more; else cut down until it falls.
            done = ops.logical_or(done, ops.where(improved, ops.logical_not(lower), ops.logical_and(lower, alpha < now.alpha)))
            following = ops.where(lower, 2 * alpha, ops.where(improved, alpha / 2, alpha / 4))
            moved = select(lower, trial, theta), lowest, select(done, alpha, following)
            return *moved, ops.logical_or(improved, lower), done, left

        never = ops.zeros_like(now.found)
        theta, g, alpha, improved, _, left = repeat(search, TRIES, (now.theta, now.g, now.alpha, never, never, left))
        g, left = bisect(ask, lambda length: now.image(theta, length), g, improved, left, BISECTION)
        return now._replace(theta=theta, g=g, alpha=ops.clip(alpha, 1e-3, 1.0), left=left)

    first = begin(model, x, y, starts, rng.fold(-1), queries)
    change = first.x_adv - x
    length = l2_norm(change)
    start = State(x, y, unit(change), length, ops.full(x.shape[:1], step_size, dtype="float32"), first.found, first.left)
    g, left = bisect(Ask(model, y), lambda length: start.image(start.theta, length), length, first.found, first.left, BISECTION)
    start = start._replace(g=g, left=left)
    end = repeat_undecided(
        step, queries // samples + 1, start, decided=lambda now: ops.logical_not(ops.logical_and(now.found, now.left > 0))
    )
    return select(end.found, end.image(end.theta, end.g), x)


def unit(images: Tensor) -> Tensor:
    """Of L2 length 1."""
    return L2(1.0).steepest(images)
