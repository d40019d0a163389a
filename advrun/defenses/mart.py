"""Misclassification-aware adversarial training (Wang et al., ICLR 2020, openreview.net/forum?id=rklOg6EFwS).

Compared with the others by Croce and Hein (2020, arXiv:2003.01690).
"""

from __future__ import annotations

from typing import Any

from advrun.defenses._attacked import attacked, on_pairs
from advrun.defenses._learner import Start, divergence, learner_of
from advrun.engine import Rng, ops
from advrun.losses import at_label, others
from advrun.system import Classifier
from advrun.train import Fit
from advrun.types import AttackChoice, NonNegative, Tensor

PRESETS = {"paper": {"attack": {"name": "pgd", "eps": 8 / 255, "steps": 10, "step_size": 0.25}, "weight": 5.0, "start": "fresh"}}


def mart(
    model: Any,
    fit: Fit,
    *,
    attack: AttackChoice = {"name": "pgd", "eps": 8 / 255, "steps": 10, "step_size": 0.25},  # noqa: B006, read only
    weight: NonNegative = 5.0,
    start: Start = "fresh",
) -> Any:
    """Attacked images by a boosted cross-entropy, and a pull towards the clean answer where that was wrong anyway (equation 11).

    BCE(p(x'), y) + lambda KL(p(x) || p(x')) (1 - p_y(x)), with BCE = -log p_y(x') - log(1 - max_{k != y} p_k(x')).

    Args:
        attack: what the training images are attacked with.
        weight: lambda, the weight of the divergence; 5 in the paper.
        start: fresh weights, or those of the trained classifier.
    """
    network = learner_of(model, start)
    learner = Classifier(network)

    def craft(x: Tensor, y: Tensor, rng: Rng, training: bool) -> Tensor:
        return attacked(attack, learner, learner, x, y, rng, replay=0.0)

    def loss(clean: Tensor, adversarial: Tensor, y: Tensor) -> Tensor:
        return mart_loss(clean, adversarial, y, weight)

    return fit(network, on_pairs(network, craft, loss), monitor="adversarial_accuracy")


def mart_loss(clean: Tensor, adversarial: Tensor, y: Tensor, weight: float) -> Tensor:
    """Of the logits (n, classes) of clean images and of attacked ones, (n,)."""
    given = ops.log_softmax(adversarial, axis=-1)
    strongest = ops.exp(ops.max(others(given, y), axis=-1))
    boosted = -at_label(given, y) - ops.log(1.0001 - strongest)  # so much above 1, as the authors' code has it: it is never infinite
    wrong = 1 - at_label(ops.softmax(clean, axis=-1), y)
    return boosted + weight * divergence(adversarial, clean) * wrong
