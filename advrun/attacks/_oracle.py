"""The labels that a model gives to many images, asked and counted batch by batch, outside any graph."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from advrun import engine
from advrun.system import Decisions
from advrun.system.classifier import batches

BATCH = 256


def oracle(model: Decisions) -> Callable[[np.ndarray], np.ndarray]:
    """Images (n, h, w, c) float32 -> classes (n,) int32, one query each; for a `fit`."""
    ask = engine.compiled(lambda x, asked: model.labels(x, asked=asked))

    def labels(x: np.ndarray) -> np.ndarray:
        return np.concatenate([np.asarray(ask(batch, np.arange(len(batch)) < size))[:size] for batch, size in batches(x, BATCH)])

    return labels
