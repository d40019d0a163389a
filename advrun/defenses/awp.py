"""Adversarial weight perturbation: images and weights are attacked (Wu, Xia and Wang, 2020, arXiv:2004.05884)."""

from __future__ import annotations

from typing import Any

from advrun.defenses._attacked import attacked
from advrun.defenses._learner import Start, learner_of
from advrun.defenses.trades import furthest, trades_loss
from advrun.engine import Progress, Rng, TrainStep, ops
from advrun.losses import cross_entropy
from advrun.system import Classifier
from advrun.train import Fit, accuracy
from advrun.types import AttackChoice, Natural, NonNegative, Tensor

PRESETS = {
    "paper": {"attack": {"name": "pgd", "eps": 8 / 255, "steps": 10, "step_size": 0.25}, "gamma": 0.01, "beta": 0.0},
    "trades": {"attack": {"name": "pgd", "eps": 0.031, "steps": 10, "step_size": 0.003 / 0.031}, "gamma": 0.005, "beta": 6.0, "warmup": 10},
}


def awp(
    model: Any,
    fit: Fit,
    *,
    attack: AttackChoice = {"name": "pgd", "eps": 8 / 255, "steps": 10, "step_size": 0.25},  # noqa: B006, read only
    gamma: NonNegative = 0.005,
    beta: NonNegative = 0.0,
    warmup: Natural = 0,
    start: Start = "fresh",
) -> Any:
    """The gradient is taken where the loss is worst around the weights: so the loss stays flat about them (equation 7, algorithm 1).

    Each layer's weights w move by v = gamma |w| g / |g| up the gradient g of the loss of the attacked images; the gradient at w + v is what
    moves w. Biases and the like, which are no matrices, stay. It works against robust overfitting.

    Args:
        attack: what the training images are attacked with.
        gamma: length of the perturbation relative to that of the layer's weights.
        beta: 0 for the loss of adversarial training (AT-AWP); above it that of TRADES with this weight (TRADES-AWP).
        warmup: epochs before the weights are perturbed.
        start: fresh weights, or those of the trained classifier.
    """
    network = learner_of(model, start)
    learner = Classifier(network)

    def craft(x: Tensor, y: Tensor, rng: Rng, training: bool = True) -> Tensor:
        return attacked(attack, furthest(learner, x) if beta and training else learner, learner, x, y, rng, replay=0.0)

    def objective(x: Tensor, y: Tensor, rng: Rng, training: bool, x_adv: Tensor | None = None) -> dict[str, Tensor]:
        adversarial = network(craft(x, y, rng, training) if x_adv is None else x_adv, training=training)
        values = {"adversarial_accuracy": accuracy(adversarial, y)}
        if training and not beta:
            return {"loss": cross_entropy(adversarial, y), **values}
        clean = network(x, training=training)
        loss = trades_loss(clean, adversarial, y, beta) if beta else cross_entropy(adversarial, y)
        return {"loss": loss, "accuracy": accuracy(clean, y), **values}

    def update(step: TrainStep, x: Tensor, y: Tensor, rng: Rng, progress: Progress) -> dict[str, Tensor]:
        x_adv = craft(x, y, rng)
        before = [ops.copy(weight) for weight in network.variables]
        ascent = step.backward(x, y, rng, progress, x_adv=x_adv).weights
        assign(network.variables, before)  # what batch normalisation has seen meanwhile is forgotten
        perturb(network.trainable_variables, ascent, ops.where(progress.epoch < warmup, 0.0, gamma))
        own = [value for value, weight in zip(before, network.variables, strict=True) if weight.trainable]
        made = step.backward(x, y, rng, progress, x_adv=x_adv)
        assign(network.trainable_variables, own)
        step.apply(made.weights)
        return made.values

    return fit(network, objective, monitor="adversarial_accuracy", update=update)


def perturb(weights: list[Any], ascent: list[Tensor], gamma: Tensor) -> None:
    """w <- w + gamma |w| g / |g| for the weights that are matrices or kernels."""
    for weight, gradient in zip(weights, ascent, strict=True):
        if gradient is not None and len(weight.shape) > 1:
            length = ops.sqrt(ops.sum(ops.square(gradient)))
            weight.assign_add(gamma * ops.sqrt(ops.sum(ops.square(weight))) * gradient / ops.maximum(length, 1e-12))


def assign(weights: list[Any], values: list[Tensor]) -> None:
    """Put the values back."""
    for weight, value in zip(weights, values, strict=True):
        weight.assign(value)
