"""Measuring: images and what a system makes of them -> a typed row. Also the checks that make a number worth printing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from advrun import engine, registry
from advrun.classifier import Classifier, pad
from advrun.craft import unit
from advrun.errors import ModelError
from advrun.geometry import GEOMETRIES
from advrun.losses import log_odds
from advrun.metrics import Outcome
from advrun.results import Result, Row, binomial_interval


def measure(outcome: Outcome, row: Mapping[str, Any], known: Mapping[str, float | None]) -> Result:
    """Accuracy with its interval, and every metric of the registry, as a row.

    Args:
        outcome: the images and what the measured system makes of them.
        row: the row's other columns.
        known: metrics that are known already.
    """
    predictions = outcome.after.argmax(-1).astype(np.int32)
    right, n = int((predictions == outcome.y).sum()), len(outcome.y)
    columns = dict(known)
    for name in registry.names("metrics"):
        columns |= registry.get("metrics", name).function(outcome)
    content = Row(n=n, accuracy=right / n, interval=binomial_interval(right, n), metrics=columns, **row)
    distances = np.asarray(GEOMETRIES[content.norm].distance(outcome.x_adv, outcome.x)) if content.norm else np.zeros(n, np.float32)
    return Result(content, outcome.y, predictions, distances)


def zero_gradients(classifier: Classifier, x: np.ndarray, y: np.ndarray, batch_size: int) -> float:
    """Share of the images whose loss gradient is zero everywhere, or not finite: there a gradient attack is blind, not the model robust."""

    def build() -> Any:
        return lambda images, y: classifier.gradient(log_odds, engine.to_unit(images), y)

    run = classifier.compiled("zero gradients", build)
    size = min(batch_size, len(x))
    blind = 0
    for start in range(0, len(x), size):
        images, labels = x[start : start + size], y[start : start + size]
        gradient = np.asarray(run(pad(images, size), pad(labels, size)))[: len(images)]
        blind += int(((gradient == 0).all((1, 2, 3)) | ~np.isfinite(gradient).all((1, 2, 3))).sum())
    return blind / len(x)


def check_against_keras(classifier: Classifier, model: Any, x: np.ndarray, batch_size: int = 256) -> None:
    """Refuse to go on unless the classifier predicts what plain Keras does. Raises ModelError.

    Args:
        model: the Keras model as it was built or loaded, before anything was cut off.
        x: (n, h, w, c) uint8 or float32 in [0, 1]; at most 0.05 % of the predicted classes may differ, for rounding.
    """
    ours = classifier.predict(x, batch_size).argmax(-1)
    theirs = model.predict(unit(x), batch_size=batch_size, verbose=0).argmax(-1)
    differ = int((ours != theirs).sum())
    if differ > 0.0005 * len(x):
        raise ModelError(
            f"model {classifier.name!r}: {differ} of {len(x)} predictions differ from plain Keras; nothing measured on it would be right"
        )
