"""A classifier that watches the attack on it: was any image that it asked about adversarial?"""

from __future__ import annotations

from copy import copy
from typing import Any

from advrun import engine
from advrun.engine import ops
from advrun.geometry import PIXEL_ROUNDING
from advrun.system.classifier import Classifier
from advrun.types import Tensor

SEEN = "wrong"
"""What the counter calls images within ball and box that were classified wrong, by more than rounding may take back."""


class Witness(Classifier):
    """The same system, which counts for each attacked image how often it was asked about an adversarial one. For untargeted attacks.

    The counter's `SEEN` holds the counts of the last batch.
    """

    def __init__(self, watched: Classifier) -> None:
        self.__dict__.update(watched.__dict__)
        self._begin()
        self.counter = engine.Counter("gradients", "queries", SEEN)
        self._centre: tuple[Tensor, Tensor, Any] | None = None

    def around(self, x: Tensor, ball: Any, y: Tensor) -> Witness:
        """Watches from here on. Of a random system no single draw is its answer, and nothing is watched."""
        view = copy(self)
        view.about = super().around(x, ball, y).about
        view._centre = None if ball is None or self.random else (x, ops.cast(y, "int32"), ball)
        return view

    def _outputs(self, x: Tensor) -> Tensor:
        outputs = super()._outputs(x)
        if self._centre is not None:
            self._watch(x, self._as_attacked(outputs), *self._centre)
        return outputs

    def _watch(self, x: Tensor, logits: Tensor, clean: Tensor, y: Tensor, ball: Any) -> None:
        if self.rows is not None:
            clean, y = ops.take(clean, self.rows, axis=0), ops.take(y, self.rows, axis=0)
        times = ops.shape(x)[0] // ops.shape(clean)[0]  # variants stand one behind the other
        clean, y = ops.tile(clean, (times, 1, 1, 1)), ops.tile(y, (times,))
        pixels = (1, 2, 3)
        boxed = ops.logical_and(ops.min(x, axis=pixels) >= -PIXEL_ROUNDING, ops.max(x, axis=pixels) <= 1 + PIXEL_ROUNDING)
        inside = ops.logical_and(boxed, ball.distance(x, clean) <= ball.eps + PIXEL_ROUNDING)
        self.counter.add(SEEN, ops.cast(ops.logical_and(inside, self.lead(logits, y) > 0), "int32"), self.rows)
