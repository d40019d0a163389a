"""Metrics: `NAME(outcome: Outcome) -> {column: number or None}`. Every file here adds its columns to every row."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from advrun.engine import to_unit
from advrun.system import Classifier


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a metric sees of n images: clean and adversarial, with the measured system's logits for both.

    images: (n, h, w, c) uint8, or float32 in [0, 1]. attacked: (n, h, w, c) float32 in [0, 1], or None where nothing was attacked.
    y: (n,) int32. before, after: logits (n, classes). target: (n,) or None.
    """

    classifier: Classifier
    images: np.ndarray
    attacked: np.ndarray | None
    y: np.ndarray
    before: np.ndarray
    after: np.ndarray
    target: np.ndarray | None = None

    @cached_property
    def x(self) -> np.ndarray:
        """The clean images, (n, h, w, c) float32 in [0, 1]."""
        return to_unit(self.images)

    @property
    def x_adv(self) -> np.ndarray:
        """The adversarial images, or the clean ones where nothing was attacked."""
        return self.x if self.attacked is None else self.attacked

    @cached_property
    def right(self) -> np.ndarray:
        """(n,) bool: right before the attack."""
        return self.before.argmax(-1) == self.y

    @cached_property
    def fooled(self) -> np.ndarray:
        """(n,) bool: right before the attack, wrong after it."""
        return self.right & (self.after.argmax(-1) != self.y)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities (n, classes) of logits (n, classes)."""
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)
