"""Adversarial logit pairing (Kannan, Kurakin and Goodfellow, 2018, arXiv:1803.06373)."""

from __future__ import annotations

from typing import Any

from advrun.defenses._attacked import attacked, on_pairs
from advrun.defenses._learner import Start, learner_of
from advrun.engine import Rng, ops
from advrun.losses import cross_entropy
from advrun.system import Classifier
from advrun.train import Fit
from advrun.types import AttackChoice, NonNegative, Tensor

PRESETS = {"paper": {"attack": {"name": "pgd", "eps": 16 / 255, "steps": 10, "step_size": 0.125}, "weight": 0.5, "start": "fresh"}}


def alp(
    model: Any,
    fit: Fit,
    *,
    attack: AttackChoice = {"name": "pgd", "eps": 8 / 255, "steps": 10, "step_size": 0.25},  # noqa: B006, read only
    weight: NonNegative = 0.5,
    start: Start = "fresh",
) -> Any:
    """Train on clean and attacked images, half and half, and pull the logits of each pair together (section 3.2).

    (J(x, y) + J(x', y)) / 2 + lambda |z(x) - z(x')|^2 / K over the K logits z. Engstrom, Ilyas and Athalye (2018, arXiv:1807.10272) broke
    the paper's ImageNet network by more steps of PGD: look at the adaptive accuracy.

    Args:
        attack: what the training images are attacked with.
        weight: lambda, the weight of the pairing.
        start: fresh weights, or those of the trained classifier.
    """
    network = learner_of(model, start)
    learner = Classifier(network)

    def craft(x: Tensor, y: Tensor, rng: Rng, training: bool) -> Tensor:
        return attacked(attack, learner, learner, x, y, rng, replay=0.0)

    def loss(clean: Tensor, adversarial: Tensor, y: Tensor) -> Tensor:
        apart = ops.mean(ops.square(clean - adversarial), axis=-1)
        return (cross_entropy(clean, y) + cross_entropy(adversarial, y)) / 2 + weight * apart

    return fit(network, on_pairs(network, craft, loss), monitor="adversarial_accuracy")
