"""AdvGAN's networks, losses and training (Xiao et al., 2018, arXiv:1801.02610), whoever the generator is trained against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from advrun import dcgan, engine
from advrun.attacks._gan import GAN_LOSSES, doubts, told_apart, variety
from advrun.attacks._surrogate import reset
from advrun.engine import Game, Rng, TrainStep, keras, ops
from advrun.geometry import L2, Linf
from advrun.lesson import Lesson
from advrun.losses import margin
from advrun.system import Blind, Gradients
from advrun.system.classifier import batches
from advrun.train import Fit
from advrun.types import Tensor

BATCH, SHOWN, PROBED = 64, 8, 256
"""Images in a step of the training, in its pictures, and when it is asked whether the generator adds the same to all."""
HELD_OUT = 0.1
"""The share of the images that chooses the best epoch."""
SMALLEST, RESIDUAL = 4, 4
"""Sides are not halved below this. Residual blocks, as in the paper."""
MOMENTUM = 0.5
"""Adam's beta_1, as GANs are trained since Radford et al. (2016, arXiv:1511.06434)."""


@dataclass(frozen=True)
class Rules:
    """What the generator is trained for. The paper's letters: alpha gan_weight, beta hinge_weight, c bound, kappa confidence."""

    loss: str
    gan_weight: float
    hinge_weight: float
    bound: float
    confidence: float


@cache
def generator(image_shape: tuple[int, ...], classes: int, width: int) -> Any:
    """Images (n, h, w, c), and one-hot targets (n, classes) unless there are none -> changes (n, h, w, c) in [-1, 1].

    The paper's c3s1-8, d16, d32, four r32, u16, u8, c3s1 (Johnson et al., 2016, arXiv:1603.08155), each with instance normalisation.
    """

    def build() -> Any:
        layers = keras.layers

        def convolved(x: Any, filters: int, strides: int = 1, up: bool = False, relu: bool = True) -> Any:
            kind = layers.Conv2DTranspose if up else layers.Conv2D
            x = layers.GroupNormalization(groups=-1)(kind(filters, 3, strides=strides, padding="same", use_bias=False)(x))
            return layers.ReLU()(x) if relu else x

        images, goal = keras.Input(image_shape), keras.Input((classes,)) if classes else None
        sizes: list[tuple[int, int]] = []
        x = convolved(images, width)
        while len(sizes) < 2 and min(x.shape[1:3]) >= 2 * SMALLEST:
            sizes.append(x.shape[1:3])
            x = convolved(x, width * 2 ** len(sizes), strides=2)
        if goal is not None:
            planes = layers.Reshape((1, 1, classes))(goal)
            x = layers.Concatenate()([x, planes * ops.ones_like(x[..., :1])])
        x = convolved(x, width * 2 ** len(sizes))
        for _ in range(RESIDUAL):
            x = layers.Add()([x, convolved(convolved(x, x.shape[-1]), x.shape[-1], relu=False)])
        for level, (height, across) in reversed(list(enumerate(sizes))):
            x = convolved(x, width * 2**level, strides=2, up=True)
            x = layers.Cropping2D(((0, x.shape[1] - height), (0, x.shape[2] - across)))(x)
        change = layers.Conv2D(image_shape[-1], 3, padding="same", activation="tanh", dtype="float32")(x)
        return keras.Model([images] if goal is None else [images, goal], change, name="generator")

    return engine.outside(build)


@cache
def discriminator(image_shape: tuple[int, ...], width: int) -> Any:
    """The one that scores images, for compiled code to refer to."""
    return engine.outside(lambda: dcgan.discriminator(image_shape, width))


