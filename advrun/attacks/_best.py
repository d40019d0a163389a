"""The best adversarial image seen so far, kept for each image of a batch."""

from __future__ import annotations

from typing import NamedTuple

from advrun.engine import ops, select
from advrun.types import Tensor


class Best(NamedTuple):
    """x: images (n, ...); score: (n,), larger is better."""

    x: Tensor
    score: Tensor

    @classmethod
    def nothing(cls, x: Tensor) -> Best:
        """The clean images, which any candidate replaces."""
        return cls(x, ops.full(ops.shape(x)[:1], -float("inf"), dtype="float32"))

    def update(self, x: Tensor, score: Tensor) -> Best:
        """Take over the candidates with a higher score."""
        better = score > self.score
        return Best(select(better, x, self.x), select(better, score, self.score))

    def closer(self, x: Tensor, success: Tensor, distance: Tensor) -> Best:
        """Take over the successes that are closer than the closest so far; for attacks that begin with `nothing`."""
        return self.update(x, ops.where(success, -distance, -float("inf")))

    @property
    def distance(self) -> Tensor:
        """Of the closest success, (n,); infinite where there was none."""
        return -self.score


def unfinished(best: Best, early_stop: bool) -> Tensor:
    """(n,) bool: the images that still take steps, those not fooled yet, or all."""
    return best.score <= 0 if early_stop else ops.ones_like(best.score, dtype="bool")
