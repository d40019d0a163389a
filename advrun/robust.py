"""Accuracy under a small attack while a network is trained: what notices that its robustness has begun to fall.

Adversarial training overfits: after some epochs the robust accuracy of images that were held out falls while that of the training images
still rises (Rice, Wong and Kolter, 2020, arXiv:2002.11569). One-step training may lose it all within an epoch (Wong et al., 2020,
arXiv:2001.03994, section 5.4). The epoch that is kept is therefore chosen by it: `monitor: robust_accuracy`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from advrun.attack import Attack
from advrun.engine import Rng, compiled, ops, to_unit
from advrun.errors import ConfigError
from advrun.system import Classifier
from advrun.system.classifier import batches
from advrun.types import Tensor

ROBUST = "robust_accuracy"
"""The name of the value, in `train.monitor` and among the curves."""
BATCH = 256


class RobustAccuracy:
    """The share of images that a network classifies right although they are attacked.

    Args:
        network: a Keras model from images to logits; what counts are its weights when it is asked.
        attack: what the images are attacked with; one function of a batch, as `train.monitor_attack` sees to it.
        label: of the training, for messages.

    Raises:
        ConfigError: for a network that gives no classes.
    """

    def __init__(self, network: Any, attack: Attack, label: str) -> None:
        shapes = (getattr(network, "input_shape", None), getattr(network, "output_shape", None))
        if [len(shape) if isinstance(shape, tuple) else 0 for shape in shapes] != [4, 2]:
            raise ConfigError(
                f"{label}: train.monitor is {ROBUST}, but what is trained is no classifier of images; "
                "take the monitor out of its train section, or name the classifier: fit(..., system=...)"
            )
        self.classifier, self.attack = Classifier(network), attack
        self._right = compiled(self._still_right)

    def __call__(self, x: np.ndarray, y: np.ndarray, seed: int) -> float:
        """Share, 0 to 1, of images x (n, h, w, c) uint8 or float32 in [0, 1] with classes y (n,); the same seed gives the same share."""
        right = 0.0
        pairs = zip(batches(x, BATCH), batches(y, BATCH), strict=True)
        for i, ((images, size), (labels, _)) in enumerate(pairs):
            right += float(np.asarray(self._right(images, labels, Rng.from_seed(seed, 0xBEA7, i).key))[:size].sum())
        return right / len(x)

    def _still_right(self, images: Tensor, y: Tensor, key: Tensor) -> Tensor:
        x_adv = self.attack(self.classifier, to_unit(images), y, Rng(key))
        answers = ops.argmax(self.classifier.forward(x_adv), axis=-1)
        return ops.cast(ops.equal(ops.cast(answers, "int32"), ops.cast(y, "int32")), "float32")
