"""Zeroth order optimisation (Chen, Zhang, Sharma, Yi and Hsieh, 2017, AISec, arXiv:1708.03999, algorithms 1 and 2)."""

from __future__ import annotations

import math
from typing import NamedTuple

from advrun.attacks._adam import Adam
from advrun.attacks._best import Best
from advrun.attacks._search import Search, search_c
from advrun.engine import Rng, ops, repeat, select, shaped
from advrun.geometry import L2
from advrun.system import Scores
from advrun.types import Count, Labels, NonNegative, Positive, Targets, Tensor

CONTRACT = {"settings": {"queries": 3000}}

PRESETS = {"paper": {"queries": 9 * (1000 * 257 + 1), "search_steps": 9, "initial_c": 0.01}}


class Descent(NamedTuple):
    """The change delta (n, d), its Adam and the step count of each coordinate, successes (n,), and the closest success."""

    delta: Tensor
    adam: Adam
    times: Tensor
    success: Tensor
    best: Best


def zoo(
    model: Scores,
    x: Tensor,
    y: Labels | Targets,
    norm: L2,
    rng: Rng,
    *,
    queries: Count = 30_000,
    search_steps: Count = 2,
    initial_c: Positive = 1.0,
    coordinates: Count = 128,
    step_size: Positive = 0.01,
    delta: Positive = 1e-4,
    confidence: NonNegative = 0.0,
) -> Tensor:
    """ZOO-ADAM: Carlini and Wagner's L2 objective |d|^2 + c f(x + d), minimised coordinate by coordinate from scores.

    The derivative of a coordinate is (f(x + h e_i) - f(x - h e_i)) / (2 h), two queries, with f = max(Z_y - max Z_i, -kappa) on
    log-probabilities, whose differences are those of the logits; every coordinate has an Adam of its own. Coordinates are drawn
    uniformly, without the paper's shrinking of the space and importance sampling, which are for large images.

    Args:
        queries: at most this many for each image, shared evenly by the search steps.
        search_steps: binary search steps over c.
        initial_c: first c of the search.
        coordinates: how many of them move in one step, each costing two queries; fewer where the queries last for no step.
        step_size: Adam's learning rate, in pixel units.
        delta: h, how far from the iterate the scores are asked.
        confidence: kappa, by how much the wrong class must lead, in logits.
    """
    n, size = x.shape[0], math.prod(x.shape[1:])
    searches = max(min(search_steps, queries // 4), 1)  # a step takes four queries at least
    each = queries // searches
    moving = max(min(coordinates, size, (each - 2) // 2), 1)
    steps = (each - 1) // (2 * moving + 1)
    flat = ops.reshape(x, (n, size))

    def look(pixels: Tensor) -> tuple[Tensor, Tensor]:
        """The images (k * n, h, w, c), and how far they are ahead."""
        images = shaped(ops.clip(pixels, 0.0, 1.0), x)
        return images, model.lead(model.logits(images), ops.tile(y, (images.shape[0] // n,)))

    def remember(now: Descent) -> Descent:
        x_adv, lead = look(flat + now.delta)
        success = lead > confidence
        return now._replace(best=now.best.closer(x_adv, success, norm.distance(x_adv, x)), success=ops.logical_or(now.success, success))

    def minimise(step: Tensor, search: Search, best: Best) -> tuple[Tensor, Best]:
        draws = rng.fold(step)

        def descend(i: Tensor, now: Descent) -> Descent:
            now, x_adv = remember(now), flat + now.delta
            draw = draws.fold(i).uniform((n, size))
            score, chosen = ops.top_k(draw, moving)
            moved = ops.cast(draw >= score[:, -1:], "float32")

            def derivative(j: Tensor, slopes: Tensor) -> Tensor:
                e = ops.one_hot(ops.take(chosen, j, axis=1), size)
                f = -ops.maximum(-look(ops.concatenate([x_adv + delta * e, x_adv - delta * e]))[1], -confidence)
                return slopes + e * ((f[:n] - f[n:]) / (2 * delta))[:, None]

            slope = 2 * now.delta - search.c[:, None] * repeat(derivative, moving, ops.zeros_like(flat))
            times = now.times + moved
            adam = Adam(*(select(moved > 0, new, old) for new, old in zip(now.adam.update(slope), now.adam, strict=True)))
            change = ops.clip(x_adv - moved * step_size * adam.step(ops.maximum(times, 1.0)), 0.0, 1.0) - flat
            return Descent(change, adam, times, now.success, now.best)

        zeros = ops.zeros_like(flat)
        start = Descent(zeros, Adam.start(zeros), zeros, ops.zeros((n,), dtype="bool"), best)
        end = remember(repeat(descend, steps, start))
        return end.success, end.best

    return search_c(minimise, x, searches, initial_c)
