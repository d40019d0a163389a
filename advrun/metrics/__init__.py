"""Metrics: `NAME(outcome: Outcome) -> {column: number or None}`. Every file here adds its columns to every row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from advrun.classifier import Classifier


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a metric sees of n images: clean and adversarial, with the measured system's logits for both.

    x, x_adv: (n, h, w, c) float32 in [0, 1]. y: (n,) int32. before, after: logits (n, classes). target: (n,) or None.
    """

    classifier: Classifier
    x: np.ndarray
    x_adv: np.ndarray
    y: np.ndarray
    before: np.ndarray
    after: np.ndarray
    target: np.ndarray | None = None

    @property
    def fooled(self) -> np.ndarray:
        """(n,) bool: right before the attack, wrong after it."""
        return (self.before.argmax(-1) == self.y) & (self.after.argmax(-1) != self.y)
