"""One pixel attack (Su, Vargas and Sakurai, 2019, doi:10.1109/TEVC.2019.2890858, arXiv:1710.08864, section III.B)."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from advrun.engine import Rng, ops, repeat, repeat_undecided, select
from advrun.losses import cross_entropy
from advrun.system import Scores
from advrun.types import Count, Labels, Positive, Targets, Tensor

GENERATIONS = 10
"""So many at least: the population is smaller where the queries last for fewer, down to so many candidates."""
TOGETHER, EACH = 512, 8
"""Candidates that the model sees at once: at most so many, of one image at most so many; never fewer than the batch has images."""


class State(NamedTuple):
    """For each image: itself, its label, the population (n, p, pixels, 2 + channels), its losses (n, p), the best image and its lead."""

    x: Tensor
    y: Tensor
    population: Tensor
    loss: Tensor
    x_best: Tensor
    best_loss: Tensor
    lead: Tensor


def one_pixel(
    model: Scores,
    x: Tensor,
    y: Labels | Targets,
    rng: Rng,
    *,
    queries: Count = 40_000,
    pixels: Count = 1,
    population: Count = 400,
    scale: Positive = 0.5,
    base: Literal["random", "best"] = "random",
) -> Tensor:
    """One pixel: differential evolution over the place and the colour of a pixel, to make p(y) small.

    A child is a + F (b - c) of three random parents (drawn with replacement; the paper's differ), without crossover, and replaces the
    parent of its own number if it does better. An image is done at the end of the generation in which it succeeded; it comes back with
    its best candidate.

    Args:
        queries: at most this many for each image; generations = queries / population, the first one drawn at random.
        pixels: how many may change.
        population: candidates of each generation; fewer where the queries do not last for ten generations.
        scale: F.
        base: a, a random parent (the paper) or the best one, which goes farther in few generations (SciPy's, and so torchattacks').
    """
    n, height, width, channels = x.shape
    members = min(population, queries, max(queries // GENERATIONS, GENERATIONS))
    divisors = np.array([count for count in range(1, members + 1) if members % count == 0], np.int32)

    def painted(x: Tensor, candidate: Tensor) -> Tensor:
        """x with the pixels of the candidates (m, pixels, 2 + channels) set."""
        m = ops.shape(x)[0]
        limits = ops.convert_to_tensor([height - 1.0, width - 1.0])
        place = ops.cast(ops.clip(ops.floor(candidate[..., :2] * (limits + 1)), 0.0, limits), "int32")
        image = ops.broadcast_to(ops.arange(m)[:, None, None], (m, pixels, 1))
        where = ops.reshape(ops.concatenate([image, place], axis=-1), (m * pixels, 3))
        return ops.scatter_update(x, where, ops.reshape(ops.clip(candidate[..., 2:], 0.0, 1.0), (m * pixels, channels)))

    def generation(i: Tensor, rows: Tensor, now: State) -> State:
        view, undecided, draw, m = model.part(rows), now.lead <= 0, rng.part(rows).fold(i), ops.shape(now.x)[0]
        parents = [ops.take_along_axis(now.population, draw.integers((m, members), 0, members)[:, :, None, None], axis=1) for _ in range(3)]
        if base == "best":
            parents[0] = ops.take_along_axis(now.population, ops.argmax(now.loss, axis=1)[:, None, None, None], axis=1)
        bred = ops.clip(parents[0] + scale * (parents[1] - parents[2]), 0.0, 1.0)
        first = ops.concatenate(
            [draw.uniform((m, members, pixels, 2)), ops.clip(0.5 + draw.normal((m, members, pixels, channels)) / 2, 0.0, 1.0)], axis=-1
        )
        children = ops.where(i > 0, bred, first)

        room = max(min(TOGETHER, EACH * n), n) // m
        together = divisors[divisors <= room].max() if isinstance(room, int) else ops.max(ops.where(divisors <= room, divisors, 1))
        rounds = members // together
        candidates = ops.reshape(ops.moveaxis(children, 1, 0), (rounds, together * m, pixels, 2 + channels))
        x, y, asked = (ops.tile(each, (together, *[1] * (len(each.shape) - 1))) for each in (now.x, now.y, undecided))

        def judge(j: Tensor, judged: Tensor) -> Tensor:
            logits = view.logits(painted(x, candidates[j]), asked=asked)
            found = ops.stack([view.value(cross_entropy, logits, y), view.lead(logits, y)])
            return ops.where(ops.equal(ops.arange(rounds), j)[:, None], found[:, None], judged)

        judged = repeat(judge, rounds, ops.zeros((2, rounds, together * m)))
        losses, leads = ops.unstack(ops.moveaxis(ops.reshape(judged, (2, members, -1)), 1, 2))
        # A success counts more than any loss, and the clearer one more than the other.
        fittest = ops.argmax(ops.where(ops.any(leads > 0, axis=1, keepdims=True), leads, losses), axis=1, keepdims=True)
        loss, lead = (ops.take_along_axis(each, fittest, axis=1)[:, 0] for each in (losses, leads))
        better = ops.logical_and(undecided, ops.logical_or(loss > now.best_loss, lead > 0))
        trial = painted(now.x, ops.take_along_axis(children, fittest[..., None, None], axis=1)[:, 0])
        best = (select(better, new, old) for new, old in ((trial, now.x_best), (loss, now.best_loss), (lead, now.lead)))
        kept = ops.logical_or(losses >= now.loss, ops.equal(i, 0))
        population = ops.where(kept[:, :, None, None], children, now.population)
        return State(now.x, now.y, population, ops.where(kept, losses, now.loss), *best)

    nothing = ops.full((n,), -float("inf"), dtype="float32")
    start = State(x, y, ops.zeros((n, members, pixels, 2 + channels)), ops.zeros((n, members)), x, nothing, nothing)
    return repeat_undecided(generation, queries // members, start, decided=lambda now: now.lead > 0).x_best
