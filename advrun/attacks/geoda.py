"""GeoDA (Rahmati, Moosavi-Dezfooli, Frossard and Dai, 2020, CVPR, arXiv:2003.06468, algorithm 2)."""

from __future__ import annotations

import numpy as np

from advrun.attacks._decision import Ask, Walk, begin, bits, closest, normal_direction, to_boundary
from advrun.attacks.simba import cosines
from advrun.classifier import Decisions
from advrun.engine import Rng, ops, repeat, repeat_undecided, select
from advrun.geometry import L2, Linf, per_image
from advrun.types import Count, Fraction, Labels, Positive, Targets, Tensor

PRECISION = bits(1e-4)
FAR = 12


def geoda(
    model: Decisions,
    x: Tensor,
    y: Labels | Targets,
    norm: L2 | Linf,
    rng: Rng,
    starts: Tensor,
    *,
    queries: Count = 5000,
    rounds: Count = 6,
    frequencies: Fraction = 1 / 3,
    sigma: Positive = 0.002,
) -> Tensor:
    """GeoDA: estimate the normal w of the boundary at x_{t-1}, then go from the clean x along w (sign(w) in Linf) to the boundary.

    Round t gets lambda^(-2t/3) of the queries, lambda = 0.6 (section 4.3). Normal directions are drawn among the lowest frequencies of
    the cosine transform. The closest boundary point is kept; what is never adversarial comes back clean.

    Args:
        queries: at most this many for each image.
        rounds: T.
        frequencies: the share of the lowest frequencies in each direction (the paper's is 75 of 224).
        sigma: how far from the boundary point the samples are, in each pixel.
    """
    _, height, width, _ = x.shape
    low = [ops.convert_to_tensor(cosines(side)[: max(round(frequencies * side), 1)]) for side in (height, width)]
    samples = ops.convert_to_tensor(share_out(queries, rounds))

    def direction(rng: Rng, images: Tensor) -> Tensor:
        """Normal noise of those frequencies, of variance 1 in each pixel."""
        noise = rng.normal((images.shape[0], low[0].shape[0], low[1].shape[0], images.shape[3]))
        waves = ops.einsum("nuvc,uh,vw->nhwc", noise, *low)
        return waves * (height * width / (low[0].shape[0] * low[1].shape[0])) ** 0.5

    def step(i: Tensor, rows: Tensor, now: Walk) -> Walk:
        ask, draw = Ask(model.part(rows), now.y), rng.fold(i)
        radius = ops.full(now.y.shape, sigma, dtype="float32")
        normal, left = normal_direction(ask, now, lambda b: direction(draw.fold(b), now.x), radius, ops.take(samples, i))
        along, far = type(norm)(1.0).steepest(normal), norm.distance(now.x_adv, now.x)

        def farther(_: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            length, reached, done, left = state
            trial = ops.clip(now.x + per_image(length, now.x) * along, 0.0, 1.0)
            success, _, left = ask(trial, ops.logical_and(now.found, ops.logical_not(done)), left)
            return length * 1.5, select(success, trial, reached), ops.logical_or(done, success), left

        state = (far / 2, now.x_adv, ops.logical_not(now.found), left)
        _, reached, _, left = repeat(farther, FAR, state, until=lambda state: ops.all(state[2]))
        moved = now._replace(x_adv=reached, left=left)
        return to_boundary(ask, norm, moved, moved.going, PRECISION)

    start = begin(model, x, y, starts, rng.fold(-1), queries)
    start = to_boundary(Ask(model, y), norm, start, start.going, PRECISION)
    return closest(norm, repeat_undecided(step, rounds, start, decided=lambda now: ops.logical_not(now.going)))


def share_out(queries: int, rounds: int) -> np.ndarray:
    """Samples of each round, (rounds,) int32: proportional to lambda^(-2t/3), what the searches need set aside."""
    weights = 0.6 ** (-2 / 3 * np.arange(rounds))
    free = max(queries - 1 - PRECISION - rounds * (PRECISION + FAR // 2), 0)
    return np.maximum(weights / weights.sum() * free, 1).astype(np.int32)
