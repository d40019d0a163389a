"""Fast adversarial training: FGSM from a random start (Wong, Rice and Kolter, 2020, arXiv:2001.03994)."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from advrun.defenses._learner import Start, learner_of, one_step
from advrun.engine import Progress, Rng, ops, replace_rows, take_rows
from advrun.geometry import GEOMETRIES
from advrun.losses import cross_entropy
from advrun.system import Classifier
from advrun.train import Fit, accuracy
from advrun.types import Positive, Tensor

PRESETS = {
    "paper": {"eps": 8 / 255, "step_size": 1.25, "start": "fresh"},
    "n_fgsm": {"eps": 8 / 255, "step_size": 1.0, "noise": 2.0, "project": False},
    "fgsm_ep": {"eps": 8 / 255, "step_size": 1.0, "prior": "epoch"},
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
    prior: Literal["none", "batch", "epoch"] = "none",
    start: Start = "fresh",
) -> Any:
    """Adversarial training that costs two gradients a batch: one FGSM step of 1.25 eps from a random start (algorithm 3).

    The learning rate goes up from 0 and down to 0 (`cyclic`) unless `train.schedule` says otherwise. One-step training may overfit to its
    own attack within an epoch ("catastrophic overfitting"): accuracy under one step rises, that under PGD falls to nothing. Therefore give
    it `train: {monitor: robust_accuracy}`, which keeps the epoch that is best under PGD, and look at the adaptive accuracy.

    With a prior the step begins, after the first epoch, where an earlier one ended, so that its images have come as far as those of a
    search of several steps, at the price of one.

    Args:
        eps: radius of the ball; pixels run from 0 to 1.
        norm: the norm of the ball.
        step_size: of the one step, as a share of eps.
        noise: how far from the image the random start may be, as a share of eps.
        project: whether what start and step come to is brought back into the ball. Preset `n_fgsm` does without, and starts farther away,
            which keeps one-step training from overfitting to its step (de Jorge et al., 2022, arXiv:2202.01181).
        prior: what the step begins with: a random change (none), that of the batch before (batch, "previous init" in table 1 of Wong et
            al.), or that of the same image in the epoch before (epoch; FGSM-EP of Jia et al., 2022, arXiv:2207.08859; preset `fgsm_ep`),
            for which two bytes are kept of each number of the training images; one that the first epoch left over begins as it is.
        start: fresh weights, or those of the trained classifier.
    """
    network, ball = learner_of(model, start), GEOMETRIES[norm](eps)
    learner = Classifier(network)

    def objective(x: Tensor, y: Tensor, rng: Rng, training: bool, progress: Progress, memory: dict[str, Any]) -> dict[str, Tensor]:
        begun = ball.resized(noise * ball.eps).sample(x, rng)
        rows = progress.rows if prior == "epoch" else ops.arange(x.shape[0])
        if training and memory:
            kept = ball.project(x + ops.cast(take_rows(memory["change"], rows), x.dtype), x)
            begun = ops.where(progress.epoch > 0, kept, begun)
        x_adv = one_step(learner, x, y, begun, ball, step_size, project)
        if training and memory:
            replace_rows(memory["change"], rows, x_adv - x)
        logits = network(x_adv, training=training)
        values = {"loss": cross_entropy(logits, y), "adversarial_accuracy": accuracy(logits, y)}
        # While it is trained the clean images are not looked at: that would cost half as much again.
        return values if training else values | {"accuracy": accuracy(network(x, training=False), y)}

    count = {"none": 0, "batch": fit.settings.batch_size, "epoch": len(fit.data.y_train)}[prior]
    memory = {"change": np.zeros((count, *model.input_shape[1:]), np.float16)} if count else {}
    return fit(network, objective, monitor="adversarial_accuracy", schedule="cyclic", memory=memory)
