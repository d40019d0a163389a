"""Balls of radius eps around images, as objects: an attack that takes a ball has no branch on the norm.

Images are (n, height, width, channels) float32 in [0, 1]; eps is in the same unit (8/255 is eight grey levels).
`project` always returns to the image box [0, 1] as well as to the ball. Distances are (n,).
A ball without eps is infinitely large: minimal-norm attacks take it as their measure of distance.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from advrun.engine import Rng, ops
from advrun.errors import ConfigError
from advrun.types import Tensor


def per_image(values: Tensor, like: Tensor) -> Tensor:
    """(n,) -> (n, 1, 1, 1), to broadcast against images `like`."""
    return ops.reshape(values, (-1,) + (1,) * (len(like.shape) - 1))


def axes(images: Tensor) -> tuple[int, ...]:
    """All axes but the first."""
    return tuple(range(1, len(images.shape)))


@dataclass(frozen=True)
class Ball(ABC):
    """Images within `eps` of a centre. `eps` is a number, or a scalar tensor while an attack is being compiled."""

    eps: Any = math.inf
    name: ClassVar[str]

    def __post_init__(self) -> None:
        if isinstance(self.eps, (int, float)) and not self.eps > 0:
            raise ConfigError(f"eps is {self.eps:g}; a ball needs a radius above 0, such as 8/255")

    @abstractmethod
    def sample(self, x: Tensor, rng: Rng) -> Tensor:
        """A random image of the ball around x, inside the box."""

    @abstractmethod
    def steepest(self, gradient: Tensor) -> Tensor:
        """The displacement d of the ball with the largest <gradient, d>: a step of length eps in this norm."""

    @abstractmethod
    def project(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """The nearest image (L2 distance) to x_adv in the ball around x, then clipped to the box.

        Clipping moves every pixel towards x, which lies in the box, so the result is still in the ball.
        """

    @staticmethod
    @abstractmethod
    def distance(x_adv: Tensor, x: Tensor) -> Tensor:
        """The norm of x_adv - x, (n,)."""

    def __str__(self) -> str:
        return self.name if self.eps == math.inf else f"{self.name} {format_eps(self.eps)}"


@dataclass(frozen=True)
class Linf(Ball):
    """Every pixel changes by at most eps."""

    name: ClassVar[str] = "Linf"

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.eps, (int, float)) and 1 < self.eps < math.inf:
            raise ConfigError(f"eps is {self.eps:g}; images are in [0, 1], so write {self.eps:g}/255")

    def sample(self, x: Tensor, rng: Rng) -> Tensor:
        return self.project(x + self.eps * rng.uniform(x.shape, -1.0, 1.0), x)

    def steepest(self, gradient: Tensor) -> Tensor:
        return self.eps * ops.sign(gradient)

    def project(self, x_adv: Tensor, x: Tensor) -> Tensor:
        return ops.clip(x_adv, ops.maximum(x - self.eps, 0.0), ops.minimum(x + self.eps, 1.0))

    @staticmethod
    def distance(x_adv: Tensor, x: Tensor) -> Tensor:
        return ops.max(ops.abs(x_adv - x), axis=axes(x))


@dataclass(frozen=True)
class L2(Ball):
    """The Euclidean length of the change is at most eps."""

    name: ClassVar[str] = "L2"

    def sample(self, x: Tensor, rng: Rng) -> Tensor:
        """Uniform in the ball: a uniform direction, and a radius eps * u^(1/d)."""
        dimension = math.prod(x.shape[1:])
        radius = rng.uniform((x.shape[0],), 0.0, 1.0) ** (1.0 / dimension)
        return self.project(x + per_image(radius, x) * self.steepest(rng.normal(x.shape)), x)

    def steepest(self, gradient: Tensor) -> Tensor:
        # Scaled first: the squares of a confident model's gradient would underflow.
        largest = ops.max(ops.abs(gradient), axis=axes(gradient), keepdims=True)
        gradient = gradient / ops.where(largest > 0, largest, 1.0)
        return self.eps * gradient / per_image(_positive(l2_norm(gradient)), gradient)

    def project(self, x_adv: Tensor, x: Tensor) -> Tensor:
        change = x_adv - x
        shrink = ops.minimum(1.0, self.eps / _positive(l2_norm(change)))
        return ops.clip(x + per_image(shrink, x) * change, 0.0, 1.0)

    @staticmethod
    def distance(x_adv: Tensor, x: Tensor) -> Tensor:
        return l2_norm(x_adv - x)


GEOMETRIES: dict[str, type[Ball]] = {"linf": Linf, "l2": L2}


def l2_norm(images: Tensor) -> Tensor:
    """Euclidean length of each image, (n,)."""
    return ops.sqrt(ops.sum(ops.square(images), axis=axes(images)))


def format_eps(eps: float) -> str:
    """0.03137 -> '8/255', as the field writes it; other values as they are."""
    levels = eps * 255
    if round(eps, 2) != eps and abs(levels - round(levels)) < 1e-4 and round(levels) > 0:
        return f"{round(levels)}/255"
    return f"{eps:g}"


def _positive(length: Tensor) -> Tensor:
    return ops.maximum(length, 1e-12)
