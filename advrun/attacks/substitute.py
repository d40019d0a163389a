"""Substitute model from oracle labels (Papernot, McDaniel, Goodfellow, Jha, Celik and Swami, 2017, arXiv:1602.02697, algorithm 1)."""

from __future__ import annotations

import numpy as np

from advrun import engine
from advrun.attacks._oracle import oracle
from advrun.attacks._surrogate import Student, craft_on, network
from advrun.engine import Rng, ops
from advrun.geometry import L2, Linf
from advrun.system import Blind, Classifier, Decisions
from advrun.system.classifier import batches
from advrun.types import Count, CrafterName, Labels, Natural, Positive, Targets, Tensor

CONTRACT = {"settings": {"rounds": 1, "epochs": 2}, "surrogate": True}


def substitute(
    model: Blind,
    x: Tensor,
    y: Labels | Targets,
    ball: Linf | L2,
    rng: Rng,
    fitted: None,
    *,
    attack: CrafterName = "mifgsm",
    images: Count = 150,
    rounds: Natural = 6,
    epochs: Count = 10,
    step_size: Positive = 0.1,
) -> Tensor:
    """Train a substitute on labels that the attacked model gives, craft on it, replay.

    The first images are the attacker's own; each round labels what is new, trains, and adds x + lambda sgn(J[label]) for every image
    so far (Jacobian-based augmentation), J the substitute's gradient of the logit of its label: images * 2^rounds queries in all,
    spent before the first image is attacked.

    Args:
        attack: the white-box attack inside a ball, with its default settings, that crafts on the substitute.
        images: of the attacker's own, the initial set.
        rounds: augmentations, each doubling the set.
        epochs: passes over the set in each round.
        step_size: lambda, in pixel units.
    """
    stand_in = network("substitute", model.image_shape, model.classes)
    return craft_on(stand_in, attack, targeted=model.targeted, x=x, y=y, ball=ball, rng=rng)


def fit(
    model: Decisions,
    x: np.ndarray,
    y: np.ndarray,
    rng: Rng,
    *,
    attack: str,
    images: int,
    rounds: int,
    epochs: int,
    step_size: float,
) -> None:
    """Train the substitute; the true labels are not used."""
    stand_in = network("substitute", model.image_shape, model.classes)
    student = Student(stand_in, np.asarray(rng.key))
    ask = oracle(model)
    known, labels = x[:images], ask(x[:images])
    for _ in range(rounds):
        student.learn(known, labels, epochs)
        added = augmented(stand_in, known, labels, step_size)
        known, labels = np.concatenate([known, added]), np.concatenate([labels, ask(added)])
    student.learn(known, labels, epochs)


def augmented(stand_in: Classifier, x: np.ndarray, labels: np.ndarray, step_size: float) -> np.ndarray:
    """x + lambda sgn(gradient of the logit of its label), clipped to the box (section 4.2)."""

    def step(x: Tensor, labels: Tensor) -> Tensor:
        slope = stand_in.jacobian(x, labels[None])[1][0]
        return ops.clip(x + step_size * ops.sign(slope), 0.0, 1.0)

    run = engine.compiled(step)
    pairs = zip(batches(x, 256), batches(labels, 256), strict=True)
    return np.concatenate([np.asarray(run(images, own))[:size] for (images, size), (own, _) in pairs])
