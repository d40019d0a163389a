"""Gaussian data augmentation (Zantedeschi et al., 2017, arXiv:1707.06728), as smoothing needs it (Cohen et al., 2019, arXiv:1902.02918)."""

from __future__ import annotations

from typing import Any

from advrun.defenses._learner import Start, learner_of
from advrun.engine import Rng, ops
from advrun.losses import cross_entropy
from advrun.train import Fit, accuracy
from advrun.types import Fraction, NonNegative, Tensor

PRESETS = {
    "cohen": {"sigma": 0.25, "ratio": 1.0, "clip": False},
    "zantedeschi": {"sigma": 0.05, "ratio": 0.5, "clip": True},
}


def gaussian_augmentation(
    model: Any, fit: Fit, *, sigma: NonNegative = 0.25, ratio: Fraction = 1.0, clip: bool = False, start: Start = "fresh"
) -> Any:
    """Train on images with Gaussian noise, drawn anew for each batch: (1 - r) J(x, y) + r J(x + noise, y).

    What randomised smoothing certifies is a network that knows such noise (preset `cohen`). By itself it helps against small changes in L2,
    and little in Linf.

    Args:
        sigma: standard deviation of the noise; pixels run from 0 to 1.
        ratio: r, the weight of the noisy images in the loss.
        clip: clip noisy images to [0, 1]; smoothing does not.
        start: fresh weights, or those of the trained classifier.
    """
    network = learner_of(model, start)

    def objective(x: Tensor, y: Tensor, rng: Rng, training: bool) -> dict[str, Tensor]:
        noisy = x + sigma * rng.normal(x.shape)
        logits = network(ops.clip(noisy, 0.0, 1.0) if clip else noisy, training=training)
        values = {"loss": cross_entropy(logits, y), "noisy_accuracy": accuracy(logits, y)}
        if training and ratio == 1:
            return values
        clean = network(x, training=training)
        return {
            **values,
            "loss": (1 - ratio) * cross_entropy(clean, y) + ratio * values["loss"],
            "accuracy": accuracy(clean, y),
        }

    return fit(network, objective, monitor="noisy_accuracy")
