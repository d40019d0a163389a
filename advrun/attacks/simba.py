"""Simple black-box attack (Guo, Gardner, You, Wilson and Weinberger, 2019, ICML, arXiv:1905.07121, algorithm 1)."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from advrun.classifier import Scores
from advrun.engine import Rng, ops, repeat_undecided, select
from advrun.geometry import L2, per_image
from advrun.losses import cross_entropy
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
    both_signs: bool = False,
) -> Tensor:
    """SimBA: for one direction q of an orthonormal basis after the other, in random order, x +- epsilon q, kept if p(y) falls.

    The minus is tried first; an image is done at its first success. After T steps |x_adv - x|_2 <= sqrt(T) epsilon (here less, since
    images are clipped to the box). When the basis is used up, it starts again. The images come back as far as they got.

    Args:
        queries: at most this many for each image.
        step_size: epsilon.
        basis: pixel, one value of one pixel; dct, one cosine wave in one channel.
        frequencies: of the dct basis (and of the image, from its top left), the share of the lowest in each direction (the paper's is 1/8).
        both_signs: ask about x - epsilon q and x + epsilon q, and take the better of the two if it helps, where the paper takes the
            first that does: two queries for each direction, and fewer directions that each go further.
    """
    _, height, width, channels = x.shape
    vertical, horizontal = (
        ops.convert_to_tensor(cosines(side) if basis == "dct" else np.eye(side, dtype=np.float32)) for side in (height, width)
    )
    used = [max(round(frequencies * side), 1) for side in (height, width)]
    dimension = used[0] * used[1] * channels

    def direction(number: Tensor) -> Tensor:
        """The basis images numbered `number` (m,), (m, h, w, c)."""
        row, column, channel = number // (used[1] * channels), number // channels % used[1], number % channels
        wave = ops.take(vertical, row, axis=0)[:, :, None] * ops.take(horizontal, column, axis=0)[:, None, :]
        return wave[..., None] * ops.one_hot(channel, channels)[:, None, None, :]

    def attempt(view: Scores, now: State, best: State, sign: float | Tensor) -> tuple[State, Tensor]:
        """`best`, or x_adv + sign epsilon q of `now` where that is better, for q its next direction; and where it is."""
        asked = best.lead <= 0
        q = direction(ops.take_along_axis(now.order, (now.trial // 2 % dimension)[:, None], axis=1)[:, 0])
        x_adv = ops.clip(now.x_adv + per_image(sign * step_size * ops.ones_like(now.loss), q) * q, 0.0, 1.0)
        logits = view.logits(x_adv, asked=asked)
        loss, lead = view.value(cross_entropy, logits, now.y), view.lead(logits, now.y)
        taken = ops.logical_and(asked, ops.logical_or(loss > best.loss, lead > 0))
        kept = (select(taken, new, old) for new, old in ((x_adv, best.x_adv), (loss, best.loss), (lead, best.lead)))
        return best._replace(**dict(zip(("x_adv", "loss", "lead"), kept, strict=True))), taken

    def step(_: Tensor, rows: Tensor, now: State) -> State:
        view = model.part(rows)
        if both_signs:
            minus, _ = attempt(view, now, now, -1.0)
            return attempt(view, now, minus, 1.0)[0]._replace(trial=now.trial + 2)
        best, taken = attempt(view, now, now, ops.where(ops.equal(now.trial % 2, 0), -1.0, 1.0))
        return best._replace(trial=ops.where(taken, (now.trial // 2 + 1) * 2, now.trial + 1))  # after a success the plus is skipped

    logits = model.logits(x)
    order = ops.argsort(rng.uniform((x.shape[0], dimension)), axis=1)
    start = State(x, y, order, x, model.value(cross_entropy, logits, y), model.lead(logits, y), ops.zeros_like(y))
    return repeat_undecided(step, (queries - 1) // (2 if both_signs else 1), start, decided=lambda now: now.lead > 0).x_adv


def cosines(side: int) -> np.ndarray:
    """The orthonormal DCT-II: row k is the cosine wave of frequency k, (side, side)."""
    k, i = np.arange(side)[:, None], np.arange(side)
    waves = np.cos(np.pi * (2 * i + 1) * k / (2 * side)) * np.sqrt(2 / side)
    waves[0] /= np.sqrt(2)
    return waves.astype(np.float32)
