"""Adam (Kingma and Ba, 2015, ICLR, arXiv:1412.6980, algorithm 1, in the order of the end of section 2)."""

from __future__ import annotations

from typing import NamedTuple

from advrun.engine import ops
from advrun.geometry import per_image
from advrun.types import Tensor


class Adam(NamedTuple):
    """The running means of the gradient and of its square, shaped like the variable; beta_1 = 0.9, beta_2 = 0.999."""

    first: Tensor
    second: Tensor

    @classmethod
    def start(cls, variable: Tensor) -> Adam:
        return cls(ops.zeros_like(variable), ops.zeros_like(variable))

    def update(self, gradient: Tensor) -> Adam:
        return Adam(0.9 * self.first + 0.1 * gradient, 0.999 * self.second + 0.001 * ops.square(gradient))

    def step(self, t: Tensor) -> Tensor:
        """What is to be subtracted for a learning rate of 1 after `t` updates: a scalar, or anything that broadcasts."""
        t = ops.cast(t, "float32")
        return ops.sqrt(1 - 0.999**t) / (1 - 0.9**t) * self.first / (ops.sqrt(self.second) + 1e-8)

    def forget(self, which: Tensor) -> Adam:
        """Begin anew for the images of the mask (n,)."""
        kept = per_image(1 - ops.cast(which, "float32"), self.first)
        return Adam(kept * self.first, kept * self.second)
