"""Some images of a data set, as a defence looks at them that learns numbers rather than weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from advrun import engine
from advrun.images import AnyImages
from advrun.system.classifier import batches
from advrun.types import Tensor

BATCH = 256


@dataclass(frozen=True, eq=False)
class Samples:
    """Images, some rows of an array, and their labels. x: (m, h, w, c). labels: (m,). rows: (n,), which of them."""

    x: AnyImages
    labels: np.ndarray
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def y(self) -> np.ndarray:
        """Their labels (n,)."""
        return np.asarray(self.labels[self.rows])

    def over(self, function: Callable[[Tensor], Tensor]) -> np.ndarray:
        """What a function makes of all of them, batch by batch: images (k, h, w, c) float32 in [0, 1] -> (k, ...), each by itself."""
        run = engine.compiled(lambda images: function(engine.to_unit(images)))
        parts = [np.asarray(run(np.asarray(self.x[rows])))[:count] for rows, count in batches(self.rows, BATCH)] if len(self) else []
        return np.concatenate(parts) if parts else np.empty(0, np.float32)
