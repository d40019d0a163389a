"""Natural adversaries (Zhao, Dua and Singh, 2018, ICLR, arXiv:1710.11342), by iterative stochastic search, algorithm 1."""

from __future__ import annotations

from typing import Any

import numpy as np

from advrun import engine
from advrun.attacks._gan import LossName
from advrun.attacks._generative import inverter, learn, painter
from advrun.engine import Rng, ops, repeat, select
from advrun.lesson import Lesson
from advrun.system import Blind, Decisions
from advrun.types import Count, Labels, Positive, Targets, Tensor

CONTRACT = {"settings": {"epochs": 2, "queries": 100, "latent": 4}, "surrogate": True}


def natural(
    model: Decisions,
    x: Tensor,
    y: Labels | Targets,
    rng: Rng,
    fitted: Any,
    *,
    queries: Count = 1000,
    samples: Count = 50,
    step_size: Positive = 0.3,
    latent: Count = 32,
    loss: LossName = "relativistic_average",
    epochs: Count = 10,
    images: Count = 10_000,
    learning_rate: Positive = 1e-3,
    width: Count = 16,
) -> Tensor:
    """Natural adversaries: the image of a GAN that the model gets wrong, and whose noise is nearest to the one that x is inverted to.

    Around z' = I(x) shells (r, r + dr] are searched, nearest first, at N random places each; the nearest success of the first shell that
    has any is taken. The images are new ones, of no small norm: they look like data, as far as the GAN does (its samples are in the
    report), and a person must judge whether they still show the class. GAN and inverter learn from training images alone.

    NOTE: the paper's GAN is Wasserstein's; here it has one of four losses.

    Args:
        queries: at most this many for each image.
        samples: N, places in each shell.
        step_size: dr, the shells' thickness; noise of `latent` numbers is about sqrt(latent) long.
        latent: numbers of the noise.
        loss: of the GAN: vanilla, least_squares, relativistic or relativistic_average.
        epochs: passes over the training images, for the GAN and again for the inverter.
        images: how many training images they learn from.
        learning_rate: of Adam.
        width: channels of the last layer but one.
    """
    shape, samples = tuple(x.shape[1:]), min(samples, queries)
    n = ops.shape(x)[0]
    start = engine.with_weights(inverter(shape, latent, width), fitted["inverter"], x)
    variants, ys = (samples, n), ops.tile(y, (samples,))

    def search(i: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        best, found = state
        draw = rng.fold(i)
        direction = draw.normal((*variants, latent))
        radius = step_size * (ops.cast(i, "float32") + draw.uniform(variants))
        z = start + radius[..., None] * direction / ops.sqrt(ops.sum(ops.square(direction), axis=-1, keepdims=True))
        made = engine.with_weights(painter(shape, latent, width), fitted["painter"], ops.reshape(z, (-1, latent)))
        wrong = ops.reshape(model.succeeds(made, ys, asked=ops.tile(~found, (samples,))), variants)
        nearest = ops.argmin(ops.where(wrong, radius, float("inf")), axis=0)
        chosen = ops.take(made, ops.cast(nearest, "int32") * n + ops.arange(n), axis=0)
        new = ops.logical_and(~found, ops.any(wrong, axis=0))
        return select(new, chosen, best), ops.logical_or(found, new)

    nothing = ops.zeros_like(y) > 0
    return repeat(search, queries // samples, (x, nothing), until=lambda state: ops.all(state[1]))[0]


def fit(
    model: Blind,
    x: np.ndarray,
    y: np.ndarray,
    rng: Rng,
    lesson: Lesson,
    *,
    queries: int,
    samples: int,
    step_size: float,
    latent: int,
    loss: str,
    epochs: int,
    images: int,
    learning_rate: float,
    width: int,
) -> Any:
    """Weights of the generator and of the inverter; the model is asked nothing."""
    seed = [int(number) & 0xFFFFFFFF for number in np.asarray(rng.key)]
    return learn(lesson, x[:images], seed, loss=loss, epochs=epochs, latent=latent, width=width, rate=learning_rate)
