"""Fast adversarial training: FGSM from a random start (Wong, Rice and Kolter, 2020, arXiv:2001.03994)."""

from __future__ import annotations

from typing import Any, Literal

from advrun.defenses._learner import Start, learner_of, one_step
from advrun.engine import Rng
from advrun.geometry import GEOMETRIES
from advrun.losses import cross_entropy
from advrun.system import Classifier
from advrun.train import Fit, accuracy
from advrun.types import Positive, Tensor

PRESETS = {
    "paper": {"eps": 8 / 255, "step_size": 1.25, "start": "fresh"},
    "n_fgsm": {"eps": 8 / 255, "step_size": 1.0, "noise": 2.0, "project": False},
}


def fast(
    model: Any,
    fit: Fit,
    *,
    eps: Positive = 8 / 255,
    norm: Literal["linf", "l2"] = "linf",
    step_size: Positive = 1.25,
    noise: Positive = 1.0,
    project: bool = True,
    start: Start = "fresh",
) -> Any:
    """Adversarial training that costs two gradients a batch: one FGSM step of 1.25 eps from a random start (algorithm 3).

    The learning rate goes up from 0 and down to 0 (`cyclic`) unless `train.schedule` says otherwise. One-step training may overfit to its
    own attack within an epoch ("catastrophic overfitting"): accuracy under one step rises, that under PGD falls to nothing. Therefore give
    it `train: {monitor: robust_accuracy}`, which keeps the epoch that is best under PGD, and look at the adaptive accuracy.

    Args:
        eps: radius of the ball; pixels run from 0 to 1.
        norm: the norm of the ball.
        step_size: of the one step, as a share of eps.
        noise: how far from the image the random start may be, as a share of eps.
        project: whether what start and step come to is brought back into the ball. Preset `n_fgsm` does without, and starts farther away,
            which keeps one-step training from overfitting to its step (de Jorge et al., 2022, arXiv:2202.01181).
        start: fresh weights, or those of the trained classifier.
    """
    network, ball = learner_of(model, start), GEOMETRIES[norm](eps)
    learner = Classifier(network)

    def objective(x: Tensor, y: Tensor, rng: Rng, training: bool) -> dict[str, Tensor]:
        logits = network(one_step(learner, x, y, ball, rng, step_size, noise, project), training=training)
        values = {"loss": cross_entropy(logits, y), "adversarial_accuracy": accuracy(logits, y)}
        # While it is trained the clean images are not looked at: that would cost half as much again.
        return values if training else values | {"accuracy": accuracy(network(x, training=False), y)}

    return fit(network, objective, monitor="adversarial_accuracy", schedule="cyclic")
