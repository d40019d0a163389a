"""TRADES: accuracy on clean images against a boundary far from them (Zhang et al., 2019, arXiv:1901.08573)."""

from __future__ import annotations

from typing import Any

from advrun.defenses._attacked import attacked, on_pairs
from advrun.defenses._learner import Start, divergence, learner_of
from advrun.engine import Rng, ops
from advrun.losses import cross_entropy
from advrun.system import Classifier
from advrun.system.climbing import Climbing
from advrun.train import Fit
from advrun.types import AttackChoice, NonNegative, Tensor

PRESETS = {"paper": {"attack": {"name": "pgd", "eps": 0.031, "steps": 10, "step_size": 0.007 / 0.031}, "beta": 6.0, "start": "fresh"}}


def trades(
    model: Any,
    fit: Fit,
    *,
    attack: AttackChoice = {"name": "pgd", "eps": 8 / 255, "steps": 10, "step_size": 0.25},  # noqa: B006, read only
    beta: NonNegative = 6.0,
    start: Start = "fresh",
) -> Any:
    """Train on clean images, and on answering their neighbours alike: J(f(x), y) + beta KL(f(x) || f(x')) (equation 5, algorithm 1).

    x' is the image of the ball whose answer is furthest from that of x: the attack climbs the divergence, not the loss of the label. What
    is far from a wrong answer may be right, so on validation images the attack climbs its own loss, away from the label.
    NOTE: the authors start from a normal of 0.001 around x; here the attack starts as it always does.

    Args:
        attack: what looks for x'.
        beta: weight of the divergence, 1/lambda in the paper: 1 keeps clean accuracy, 6 is its strongest on CIFAR-10.
        start: fresh weights, or those of the trained classifier.
    """
    network = learner_of(model, start)
    learner = Classifier(network)

    def craft(x: Tensor, y: Tensor, rng: Rng, training: bool) -> Tensor:
        return attacked(attack, furthest(learner, x) if training else learner, learner, x, y, rng, replay=0.0)

    def loss(clean: Tensor, adversarial: Tensor, y: Tensor) -> Tensor:
        return trades_loss(clean, adversarial, y, beta)

    return fit(network, on_pairs(network, craft, loss), monitor="adversarial_accuracy")


def furthest(learner: Classifier, x: Tensor) -> Climbing:
    """The view of the learner in which an attack looks for the image whose answer is furthest from that of x."""
    reference = ops.stop_gradient(learner.forward(x))
    return Climbing(learner, lambda logits, _, reference: divergence(logits, reference), reference)


def trades_loss(clean: Tensor, adversarial: Tensor, y: Tensor, beta: float) -> Tensor:
    """Of the logits (n, classes) of clean images and of their neighbours, (n,)."""
    return cross_entropy(clean, y) + beta * divergence(adversarial, clean)
