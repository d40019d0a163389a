"""A GAN of one's own images, noise -> image, with an inverter, image -> noise (Zhao, Dua and Singh, 2018, arXiv:1710.11342, section 2)."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from advrun import dcgan, engine
from advrun.attacks._advgan import BATCH, MOMENTUM, SHOWN, discriminator
from advrun.attacks._gan import GAN_LOSSES, doubts, told_apart, variety
from advrun.attacks._surrogate import reset
from advrun.engine import Game, Rng, TrainStep, keras, ops
from advrun.lesson import Lesson
from advrun.train import Fit
from advrun.types import Tensor

DIVERGENCE = 0.1
"""The paper's lambda: how much the inverter shall give the noise back that an image was made of."""
SAMPLES = 64
"""Images that are made to see how much they vary."""


@cache
def painter(image_shape: tuple[int, ...], latent: int, width: int) -> Any:
    """The one generator, noise (n, latent) -> images (n, h, w, c) in [0, 1], for compiled code to refer to."""
    return engine.outside(lambda: dcgan.painter(image_shape, latent, width))


@cache
def inverter(image_shape: tuple[int, ...], latent: int, width: int) -> Any:
    """Images -> noise."""

    def build() -> Any:
        layers = keras.layers
        x = images = keras.Input(image_shape)
        for filters in (2 * width, 4 * width):
            x = layers.LeakyReLU(0.2)(layers.Conv2D(filters, 4, strides=2, padding="same")(x))
        x = layers.LeakyReLU(0.2)(layers.Dense(8 * latent)(layers.Flatten()(x)))
        return keras.Model(images, layers.Dense(latent, dtype="float32")(x), name="inverter")

    return engine.outside(build)


def gan(
    x: np.ndarray,
    y: np.ndarray,
    rng: Rng,
    lesson: Lesson,
    *,
    loss: str,
    epochs: int,
    images: int,
    latent: int,
    width: int,
    learning_rate: float,
) -> Any:
    """Train GAN and inverter on images x (n, h, w, c) float32, one after the other; their weights, by name.

    The `fit` of attacks that search in noise: it sees no model, so that those who ask for the same share it. What the GAN painted after
    each epoch, of the same noise, is kept among the lesson's pictures.
    """
    x, rate = x[:images], learning_rate
    seed = [int(number) & 0xFFFFFFFF for number in np.asarray(rng.key)]
    shape = tuple(x.shape[1:])
    paint, judge, invert = painter(shape, latent, width), discriminator(shape, width), inverter(shape, latent, width)
    for i, network in enumerate((paint, judge, invert)):
        reset(network, [*seed, i])

    def generate(x: Tensor, y: Tensor, rng: Rng, training: bool) -> dict[str, Tensor]:
        made = paint(rng.normal((ops.shape(x)[0], latent)), training=training)
        return {"loss": GAN_LOSSES[loss](scores(judge, x), scores(judge, made))[1]}

    def judged(x: Tensor, y: Tensor, rng: Rng, training: bool) -> dict[str, Tensor]:
        made = ops.stop_gradient(paint(rng.normal((ops.shape(x)[0], latent)), training=training))
        real, fake = scores(judge, x), scores(judge, made)
        return {"loss": GAN_LOSSES[loss](real, fake)[0], "accuracy": told_apart(real, fake)}

    def inverted(x: Tensor, y: Tensor, rng: Rng, training: bool) -> dict[str, Tensor]:
        """Equation 2: |G(I(x)) - x| and |z - I(G(z))|, squared, and summed over pixels and over the noise."""
        z = rng.normal((ops.shape(x)[0], latent))
        image = engine.total(ops.square(paint(invert(x, training=training)) - x))
        noise = engine.total(ops.square(z - invert(ops.stop_gradient(paint(z)), training=training)))
        return {"loss": image + DIVERGENCE * noise, "image_loss": image, "noise_loss": noise}

    def step(network: Any, objective: Any) -> TrainStep:
        return TrainStep(network, objective, engine.adam(rate, MOMENTUM))

    # A GAN's loss does not say which epoch is best: nothing is held out, so the last one is taken.
    play = Fit.of_attack(lesson, x, np.zeros(len(x), np.int32), epochs=epochs, batch_size=BATCH, learning_rate=rate, validation=0.0)
    z = np.random.default_rng([*seed, 3]).normal(size=(SAMPLES, latent)).astype(np.float32)
    now = engine.compiled(lambda z: paint(z, training=False))
    play.play(Game({"": step(paint, generate), "discriminator": step(judge, judged)}), stage="gan", picture=lambda: now(z[:SHOWN]))
    own = variety(np.asarray(now(z))) / max(variety(x[:SAMPLES]), 1e-9)
    lesson.notes += doubts(lesson.histories["gan"], "", own, "what the GAN paints")
    replace(play, validation=0.1).play(step(invert, inverted), stage="inverter")
    return {"painter": paint.get_weights(), "inverter": invert.get_weights()}


def scores(judge: Any, x: Tensor) -> Tensor:
    """(n,)."""
    return judge(x)[:, 0]
