"""Checks without which no number is worth printing: advrun sees what plain Keras sees, and gradients are there."""

from __future__ import annotations

from typing import Any

import numpy as np

from advrun import engine
from advrun.errors import ModelError
from advrun.images import AnyImages
from advrun.losses import log_odds
from advrun.system.classifier import Classifier, batches, pad
from advrun.system.ends import answers, ending
from advrun.system.stages import chained


def check_against_keras(classifier: Classifier, model: Any, x: AnyImages, batch_size: int = 256) -> None:
    """Refuse to go on unless the classifier predicts what plain Keras does. Raises ModelError.

    Args:
        model: the Keras model or chain as it was built or loaded, before anything was cut off.
        x: (n, h, w, c) uint8 or float32 in [0, 1]; at most 0.05 % of the predicted classes may differ, for rounding.
    """
    ours = classifier.plainly().predict(x, batch_size)[:, : classifier.classes].argmax(-1)  # the network's, whether rejected or not
    chain = chained(model)
    squashed = ending(chain.network)
    shown = ((np.asarray(chain.purify(engine.to_unit(batch))), size) for batch, size in batches(x, batch_size))
    theirs = np.concatenate([answers(chain.network.predict_on_batch(batch), squashed)[:size] for batch, size in shown])
    differ = int((theirs[np.arange(len(x)), ours] < theirs.max(-1)).sum())  # squashed scores may be equal where logits are not
    if differ > 0.0005 * len(x):
        raise ModelError(
            f"model {classifier.name!r}: {differ} of {len(x)} predictions differ from plain Keras; nothing measured on it would be right"
        )


def zero_gradients(classifier: Classifier, x: AnyImages, y: np.ndarray, batch_size: int) -> float:
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
