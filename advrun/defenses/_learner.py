"""The network that a defence trains, and the losses that compare two answers of it."""

from __future__ import annotations

from typing import Any, Literal

from advrun.engine import ops
from advrun.geometry import Ball
from advrun.losses import log_odds
from advrun.system import Classifier
from advrun.system.copies import fresh_copy, same_copy
from advrun.types import Tensor

Start = Literal["fresh", "trained"]
"""With which weights a defence begins: new ones, or those of the classifier that it is given."""


def learner_of(model: Any, start: Start) -> Any:
    """A copy of the classifier to be trained; the classifier itself is left as it is."""
    return same_copy(model) if start == "trained" else fresh_copy(model)


def divergence(logits: Tensor, reference: Tensor) -> Tensor:
    """Kullback-Leibler divergence KL(softmax(reference) || softmax(logits)) of (n, classes) each, (n,), 0 or more."""
    expected, given = ops.log_softmax(reference, axis=-1), ops.log_softmax(logits, axis=-1)
    return ops.sum(ops.exp(expected) * (expected - given), axis=-1)


def against(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy -sum_k t_k log softmax(logits)_k against probabilities t, both (n, classes), (n,)."""
    return -ops.sum(targets * ops.log_softmax(logits, axis=-1), axis=-1)


def one_step(learner: Classifier, x: Tensor, y: Tensor, start: Tensor, ball: Ball, step_size: float, project: bool = True) -> Tensor:
    """FGSM from a start (Wong, Rice and Kolter, 2020, arXiv:2001.03994, algorithm 3).

    step_size is a share of eps. Without `project` start and step are added up, and only the image box holds them (de Jorge et al., 2022,
    arXiv:2202.01181, algorithm 1).
    """
    moved = start + step_size * ball.steepest(learner.gradient(log_odds, start, y))
    return ops.stop_gradient(ball.project(moved, x) if project else ops.clip(moved, 0.0, 1.0))
