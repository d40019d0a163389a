"""Adversarial training for free: one backward pass moves weights and images (Shafahi et al., 2019, arXiv:1904.12843)."""

from __future__ import annotations

from typing import Any

import numpy as np

from advrun.defenses._learner import Start, learner_of, one_step
from advrun.engine import Progress, Rng, TrainStep, ops
from advrun.geometry import Linf
from advrun.losses import cross_entropy
from advrun.system import Classifier
from advrun.train import Fit, accuracy
from advrun.types import Count, Positive, Tensor

PRESETS = {"paper": {"eps": 8 / 255, "replays": 8, "start": "fresh"}}


def free(model: Any, fit: Fit, *, eps: Positive = 8 / 255, replays: Count = 4, start: Start = "fresh") -> Any:
    """Every batch is met m times in a row; each backward pass gives the step of the weights and the next step of the images (algorithm 1).

    delta <- clip(delta + eps sgn(grad_x J(x + delta, y))), carried on from one batch to the next. An epoch costs m gradients an image: take
    1/m of the epochs that plain training takes, as the paper does. m = 8 (preset `paper`) is its best on CIFAR-10.

    Args:
        eps: radius of the Linf ball; pixels run from 0 to 1.
        replays: m, how often a batch is met in a row.
        start: fresh weights, or those of the trained classifier.
    """
    network, ball = learner_of(model, start), Linf(eps)
    learner = Classifier(network)

    def objective(x: Tensor, y: Tensor, rng: Rng, training: bool) -> dict[str, Tensor]:
        x_adv = x if training else one_step(learner, x, y, ball.sample(x, rng), ball, 1.25)
        logits = network(x_adv, training=training)
        values = {"loss": cross_entropy(logits, y), "adversarial_accuracy": accuracy(logits, y)}
        return values if training else values | {"accuracy": accuracy(network(x, training=False), y)}

    def update(step: TrainStep, x: Tensor, y: Tensor, rng: Rng, progress: Progress) -> dict[str, Tensor]:
        change = ops.copy(step.memory["delta"])
        for replay in range(replays):
            made = step.backward(ball.project(x + change, x), y, rng.fold(replay), progress, images=True)
            step.apply(made.weights)
            change = ball.within(change + ball.steepest(made.images))
        step.memory["delta"].assign(change)
        return made.values

    memory = {"delta": np.zeros((fit.settings.batch_size, *model.input_shape[1:]), np.float32)}
    return fit(network, objective, monitor="adversarial_accuracy", update=update, memory=memory)
