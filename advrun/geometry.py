"""Balls of radius eps around images, as objects: an attack that takes a ball has no branch on the norm.

Images are (n, height, width, channels) float32 in [0, 1]; eps is in the same unit (8/255 is eight grey levels).
`project` always returns to the image box [0, 1] as well as to the ball. Distances are (n,).
A ball without eps is infinitely large: minimal-norm attacks take it as their measure of distance.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from advrun.engine import Rng, flat, fused, ops, repeat, shaped, total, toward
from advrun.errors import ConfigError
from advrun.types import Tensor

PIXEL_ROUNDING, DISTANCE_ROUNDING = 1e-6, 1e-5
"""What float32 rounding may add to a pixel, and to a distance that is summed over all pixels, as a share of it."""


def per_image(values: Tensor, like: Tensor) -> Tensor:
    """(n,) -> (n, 1, 1, 1), to broadcast against images `like`."""
    return ops.reshape(values, (-1,) + (1,) * (len(like.shape) - 1))


def axes(images: Tensor) -> tuple[int, ...]:
    """All axes but the first."""
    return tuple(range(1, len(images.shape)))


@dataclass(frozen=True)
class Ball(ABC):
    """Images within `eps` of a centre. `eps` is a number; inside an attack also a scalar tensor, or one (n,), an eps for each image."""

    eps: Any = math.inf
    name: ClassVar[str]
    order: ClassVar[float]
    """p of the Lp norm."""

    def __post_init__(self) -> None:
        if self.eps is None or isinstance(self.eps, (str, bool)):
            raise ConfigError(f"eps is {self.eps!r}; expected a number above 0, such as 8/255")
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

    @staticmethod
    @abstractmethod
    def dual(w: Tensor) -> Tensor:
        """The largest <w, d> over changes d of length 1: what turns a gap into a distance to a hyperplane. (..., h, w, c) -> (...).

        In L0, where a single value may change by up to 1, it is that of L1.
        """

    def resized(self, eps: Any) -> Self:
        """The same ball with another radius: a number, or a tensor, scalar or (n,)."""
        return type(self)(eps)

    def unit(self, gradient: Tensor) -> Tensor:
        """`steepest` of the ball with radius 1: the direction of a gradient, of length 1 in this norm."""
        return self.resized(1.0).steepest(gradient)

    def line(self, x: Tensor, x_adv: Tensor, share: Tensor) -> Tensor:
        """The image at `share` (n,) of the distance from x to x_adv, on the straight line between them."""
        return x + per_image(share, x) * (x_adv - x)

    def larger(self, eps: Tensor, share: Tensor) -> Tensor:
        """A radius that is larger by a share, where it can be no other number by the next that can."""
        return eps * (1 + share)

    def smaller(self, eps: Tensor, share: Tensor) -> Tensor:
        """A radius that is smaller by a share, where it can be no other number by the next that can."""
        return eps * (1 - share)

    def possible(self, eps: Tensor, like: Tensor) -> Tensor:
        """The smallest radius from eps on that a change of images `like` can have."""
        return eps

    @property
    def form(self) -> str:
        """All but eps, as text: attacks in balls of one form share a compiled graph."""
        return self.name

    @property
    def reach(self) -> float:
        """eps, and by how much float32 rounding may leave the ball."""
        return float(self.eps) + DISTANCE_ROUNDING * max(float(self.eps), 1.0)

    def radius(self, like: Tensor) -> Tensor:
        """eps, to broadcast against images `like`."""
        return per_image(self.eps, like) if len(getattr(self.eps, "shape", ())) == 1 else self.eps

    def __str__(self) -> str:
        return self.name if self.eps == math.inf else f"{self.name} {format_eps(self.eps)}"


@dataclass(frozen=True)
class Linf(Ball):
    """Every pixel changes by at most eps."""

    name: ClassVar[str] = "Linf"
    order: ClassVar[float] = math.inf

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.eps, (int, float)) and 1 < self.eps < math.inf:
            raise ConfigError(f"eps is {self.eps:g}; images are in [0, 1], so write {self.eps:g}/255")

    @property
    def reach(self) -> float:
        return float(self.eps) + PIXEL_ROUNDING

    def sample(self, x: Tensor, rng: Rng) -> Tensor:
        return self.project(x + self.radius(x) * rng.uniform(ops.shape(x), -1.0, 1.0), x)

    def steepest(self, gradient: Tensor) -> Tensor:
        return self.radius(gradient) * ops.sign(gradient)

    def project(self, x_adv: Tensor, x: Tensor) -> Tensor:
        eps = self.radius(x)
        return ops.clip(x_adv, ops.maximum(x - eps, 0.0), ops.minimum(x + eps, 1.0))

    def line(self, x: Tensor, x_adv: Tensor, share: Tensor) -> Tensor:
        """Of the images at that distance from x, the nearest to x_adv."""
        return self.resized(share * self.distance(x_adv, x)).project(x_adv, x)

    def within(self, change: Tensor) -> Tensor:
        """The nearest change of length eps at most; the box is left aside."""
        return ops.clip(change, -self.eps, self.eps)

    def noise(self, x: Tensor, rng: Rng) -> Tensor:
        """What a random search tries: uniform in the ball."""
        return self.sample(x, rng)

    def stride(self, gradient: Tensor) -> Tensor:
        """A step along a gradient whose values are of size 1 on average: each moves by eps times its value."""
        return self.radius(gradient) * gradient

    @staticmethod
    def distance(x_adv: Tensor, x: Tensor) -> Tensor:
        return ops.max(ops.abs(x_adv - x), axis=axes(x))

    @staticmethod
    def dual(w: Tensor) -> Tensor:
        return ops.sum(ops.abs(w), axis=PIXELS)


@dataclass(frozen=True)
class L2(Ball):
    """The Euclidean length of the change is at most eps."""

    name: ClassVar[str] = "L2"
    order: ClassVar[float] = 2.0

    def sample(self, x: Tensor, rng: Rng) -> Tensor:
        """Uniform in the ball: a uniform direction, and a radius eps * u^(1/d)."""
        dimension = math.prod(x.shape[1:])
        radius = rng.uniform(ops.shape(x)[:1], 0.0, 1.0) ** (1.0 / dimension)
        return self.project(x + per_image(radius, x) * self.steepest(rng.normal(ops.shape(x))), x)

    def steepest(self, gradient: Tensor) -> Tensor:
        # Scaled first: the squares of a confident model's gradient would underflow.
        largest = ops.max(ops.abs(gradient), axis=axes(gradient), keepdims=True)
        gradient = gradient / ops.where(largest > 0, largest, 1.0)
        return self.radius(gradient) * gradient / per_image(_positive(l2_norm(gradient)), gradient)

    def project(self, x_adv: Tensor, x: Tensor) -> Tensor:
        change = x_adv - x
        shrink = ops.minimum(1.0, self.radius(x) / per_image(_positive(l2_norm(change)), x))
        return ops.clip(x + shrink * change, 0.0, 1.0)

    def within(self, change: Tensor) -> Tensor:
        """The nearest change of length eps at most; the box is left aside."""
        return change * ops.minimum(1.0, self.eps / ops.maximum(l2_norm(change), 1e-12))

    def noise(self, x: Tensor, rng: Rng) -> Tensor:
        """What a random search tries: Gaussian, of length eps."""
        return self.project(x + self.steepest(rng.normal(ops.shape(x))), x)

    def stride(self, gradient: Tensor) -> Tensor:
        """A step along a gradient whose values are of size 1 on average: of length eps."""
        return self.steepest(gradient)

    @staticmethod
    def distance(x_adv: Tensor, x: Tensor) -> Tensor:
        return l2_norm(x_adv - x)

    @staticmethod
    def dual(w: Tensor) -> Tensor:
        return ops.sqrt(ops.sum(ops.square(w), axis=PIXELS))


@dataclass(frozen=True)
class L1(Ball):
    """The absolute changes of all values add up to at most eps."""

    name: ClassVar[str] = "L1"
    order: ClassVar[float] = 1.0

    def sample(self, x: Tensor, rng: Rng) -> Tensor:
        """Uniform in the ball: the d first of d + 1 shares of eps, uniform on the simplex, with random signs."""
        dimension = math.prod(x.shape[1:])
        shares = -ops.log(rng.uniform((ops.shape(x)[0], dimension + 1), 1e-30, 1.0))
        shares = (shares / ops.sum(shares, axis=-1, keepdims=True))[:, :dimension]
        return self.project(x + self.radius(x) * rng.signs(ops.shape(x)) * shaped(shares, x), x)

    def steepest(self, gradient: Tensor) -> Tensor:
        """All of it on the value with the largest gradient."""
        return self.radius(gradient) * ops.sign(gradient) * largest(gradient, 1)

    def project(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """In ball and box together, to 1e-5 of eps: all changes shrink by one and the same amount, and none goes further than the box.

        (Croce and Hein, 2021, arXiv:2103.01208; to clip what is in the ball would leave a part of eps unused.)
        """
        eps = ops.broadcast_to(ops.reshape(ops.convert_to_tensor(self.eps, "float32"), (-1, 1)), (ops.shape(x)[0], 1))

        def shrunk(x_adv: Tensor, x: Tensor, eps: Tensor) -> Tensor:
            change = x_adv - x
            size, room = ops.abs(change), ops.where(change > 0, 1.0 - x, x)
            kept = ops.minimum(ops.maximum(size - threshold(size, room, eps), 0.0), room)
            kept = kept * ops.minimum(1.0, eps / _positive(total(kept)[:, None]))  # what rounding left over
            z = x + ops.sign(change) * kept
            # Equal changes of equal pixels round the same way: over a whole image that would leave the ball.
            return ops.clip(ops.where(ops.abs(z - x) > kept, toward(z, x), z), 0.0, 1.0)

        return shaped(fused(shrunk)(flat(x_adv), flat(x), eps), x)

    @staticmethod
    def distance(x_adv: Tensor, x: Tensor) -> Tensor:
        return total(ops.abs(x_adv - x))

    @staticmethod
    def dual(w: Tensor) -> Tensor:
        return ops.max(ops.abs(w), axis=PIXELS)


@dataclass(frozen=True)
class L0(Ball):
    """At most eps values change (a value is one channel of one pixel), each by any amount."""

    name: ClassVar[str] = "L0"
    order: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.eps, (int, float)) and not self.eps >= 1:
            raise ConfigError(f"eps is {self.eps:g}; in L0 it is how many values may change, 1 or more")

    def sample(self, x: Tensor, rng: Rng) -> Tensor:
        """Values drawn anew at eps random places."""
        return self.project(ops.where(largest(rng.uniform(ops.shape(x)), self.eps) > 0, rng.uniform(ops.shape(x)), x), x)

    def steepest(self, gradient: Tensor) -> Tensor:
        """From one end of the box to the other at the eps values with the largest gradients."""
        return ops.sign(gradient) * largest(gradient, self.eps)

    def project(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """The eps largest changes are kept."""
        change = ops.clip(x_adv, 0.0, 1.0) - x
        return ops.where(largest(change, self.eps) > 0, ops.clip(x_adv, 0.0, 1.0), x)

    def larger(self, eps: Tensor, share: Tensor) -> Tensor:
        return ops.maximum(super().larger(eps, share), ops.floor(eps) + 1)

    def smaller(self, eps: Tensor, share: Tensor) -> Tensor:
        return ops.maximum(ops.minimum(super().smaller(eps, share), ops.floor(eps) - 1), 1.0)

    def possible(self, eps: Tensor, like: Tensor) -> Tensor:
        return ops.ceil(ops.minimum(eps, 1.0 * math.prod(like.shape[1:])))

    @staticmethod
    def dual(w: Tensor) -> Tensor:
        return L1.dual(w)

    @staticmethod
    def distance(x_adv: Tensor, x: Tensor) -> Tensor:
        return ops.cast(ops.sum(ops.cast(ops.not_equal(x_adv, x), "int32"), axis=axes(x)), "float32")


BISECTIONS = 32
"""Values closer together than 2^-32 of the largest count as equal."""
PIXELS = (-3, -2, -1)
"""The axes of images, whatever stands before them."""
GEOMETRIES: dict[str, type[Ball]] = {"linf": Linf, "l2": L2, "l1": L1, "l0": L0}


def largest(images: Tensor, count: Any) -> Tensor:
    """1 at the `count` values of each image that are largest in size and not 0, 0 elsewhere; of equal values, the first."""
    size = ops.abs(flat(images))
    count = ops.floor(ops.reshape(ops.convert_to_tensor(count, "float32"), (-1, 1)))
    count = ops.minimum(count, ops.sum(ops.cast(size > 0, "float32"), axis=-1, keepdims=True))

    def around(size: Tensor, count: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Levels below and above the last of them, and how many values lie above the lower one, by bisection."""

        def halve(_: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            low, high, above = state
            middle = (low + high) / 2
            larger = total(ops.cast(size > middle, "float32"))[:, None]
            enough = larger >= count
            return ops.where(enough, middle, low), ops.where(enough, high, middle), ops.where(enough, larger, above)

        start = (*ends(size), ops.full_like(count, size.shape[1]))
        return repeat(halve, BISECTIONS, start, until=lambda state: ops.all(state[2] == count))

    low, high, above = fused(around)(size, count)

    def first_of_equals() -> Tensor:
        larger, equal = (ops.cast(mask, "float32") for mask in (size > high, ops.logical_and(size > low, size <= high)))
        room = count - ops.sum(larger, axis=-1, keepdims=True)
        return larger + equal * ops.cast(ops.cumsum(equal, axis=-1) <= room, "float32")

    chosen = ops.cond(ops.all(above == count), lambda: ops.cast(size > low, "float32"), first_of_equals)
    return shaped(chosen, images)


def threshold(size: Tensor, room: Tensor, most: Tensor) -> Tensor:
    """How much (n, 1) to take off every value of size (n, d), cut off at 0 and at room (n, d), for them to add up to `most` (n, 1) or less.

    By Newton's method between levels that are too low and too high, which come closer by half in two steps at most.
    """

    def newton(_: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        below, above, level, _ = state
        left = size - level
        excess = total(ops.minimum(ops.maximum(left, 0.0), room))[:, None] - most
        moving = total(ops.cast(ops.logical_and(left > 0, left < room), "float32"))[:, None]
        low, high = ops.where(excess > 0, level, below), ops.where(excess > 0, above, level)
        found = ops.where(level > 0, ops.abs(excess), excess) <= 1e-5 * most
        root = level + excess / ops.maximum(moving, 1.0)
        usable = ops.logical_and(ops.logical_and(root > low, root < high), high - low <= (above - below) / 2)
        root = ops.where(usable, root, (low + high) / 2)
        return low, high, ops.where(found, level, root), found

    zeros = ops.zeros_like(most)
    start = (zeros, ops.max(size, axis=-1, keepdims=True), zeros, zeros > 0)
    return repeat(newton, 2 * BISECTIONS, start, until=lambda state: ops.all(state[3]))[2]


def between(holds: Callable[[Tensor], Tensor], values: Tensor) -> tuple[Tensor, Tensor]:
    """Neighbouring levels (n, 1), from below 0 to the largest of values (n, d) >= 0: `holds` is true at the first, false at the second.

    By bisection, which is faster than sorting the values.
    """

    def halve(_: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        low, high = state
        middle = (low + high) / 2
        true = holds(middle)
        return ops.where(true, middle, low), ops.where(true, high, middle)

    return repeat(halve, BISECTIONS, ends(values))


def ends(values: Tensor) -> tuple[Tensor, Tensor]:
    """Levels (n, 1) that all of values (n, d) >= 0 lie above, and that none does."""
    largest = ops.max(values, axis=-1, keepdims=True)
    return ops.full_like(largest, -1e-30), largest


def l2_norm(images: Tensor) -> Tensor:
    """Euclidean length of each image, (n,)."""
    return ops.sqrt(total(ops.square(images)))


def format_eps(eps: float) -> str:
    """0.03137 -> '8/255', as the field writes it; other values as they are."""
    levels = eps * 255
    if round(eps, 2) != eps and abs(levels - round(levels)) < 1e-4 and round(levels) > 0:
        return f"{round(levels)}/255"
    return f"{eps:g}"


def _positive(length: Tensor) -> Tensor:
    return ops.maximum(length, 1e-12)
