"""AdvGAN without gradients (Xiao, Li, Zhu, He, Liu and Song, 2018, IJCAI, arXiv:1801.02610): dynamic distillation, equation 5."""

from __future__ import annotations

from typing import Any

import numpy as np

from advrun import engine
from advrun.attacks._advgan import BATCH, Rules, Trainer, attacked, falling
from advrun.attacks._gan import LossName
from advrun.attacks._surrogate import network, reset
from advrun.engine import Rng, TrainStep, ops
from advrun.geometry import L2, Linf
from advrun.lesson import Lesson
from advrun.system import Blind, Scores
from advrun.system.classifier import batches
from advrun.train import Fit
from advrun.types import Count, Labels, NonNegative, Positive, Share, Targets, Tensor

CONTRACT = {"settings": {"epochs": 2, "distillation": 2}, "surrogate": True}


def advgan_blackbox(
    model: Blind,
    x: Tensor,
    y: Labels | Targets,
    ball: Linf | L2,
    fitted: Any,
    *,
    loss: LossName = "least_squares",
    epochs: Count = 10,
    distillation: Count = 5,
    images: Count = 10_000,
    gan_weight: NonNegative = 0.1,
    hinge_weight: NonNegative = 0.1,
    bound: Share = 0.5,
    confidence: NonNegative = 5.0,
    learning_rate: Positive = 2e-3,
    width: Count = 16,
) -> Tensor:
    """AdvGAN in its black-box form: a network f is distilled from the model's scores, and G is trained against f.

    First f learns the model's probabilities b(x) of the attacker's images, H(f(x), b(x)). Then, in turn on each batch, G and the
    discriminator learn against f as it is, and f learns b(x) and b(x + G(x)) (dynamic distillation): images * (1 + 0.9 epochs) queries in
    all, spent before the first image is attacked. True labels are not used.

    NOTE: G and f take turns batch by batch, where the paper gives no number of steps.

    Args:
        loss: of the GAN: vanilla (Goodfellow et al., 2014), least_squares (Mao et al., 2017), relativistic or relativistic_average
            (Jolicoeur-Martineau, 2018).
        epochs: passes over the training images; a tenth of them is held out for the curves.
        distillation: passes in which f alone learns first.
        images: how many training images f and G learn from.
        gan_weight: alpha, how much it matters that the images look real.
        hinge_weight: beta, how much changes longer than c matter.
        bound: c, as a share of the longest change (in L2) that the ball has room for.
        confidence: kappa, the lead in logits of f that the attack goes on to.
        learning_rate: of Adam, for G and the discriminator at first; it falls to 0 by the last step.
        width: channels of the first layer of G.
    """
    return attacked(model, x, y, ball, fitted, width)


def fit(
    model: Scores,
    x: np.ndarray,
    y: np.ndarray,
    ball: Linf | L2,
    rng: Rng,
    targets: np.ndarray | None,
    lesson: Lesson,
    *,
    loss: str,
    epochs: int,
    distillation: int,
    images: int,
    gan_weight: float,
    hinge_weight: float,
    bound: float,
    confidence: float,
    learning_rate: float,
    width: int,
) -> Any:
    """The generator's weights."""
    rules = Rules(loss, gan_weight, hinge_weight, bound, confidence)
    seed = [int(number) & 0xFFFFFFFF for number in np.asarray(rng.key)]
    goals = None if not model.targeted else np.arange(model.classes) if targets is None else targets
    x = x[:images]
    known = probabilities(model, x)
    copied = engine.outside(lambda: network("advgan_blackbox", tuple(model.image_shape), model.classes))
    reset(copied.model, [*seed, 2])
    trainer = Trainer(
        copied.toward() if model.targeted else copied, ball, rules, width, goals, seed, falling(learning_rate, len(x), epochs)
    )

    def agreement(logits: Tensor, taught: Tensor) -> dict[str, Tensor]:
        """H(f, b), and whether both name the same class."""
        apart = -ops.sum(taught * ops.log_softmax(logits), axis=-1)
        return {"loss": apart, "accuracy": ops.cast(ops.argmax(logits, -1) == ops.argmax(taught, -1), "float32")}

    def distil(x: Tensor, taught: Tensor, rng: Rng, training: bool) -> dict[str, Tensor]:
        return agreement(copied.model(x, training=training), taught)

    def follow(x: Tensor, taught: Tensor, rng: Rng, training: bool) -> dict[str, Tensor]:
        """Equation 5. The model is asked about x + G(x) in training only, for what it says of held-out images is not learnt from."""
        if not training:
            return distil(x, taught, rng, training)
        x_adv = ops.stop_gradient(trainer.made(x, taught, rng, training)[0])
        logits = copied.model(ops.concatenate([x, x_adv]), training=True)
        clean, made = ops.split(logits, 2)
        there = agreement(made, ops.stop_gradient(ops.softmax(model.logits(x_adv))))
        return {"loss": agreement(clean, taught)["loss"] + there["loss"], "accuracy": there["accuracy"]}

    first = Fit.of_attack(lesson, x, known, epochs=distillation, batch_size=BATCH, learning_rate=learning_rate)
    first.play(TrainStep(copied.model, distil, engine.adam(learning_rate)), stage="distilled")
    trainer.game["copy"] = TrainStep(copied.model, follow, engine.adam(learning_rate))
    # What misleads f as it was in one epoch cannot be compared with what misleads it in another: the last one is taken.
    return trainer.learn(lesson, x, known, epochs, learning_rate, monitor="")


def probabilities(model: Scores, x: np.ndarray) -> np.ndarray:
    """b(x), (n, classes) float32; one query each."""
    ask = engine.compiled(lambda x, asked: ops.softmax(model.logits(x, asked=asked)))
    return np.concatenate([np.asarray(ask(batch, np.arange(len(batch)) < size))[:size] for batch, size in batches(x, 256)])
