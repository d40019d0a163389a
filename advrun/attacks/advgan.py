"""AdvGAN (Xiao, Li, Zhu, He, Liu and Song, 2018, IJCAI, arXiv:1801.02610), semi-white-box: equations 1 to 4."""

from __future__ import annotations

from typing import Any

import numpy as np

from advrun.attacks._advgan import Rules, Trainer, attacked, falling
from advrun.attacks._gan import LossName
from advrun.engine import Rng
from advrun.geometry import L2, Linf
from advrun.lesson import Lesson
from advrun.system import Blind, Gradients
from advrun.types import Count, Labels, NonNegative, Positive, Share, Targets, Tensor

CONTRACT = {"settings": {"epochs": 2}, "surrogate": True}


def advgan(
    model: Blind,
    x: Tensor,
    y: Labels | Targets,
    ball: Linf | L2,
    fitted: Any,
    *,
    loss: LossName = "least_squares",
    epochs: Count = 10,
    images: Count = 10_000,
    gan_weight: NonNegative = 0.1,
    hinge_weight: NonNegative = 0.1,
    bound: Share = 0.5,
    confidence: NonNegative = 5.0,
    learning_rate: Positive = 2e-3,
    width: Count = 16,
) -> Tensor:
    """AdvGAN: a network G that is trained to attack the model; then one pass through it an image, and no question to the model.

    x_adv = x + G(x). G makes L_adv + alpha L_GAN + beta L_hinge small, while a discriminator learns to tell x + G(x) from x. L_adv is
    Carlini and Wagner's margin, L_hinge = max(0, |G(x)|_2 - c). The targets, where there are several, are inputs of one G.

    NOTE: the paper trains a G for each target, and alpha and beta are not given there. Outputs of G are from -1 to 1, times eps.

    Args:
        loss: of the GAN: vanilla (Goodfellow et al., 2014), least_squares (Mao et al., 2017), relativistic or relativistic_average
            (Jolicoeur-Martineau, 2018).
        epochs: passes over the training images, at most; the best by a tenth of them that is held out is used.
        images: how many training images G learns from.
        gan_weight: alpha, how much it matters that the images look real.
        hinge_weight: beta, how much changes longer than c matter.
        bound: c, as a share of the longest change (in L2) that the ball has room for.
        confidence: kappa, the lead in logits that the attack goes on to.
        learning_rate: of Adam, at first; it falls to 0 by the last step.
        width: channels of the first layer.
    """
    return attacked(model, x, y, ball, fitted, width)


def fit(
    model: Gradients,
    x: np.ndarray,
    y: np.ndarray,
    ball: Linf | L2,
    rng: Rng,
    targets: np.ndarray | None,
    lesson: Lesson,
    *,
    loss: str,
    epochs: int,
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
    x, y = x[:images], y[:images].astype(np.int32)
    trainer = Trainer(model, ball, rules, width, goals, seed, falling(learning_rate, len(x), epochs))
    return trainer.learn(lesson, x, y, epochs, learning_rate)
