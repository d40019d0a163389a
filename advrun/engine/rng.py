"""Random numbers that repeat: one stream for all that is drawn (`Rng`), or one for each image (`EachImage`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np

from advrun.engine.backend import ops, tf
from advrun.engine.philox import drawn_for
from advrun.errors import ModelError
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

    def of(self, x: Tensor) -> EachImage:
        """What belongs to each of the images x (n, ...) float32 by this key."""
        return EachImage(self.key, images=hashed(x))

    def part(self, rows: Tensor) -> Rng:
        """The generator for the images of the batch numbered `rows` (m,) alone; this one belongs to none of them."""
        return self

    def _next(self) -> Tensor:
        self.draws += 1
        return tf.random.experimental.stateless_fold_in(self.key, 0x40000000 + self.draws)


LEVELS = 4096.0
"""Of pixels from 0 to 1, as far as random numbers depend on them. An 8-bit pixel is never halfway between two, so that it does not matter
whether a graph divides by 255 or multiplies by its inverse."""


@dataclass
class EachImage(Rng):
    """Random numbers of each image's own: they depend on the key and on its pixels alone, not on its place or its neighbours.

    So what is drawn for an image is the same alone and in a batch of any size, in any order, and after a resume. Attacks draw so for the
    clean image, and random stages for the image that they are shown. The first axis of every shape is that of the images. In a loop that
    leaves out some of the batch, draw from `rng.part(rows).fold(i)`: the iteration counts, not how often anything was drawn.

    key: (2,) int32, all that is no image's own: the seed, and what was folded in. images: (n, 2) uint32, 64 bits of each image.
    """

    images: Tensor = None

    def of(self, x: Tensor) -> EachImage:
        """What belongs to each of the images x by this key, and by the images of this one, of which x holds k variants in turn."""
        own = hashed(x)
        before = tf.tile(self.images, (tf.shape(own)[0] // tf.shape(self.images)[0], 1))
        return EachImage(self.key, images=spread(tf.ensure_shape(own + before, own.shape)))  # else a lone image's number is unknown

    def part(self, rows: Tensor) -> EachImage:
        return EachImage(self.key, images=tf.gather(self.images, rows))

    def fold(self, number: Tensor | int) -> EachImage:
        return EachImage(super().fold(number).key, images=self.images)

    def uniform(self, shape: Any, low: float = 0.0, high: float = 1.0) -> Tensor:
        numbers = self._draw("uniform", shape)
        return numbers if (low, high) == (0.0, 1.0) else numbers * (high - low) + low

    def normal(self, shape: Any) -> Tensor:
        return self._draw("normal", shape)

    def signs(self, shape: Any) -> Tensor:
        return self._draw("signs", shape)

    def integers(self, shape: Any, low: int, high: int) -> Tensor:
        return self._draw("integers", shape, high - low) + low

    def _draw(self, kind: str, shape: Any, count: int = 1) -> Tensor:
        """Raises ModelError where the first axis is not that of the images."""
        sides = tuple(shape) if not tf.is_tensor(shape) else tuple(tf.unstack(shape))
        sides = tuple(side if isinstance(side, int) or (known := tf.get_static_value(side)) is None else int(known) for side in sides)
        images = self.images.shape[0]
        if not sides or (images is not None and sides[0] is not None and (not isinstance(sides[0], int) or sides[0] != images)):
            raise ModelError(
                f"random numbers of the shape {sides} for {images} images; the first axis is the images: write (x.shape[0], ...), "
                "and inside `repeat_undecided` draw from rng.part(rows)"
            )
        self.draws += 1
        return drawn_for(kind, self.images, self.key, self.draws, sides[1:], count)


def hashed(x: Tensor) -> Tensor:
    """64 bits of each image (n, ...), (n, 2) uint32, by its pixels in `LEVELS`.

    Sums of products with odd numbers (Carter and Wegman, 1979, doi:10.1016/0022-0000(79)90044-8), each pixel's bits and the result mixed by
    the finaliser of MurmurHash3.
    """
    levels = tf.cast(tf.round(tf.stop_gradient(ops.cast(x, "float32")) * LEVELS), tf.int32)
    bits = mixed(tf.bitcast(tf.reshape(levels, (tf.shape(levels)[0], int(np.prod(x.shape[1:])))), tf.uint32))
    weights = np.random.default_rng(0xEAC4).integers(0, 2**32, (2, bits.shape[1]), np.uint32) | np.uint32(1)
    sums = [tf.reduce_sum(tf.bitcast(bits * row, tf.int32), axis=1) for row in weights]
    return spread(tf.bitcast(tf.stack(sums, axis=1), tf.uint32))


def spread(words: Tensor) -> Tensor:
    """(n, 2) uint32, each of the words over both."""
    first, second = mixed(words[:, 0]), mixed(words[:, 1])
    return tf.stack([mixed(first + 3 * second), mixed(second ^ first)], axis=1)


def mixed(bits: Tensor) -> Tensor:
    """uint32 with every bit spread over all: the finaliser of MurmurHash3 (Appleby, 2011), which is one to one."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        bits = (bits ^ tf.bitwise.right_shift(bits, tf.constant(shift, tf.uint32))) * tf.constant(factor, tf.uint32)
    return bits ^ tf.bitwise.right_shift(bits, tf.constant(16, tf.uint32))


@contextmanager
def drawing(rng: Rng) -> Iterator[None]:
    """While inside, random stages of a system draw from `rng`; in graphs, those that are traced inside."""
    outside = _drawing.set(rng)
    try:
        yield
    finally:
        _drawing.reset(outside)


def drawn() -> Rng | None:
    """What random stages draw from here; None where nobody said it."""
    return _drawing.get()


_drawing: ContextVar[Rng | None] = ContextVar("drawing", default=None)
