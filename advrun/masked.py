"""A ball whose images change only where a mask is: any attack inside a ball then stays on a sticker, a licence plate, a frame."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from advrun.engine import Rng, ops
from advrun.errors import ConfigError
from advrun.geometry import Ball, axes
from advrun.types import Tensor


@dataclass(frozen=True, eq=False)
class Masked(Ball):
    """The images of `ball` that are x wherever `mask` is 0.

    mask: (height, width) or (height, width, channels), 0 or 1 everywhere. An image that differs from x elsewhere has the distance infinity.
    """

    ball: Ball = None  # type: ignore[assignment]
    mask: Any = None

    def __init__(self, ball: Ball, mask: Any) -> None:
        if not isinstance(ball, Ball) or isinstance(ball, Masked):
            raise ConfigError(f"Masked takes a ball and a mask, such as Masked(Linf(8/255), mask); got {ball!r:.60}")
        for name, value in (("eps", ball.eps), ("ball", ball), ("mask", _checked(mask))):
            object.__setattr__(self, name, value)

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.ball.name

    @property
    def order(self) -> float:  # type: ignore[override]
        return self.ball.order

    @property
    def form(self) -> str:
        shape, content = self.mask.shape, hashlib.blake2b(self.mask.tobytes(), digest_size=16).hexdigest()
        return f"{self.ball.form} where {shape} {content}"

    @property
    def reach(self) -> float:
        return self.ball.reach

    def resized(self, eps: Any) -> Masked:
        return Masked(self.ball.resized(eps), self.mask)

    def sample(self, x: Tensor, rng: Rng) -> Tensor:
        return self._here(self.ball.sample(x, rng), x)

    def steepest(self, gradient: Tensor) -> Tensor:
        return self.ball.steepest(gradient * self._over(gradient))

    def project(self, x_adv: Tensor, x: Tensor) -> Tensor:
        return self.ball.project(self._here(x_adv, x), x)

    def line(self, x: Tensor, x_adv: Tensor, share: Tensor) -> Tensor:
        return self.ball.line(x, self._here(x_adv, x), share)

    def larger(self, eps: Tensor, share: Tensor) -> Tensor:
        return self.ball.larger(eps, share)

    def smaller(self, eps: Tensor, share: Tensor) -> Tensor:
        return self.ball.smaller(eps, share)

    def possible(self, eps: Tensor, like: Tensor) -> Tensor:
        return self.ball.possible(eps, like)

    def within(self, change: Tensor) -> Tensor:
        """The nearest change of length eps at most; the box is left aside."""
        return self._of("within")(change * self._over(change))

    def noise(self, x: Tensor, rng: Rng) -> Tensor:
        """What a random search tries."""
        return self._here(self._of("noise")(x, rng), x)

    def stride(self, gradient: Tensor) -> Tensor:
        """A step along a gradient whose values are of size 1 on average."""
        return self._of("stride")(gradient * self._over(gradient))

    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:  # type: ignore[override]
        outside = ops.any(ops.logical_and(ops.not_equal(x_adv, x), self._over(x) == 0), axis=axes(x))
        return ops.where(outside, math.inf, self.ball.distance(x_adv, x))

    def dual(self, w: Tensor) -> Tensor:  # type: ignore[override]
        return self.ball.dual(w * self.mask)

    def _here(self, x_adv: Tensor, x: Tensor) -> Tensor:
        return ops.where(self._over(x) > 0, x_adv, x)

    def _over(self, like: Tensor) -> np.ndarray:
        """The mask of one image in the shape that these have, (n, h, w, c) or with some of its axes as one."""
        height, width, _ = self.mask.shape
        channels = math.prod(like.shape[1:]) // (height * width)
        return np.broadcast_to(self.mask, (height, width, channels)).reshape(like.shape[1:])

    def _of(self, method: str) -> Any:
        """A method that not all balls have."""
        return getattr(self.ball, method)


def _checked(mask: Any) -> np.ndarray:
    """(height, width, 1 or channels) float32. Raises ConfigError."""
    values = np.asarray(mask)
    if values.dtype.kind not in "biuf" or values.ndim not in (2, 3) or not np.isin(values, (0, 1)).all():
        raise ConfigError(f"mask is {values.dtype} {values.shape}; expected (height, width) of 0 and 1")
    if not values.any():
        raise ConfigError("mask is 0 everywhere: no pixel may change")
    return values.reshape(*values.shape[:2], -1).astype(np.float32)
