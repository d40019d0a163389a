"""Random numbers that repeat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from advrun.engine.backend import tf
from advrun.types import Tensor


@dataclass
class Rng:
    """Counter-based random numbers: the same key gives the same numbers, compiled or eager, now or after a resume.

    Successive draws from one object differ. Inside `repeat`, draw from `rng.fold(i)`: the body is traced once, so an
    object from outside the loop would give every iteration the same numbers.
    """

    key: Tensor
    draws: int = 0

    @classmethod
    def from_seed(cls, *numbers: int) -> Rng:
        """A key from any number of whole numbers, such as (experiment seed, cell, batch)."""
        return cls(np.random.SeedSequence([n & 0xFFFFFFFF for n in numbers]).generate_state(2).astype(np.int32))

    def fold(self, number: Tensor | int) -> Rng:
        """An independent generator for each number."""
        return Rng(tf.random.experimental.stateless_fold_in(self.key, number))

    def uniform(self, shape: Any, low: float = 0.0, high: float = 1.0) -> Tensor:
        """float32 in [low, high)."""
        return tf.random.stateless_uniform(shape, self._next(), low, high)

    def normal(self, shape: Any) -> Tensor:
        """float32, mean 0, variance 1."""
        return tf.random.stateless_normal(shape, self._next())

    def signs(self, shape: Any) -> Tensor:
        """-1.0 or 1.0, with the same probability."""
        return tf.where(self.uniform(shape) < 0.5, -1.0, 1.0)

    def integers(self, shape: Any, low: int, high: int) -> Tensor:
        """int32 in [low, high)."""
        return tf.random.stateless_uniform(shape, self._next(), low, high, dtype=tf.int32)

    def _next(self) -> Tensor:
        self.draws += 1
        return tf.random.experimental.stateless_fold_in(self.key, 0x40000000 + self.draws)
