"""Confidence in the true class, before and after the attack."""

from __future__ import annotations

import numpy as np

from advrun.metrics import Outcome, softmax

ROWS = 4096
"""Images at once: of a thousand classes, the probabilities of 50,000 would take as much memory as the network."""


def confidence(outcome: Outcome) -> dict[str, float | None]:
    """Mean softmax probability of the true class, on clean images and on adversarial ones."""
    return {
        "confidence_before": float(true_class_probability(outcome.before, outcome.y).mean()),
        "confidence_after": float(true_class_probability(outcome.after, outcome.y).mean()),
    }


def true_class_probability(logits: np.ndarray, y: np.ndarray) -> np.ndarray:
    """softmax(logits)[y], (n,)."""
    parts = (slice(start, start + ROWS) for start in range(0, len(y), ROWS))
    return np.concatenate([softmax(logits[part])[np.arange(len(y[part])), y[part]] for part in parts])
