"""GeoDA (Rahmati, Moosavi-Dezfooli, Frossard and Dai, 2020, CVPR, arXiv:2003.06468, algorithm 2)."""

from __future__ import annotations

import numpy as np

from advrun.attacks._decision import Ask, Walk, begin, bits, closest, normal_direction, to_boundary
from advrun.attacks.simba import cosines
from advrun.engine import Rng, ops, repeat, repeat_undecided, select
from advrun.geometry import L2, Linf, per_image
from advrun.system import Decisions
from advrun.types import Count, Fraction, Labels, Positive, Targets, Tensor

CONTRACT = {"boundary": {"frequencies": 1.0}}  # it looks at low ones by default; the weights of the linear victim are noise

PRESETS = {"paper": {"frequencies": 75 / 224, "sigma": 0.0002}}  # the authors' own code
PRECISION = bits(1e-4)
FAR = 12
LEAST = 50
"""Queries that the first normal should have: rounds are left out before it has fewer."""


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
    the cosine transform; w is the sum of the estimates of all rounds so far, as in the authors' code, and of each estimate the mean
    answer is no part, as in HopSkipJump. It starts from an image of another class (the target), where the paper starts from noise. The
    closest boundary point is kept; what is never adversarial comes back clean.

    Args:
        queries: at most this many for each image.
        rounds: T; of few queries fewer, so that the first has 50 for its normal.
        frequencies: the share of the lowest frequencies in each direction (the paper's is 75 of 224).
        sigma: how far from the boundary point the samples are, in each pixel (the authors' code: 0.0002).
    """
    _, height, width, _ = x.shape
    low = [ops.convert_to_tensor(cosines(side)[: max(round(frequencies * side), 1)]) for side in (height, width)]
    shares = share_out(queries, rounds)
    samples = ops.convert_to_tensor(shares)

    def direction(rng: Rng, images: Tensor) -> Tensor:
        """Normal noise of those frequencies, of variance 1 in each pixel."""
        noise = rng.normal((ops.shape(images)[0], low[0].shape[0], low[1].shape[0], images.shape[3]))
        waves = ops.einsum("nuvc,uh,vw->nhwc", noise, *low)
        return waves * (height * width / (low[0].shape[0] * low[1].shape[0])) ** 0.5

    def step(i: Tensor, rows: Tensor, state: tuple[Walk, Tensor]) -> tuple[Walk, Tensor]:
        now, normal = state
        ask, draw = Ask(model.part(rows), now.y), rng.part(rows).fold(i)
        radius = ops.full_like(now.y, sigma, dtype="float32")
        found, left = normal_direction(ask, now, lambda b: direction(draw.fold(b), now.x), radius, ops.take(samples, i))
        normal = normal + found / ops.cast(ops.take(samples, i), "float32")
        along, far = norm.unit(normal), norm.distance(now.x_adv, now.x)

        def farther(_: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            length, reached, done, left = state
            trial = ops.clip(now.x + per_image(length, now.x) * along, 0.0, 1.0)
            success, _, left = ask(trial, ops.logical_and(now.found, ops.logical_not(done)), left)
            return length * 1.5, select(success, trial, reached), ops.logical_or(done, success), left

        first = (far / 2, now.x_adv, ops.logical_not(now.found), left)
        _, reached, _, left = repeat(farther, FAR, first, until=lambda state: ops.all(state[2]))
        moved = now._replace(x_adv=reached, left=left)
        return to_boundary(ask, norm, moved, moved.going, PRECISION), normal

    start = begin(model, x, y, starts, rng.fold(-1), queries)
    start = to_boundary(Ask(model, y), norm, start, start.going, PRECISION)
    state = start, ops.zeros_like(x)
    return closest(norm, repeat_undecided(step, len(shares), state, decided=lambda state: ops.logical_not(state[0].going))[0])


def share_out(queries: int, rounds: int) -> np.ndarray:
    """Samples of each round, (at most `rounds`,) int32: proportional to lambda^(-2t/3), what the searches need set aside."""
    chosen = np.empty(0, np.int32)
    for count in range(1, rounds + 1):
        weights = 0.6 ** (-2 / 3 * np.arange(count))
        free = max(queries - 1 - PRECISION - count * (PRECISION + FAR // 2), 0)
        samples = np.maximum(weights / weights.sum() * free, 1).astype(np.int32)
        if count > 1 and samples[0] < LEAST:
            break
        chosen = samples
    return chosen
