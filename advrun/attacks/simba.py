"""Simple black-box attack (Guo, Gardner, You, Wilson and Weinberger, 2019, ICML, arXiv:1905.07121, algorithm 1)."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from advrun.engine import Rng, ops, repeat_undecided, select
from advrun.geometry import L2, per_image
from advrun.losses import cross_entropy
from advrun.system import Scores
from advrun.types import Count, Fraction, Labels, Positive, Targets, Tensor


class State(NamedTuple):
    """For each image: itself, its label, the order of its directions, the image now, its loss and lead, and the number of its next try."""

    x: Tensor
    y: Tensor
    order: Tensor
    x_adv: Tensor
    loss: Tensor
    lead: Tensor
    trial: Tensor


def simba(
    model: Scores,
    x: Tensor,
    y: Labels | Targets,
    norm: L2,
    rng: Rng,
    *,
    queries: Count = 5000,
    step_size: Positive = 0.2,
    basis: Literal["pixel", "dct"] = "pixel",
    frequencies: Fraction = 1.0,
) -> Tensor:
    """SimBA: for one direction q of an orthonormal basis after the other, in random order, x +- epsilon q, kept if p(y) falls.

    The minus is tried first; an image is done at its first success. After T steps |x_adv - x|_2 <= sqrt(T) epsilon (here less, since
    images are clipped to the box). When the basis is used up, it starts again. The images come back as far as they got.

    Args:
        queries: at most this many for each image.
        step_size: epsilon.
        basis: pixel, one value of one pixel; dct, one cosine wave in one channel.
        frequencies: of the dct basis (of the pixel basis, from the top left), the share in each direction that comes first (the paper's
            is 1/8); then, as in the authors' code, the others follow from low to high.
    """
    _, height, width, channels = x.shape
    vertical, horizontal = (
        ops.convert_to_tensor(cosines(side) if basis == "dct" else np.eye(side, dtype=np.float32)) for side in (height, width)
    )
    ring = rings(height, width, frequencies).repeat(channels).astype(np.float32)
    dimension = min(len(ring), queries)

    def direction(number: Tensor) -> Tensor:
        """The basis images numbered `number` (m,), (m, h, w, c)."""
        row, column, channel = number // (width * channels), number // channels % width, number % channels
        wave = ops.take(vertical, row, axis=0)[:, :, None] * ops.take(horizontal, column, axis=0)[:, None, :]
        return wave[..., None] * ops.one_hot(channel, channels)[:, None, None, :]

    def step(_: Tensor, rows: Tensor, now: State) -> State:
        view, undecided = model.part(rows), now.lead <= 0
        q = direction(ops.take_along_axis(now.order, (now.trial // 2 % dimension)[:, None], axis=1)[:, 0])
        sign = ops.where(ops.equal(now.trial % 2, 0), -step_size, step_size)
        trial = ops.clip(now.x_adv + per_image(sign, q) * q, 0.0, 1.0)
        logits = view.logits(trial, asked=undecided)
        loss, lead = view.value(cross_entropy, logits, now.y), view.lead(logits, now.y)
        taken = ops.logical_and(undecided, ops.logical_or(loss > now.loss, lead > 0))
        # After a success the plus is skipped.
        following = ops.where(taken, (now.trial // 2 + 1) * 2, now.trial + 1)
        return now._replace(
            x_adv=select(taken, trial, now.x_adv),
            loss=select(taken, loss, now.loss),
            lead=select(taken, lead, now.lead),
            trial=following,
        )

    logits = model.logits(x)
    order = ops.argsort(ring + rng.uniform((x.shape[0], len(ring))), axis=1)[:, :dimension]
    start = State(x, y, order, x, model.value(cross_entropy, logits, y), model.lead(logits, y), ops.zeros_like(y))
    return repeat_undecided(step, queries - 1, start, decided=lambda now: now.lead > 0).x_adv


def rings(height: int, width: int, first: float) -> np.ndarray:
    """(h * w,) whole numbers, row by row: 0 for the share `first` of rows and columns, then 1, 2, ... for each further one."""
    beyond = (np.maximum(np.arange(side) + 1 - max(round(first * side), 1), 0) for side in (height, width))
    return np.maximum(*np.meshgrid(*beyond, indexing="ij")).ravel()


def cosines(side: int) -> np.ndarray:
    """The orthonormal DCT-II: row k is the cosine wave of frequency k, (side, side)."""
    k, i = np.arange(side)[:, None], np.arange(side)
    waves = np.cos(np.pi * (2 * i + 1) * k / (2 * side)) * np.sqrt(2 / side)
    waves[0] /= np.sqrt(2)
    return waves.astype(np.float32)
