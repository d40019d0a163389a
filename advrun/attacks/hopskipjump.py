"""HopSkipJump (Chen, Jordan and Wainwright, 2020, IEEE S&P, arXiv:1904.02144, algorithm 2)."""

from __future__ import annotations

import math

import numpy as np

from advrun.attacks._decision import Ask, Walk, begin, bits, closest, normal_direction, to_boundary
from advrun.engine import Rng, ops, repeat, repeat_undecided, select
from advrun.geometry import L2, Linf, l2_norm, per_image
from advrun.system import Decisions
from advrun.types import Count, Labels, Targets, Tensor

PRESETS = {"paper": {"queries": 25_000}}
HALVINGS = 16
PRECISION = {"L2": 1.5, "Linf": 2}
"""theta, the precision of the bisection, is d to the power of minus this."""


def hopskipjump(
    model: Decisions,
    x: Tensor,
    y: Labels | Targets,
    norm: L2 | Linf,
    rng: Rng,
    starts: Tensor,
    *,
    queries: Count = 5000,
    initial_samples: Count = 100,
    max_samples: Count = 10_000,
) -> Tensor:
    """HopSkipJump: to the boundary by bisection, there the normal from B_t = B_0 sqrt(t) random points, a step along it, and again.

    The step is |x_t - x*|_p / sqrt(t), halved until it succeeds. The points lie delta_t = |x_t - x*|_2 / d from x_t (section IV.B; in Linf
    too, where the paper's delta_t is sqrt(d) times smaller, below what float32 resolves in large images), at first 0.1, as in the authors'
    code. Bisection goes on for at most 20 halvings. It starts from an image of another class (the target), where the paper starts from
    noise. The closest boundary point is kept; what is never adversarial comes back clean.

    Args:
        queries: at most this many for each image.
        initial_samples: B_0, of the first normal.
        max_samples: of any normal.
    """
    dimension = math.prod(x.shape[1:])
    precision = bits(1 / dimension ** PRECISION[norm.name])
    precision = min(precision, 20)  # float32 resolves no more

    def step(i: Tensor, rows: Tensor, now: Walk) -> Walk:
        ask, t = Ask(model.part(rows), now.y), ops.cast(i + 1, "float32")
        now = to_boundary(ask, norm, now, now.going, precision)
        draw, far = rng.part(rows).fold(i), norm.distance(now.x_adv, now.x)

        def direction(b: Tensor) -> Tensor:
            u = draw.fold(b).normal(ops.shape(now.x))
            return u / per_image(ops.maximum(l2_norm(u), 1e-12), u)

        samples = ops.cast(ops.minimum(initial_samples * ops.sqrt(t), max_samples), "int32")
        radius = ops.where(ops.equal(i, 0), 0.1, l2_norm(now.x_adv - now.x) / dimension)
        normal, left = normal_direction(ask, now, direction, radius, samples)
        along = norm.unit(normal)

        def halve(_: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            length, reached, done, left = state
            trial = ops.clip(now.x_adv + per_image(length, now.x) * along, 0.0, 1.0)
            success, _, left = ask(trial, ops.logical_and(now.found, ops.logical_not(done)), left)
            return length / 2, select(success, trial, reached), ops.logical_or(done, success), left

        state = (far / ops.sqrt(t), now.x_adv, ops.logical_not(now.found), left)
        _, reached, _, left = repeat(halve, HALVINGS, state, until=lambda state: ops.all(state[2]))
        # A step that cannot be brought back to the boundary is not taken: it would end farther off.
        reached = select(left > precision, reached, now.x_adv)
        return now._replace(x_adv=reached, left=left)

    start = begin(model, x, y, starts, rng.fold(-1), queries)
    end = repeat_undecided(step, rounds(queries, initial_samples, max_samples), start, decided=lambda now: ops.logical_not(now.going))
    return closest(norm, end)


def rounds(queries: int, initial: int, most: int) -> int:
    """Iterations that certainly spend the budget: the samples alone of round t are initial * sqrt(t), but at most `most`."""
    samples = np.minimum(initial * np.sqrt(np.arange(1, queries + 1)), most).astype(int)
    return int(np.searchsorted(np.cumsum(samples), queries)) + 2