def falling(rate: float, images: int, epochs: int) -> Any:
    """The learning rate from `rate` to 0 along half a cosine (Loshchilov and Hutter, 2017, arXiv:1608.03983), over the whole training."""
    held_out = min(round(HELD_OUT * images), images - 1)
    batch = min(BATCH, images - held_out)
    return keras.optimizers.schedules.CosineDecay(rate, epochs * ((images - held_out) // batch))


def generator_for(model: Blind, width: int) -> Any:
    """The one for a model's images; a targeted one is told the class to reach."""
    return generator(tuple(model.image_shape), model.classes if model.targeted else 0, width)


def moved(ball: Linf | L2, x: Tensor, change: Tensor) -> Tensor:
    """x + G(x), in the ball and the box: a change of size 1 goes to the ball's edge."""
    return ball.project(x + ball.stride(change), x)


def inputs_of(model: Blind, x: Tensor, y: Tensor) -> list[Tensor]:
    """What the generator sees."""
    images = ops.convert_to_tensor(x)
    return [images, ops.one_hot(y, model.classes, dtype="float32")] if model.targeted else [images]


def attacked(model: Blind, x: Tensor, y: Tensor, ball: Linf | L2, fitted: Any, width: int) -> Tensor:
    """One pass through the generator, whose weights are `fitted`."""
    change = engine.with_weights(generator_for(model, width), fitted["generator"], inputs_of(model, x, y))
    return moved(ball, x, change)


class Trainer:
    """Trains a generator and a discriminator against `victim`: the model itself, or what stands in for it.

    `game` holds the two steps, to which others may be added; `made` gives the adversarial images of a batch as they are now.
    """

    def __init__(
        self, victim: Gradients, ball: Linf | L2, rules: Rules, width: int, goals: np.ndarray | None, seed: list[int], rate: Any
    ) -> None:
        self.victim, self.ball, self.rules, self.goals = victim, ball, rules, goals
        self.network, self.judge = generator_for(victim, width), discriminator(tuple(victim.image_shape), width)
        reset(self.network, [*seed, 0])
        reset(self.judge, [*seed, 1])

        def step(model: Any, objective: Callable[..., dict[str, Tensor]]) -> TrainStep:
            return TrainStep(model, objective, engine.adam(rate, MOMENTUM))

        self.game: dict[str, TrainStep] = {"": step(self.network, self.generate), "discriminator": step(self.judge, self.judged)}

    def made(self, x: Tensor, y: Tensor, rng: Rng, training: bool) -> tuple[Tensor, Tensor]:
        """Adversarial images, and what the victim is told of y: the label, or, targeted, a class that is drawn from the goals."""
        y = ops.cast(ops.argmax(y, axis=-1) if len(y.shape) > 1 else y, "int32")
        if self.goals is not None:
            goals = ops.convert_to_tensor(self.goals.astype(np.int32))
            drawn = rng.integers(ops.shape(y), 0, len(self.goals))
            other = ops.take(goals, (drawn + 1) % len(self.goals))
            y = ops.where(ops.take(goals, drawn) == y, other, ops.take(goals, drawn))  # of a single goal its own images too
        return moved(self.ball, x, self.network(inputs_of(self.victim, x, y), training=training)), y

    def generate(self, x: Tensor, y: Tensor, rng: Rng, training: bool) -> dict[str, Tensor]:
        """The generator's loss, L_adv + alpha L_GAN + beta L_hinge (equations 1 to 4)."""
        rules = self.rules
        x_adv, y = self.made(x, y, rng, training)
        lead, adversarial = self.misled(x_adv, y, training)
        fake, real = self.judge(x_adv, training=training)[:, 0], self.judge(x, training=training)[:, 0]
        gan = GAN_LOSSES[rules.loss](real, fake)[1]
        norm = self.length(x_adv - x)
        hinge = ops.maximum(norm - rules.bound * self.length(self.ball.stride(ops.ones_like(x))), 0.0)
        return {
            "loss": adversarial + rules.gan_weight * gan + rules.hinge_weight * hinge,
            "adversarial_loss": adversarial,
            "gan_loss": gan,
            "success": ops.cast(lead > 0, "float32"),
            "norm": norm,
        }

    def misled(self, x_adv: Tensor, y: Tensor, training: bool) -> tuple[Tensor, Tensor]:
        """How far ahead the attack is, and L_adv = max(kappa - lead, 0), of which the gradient reaches x_adv.

        The gradient is asked of the victim, and put in place by a product: d/dw <g, x_adv(w)> = <g, dx_adv/dw>.
        """
        still = ops.stop_gradient(x_adv)
        if not training:
            lead = self.victim.lead(self.victim.logits(still), y)
            return lead, ops.maximum(self.rules.confidence - lead, 0.0)
        lead, _, slope = self.victim.value_and_gradient(margin, still, y)
        behind = ops.cast(lead < self.rules.confidence, "float32")
        inner = engine.total(ops.stop_gradient(slope) * (x_adv - still))
        return lead, ops.maximum(self.rules.confidence - lead, 0.0) - behind * inner

    @staticmethod
    def length(change: Tensor) -> Tensor:
        """The L2 norm (n,), with a gradient at 0 too."""
        return ops.sqrt(engine.total(ops.square(change)) + 1e-12)

    def judged(self, x: Tensor, y: Tensor, rng: Rng, training: bool) -> dict[str, Tensor]:
        """The discriminator's loss."""
        x_adv = ops.stop_gradient(self.made(x, y, rng, training)[0])
        real, fake = self.judge(x, training=training)[:, 0], self.judge(x_adv, training=training)[:, 0]
        return {"loss": GAN_LOSSES[self.rules.loss](real, fake)[0], "accuracy": told_apart(real, fake)}

    def learn(self, lesson: Lesson, x: np.ndarray, y: np.ndarray, epochs: int, rate: float, monitor: str = "success") -> Any:
        """The generator's weights.

        Args:
            lesson: of the attack's `fit`.
            x: (n, h, w, c) float32.
            y: labels (n,), or the model's scores (n, classes).
            epochs: passes over the images.
            rate: Adam's learning rate.
            monitor: what chooses the best epoch, on images that are held out; "" for the last one.
        """
        fit = Fit.of_attack(lesson, x, y, epochs=epochs, batch_size=BATCH, learning_rate=rate, validation=HELD_OUT)
        held_out = fit.data.validation_split(fit.validation, fit.seed)[1]
        probe = held_out[:PROBED] if len(held_out) else np.arange(min(len(x), PROBED))
        now = engine.compiled(lambda x, y: self.made(x, y, Rng(np.array([1, 2], np.int32)), False)[0])

        def seen(rows: np.ndarray) -> np.ndarray:
            pairs = zip(batches(x[rows], SHOWN), batches(y[rows], SHOWN), strict=True)
            return np.concatenate([np.asarray(now(images, own))[:size] for (images, size), (own, _) in pairs])

        fit.play(Game(self.game), monitor=monitor, picture=lambda: seen(probe[:SHOWN]))
        own = variety(seen(probe) - x[probe]) if self.goals is None and len(probe) > 1 else None
        lesson.notes += doubts(lesson.histories[""], monitor and f"val_{monitor}", own, "what it adds to an image")
        return {"generator": [np.asarray(weight) for weight in self.network.get_weights()]}
