"""Random numbers that repeat."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np

from advrun.engine.backend import ops, tf
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

    def _next(self) -> Tensor:
        self.draws += 1
        return tf.random.experimental.stateless_fold_in(self.key, 0x40000000 + self.draws)


LEVELS = 4096.0
"""Of pixels from 0 to 1, as far as random numbers depend on them. An 8-bit pixel is never halfway between two, so that it does not matter
whether a graph divides by 255 or multiplies by its inverse."""


@dataclass
class EachImage(Rng):
    """Random numbers of each image's own: they depend on the key and on its pixels alone, not on its place or its neighbours.

    So what a random stage makes of an image is the same alone and in a batch of any size, and after a resume. The first axis of every shape
    is that of the images, whatever number stands there. The first 64 bits of a key are hashed from the pixels by sums of products
    with odd numbers (Carter and Wegman, 1979, doi:10.1016/0022-0000(79)90044-8), each pixel's bits and the result mixed by the
    finaliser of MurmurHash3.

    key: (n, 2) int32.
    """

    @classmethod
    def of(cls, x: Tensor, key: Tensor) -> EachImage:
        """x: (n, ...) float32. key: (2,) int32, as an `Rng` has it."""
        levels = tf.cast(tf.round(tf.stop_gradient(ops.cast(x, "float32")) * LEVELS), tf.int32)
        bits = _mixed(tf.bitcast(tf.reshape(levels, (tf.shape(levels)[0], -1)), tf.uint32))
        count = int(np.prod(x.shape[1:]))
        weights = np.random.default_rng(0xEAC4).integers(0, 2**32, (2, count), np.uint32) | np.uint32(1)
        sums = [tf.reduce_sum(tf.bitcast(bits * row, tf.int32), axis=1) for row in weights]
        return cls(tf.stack(sums, axis=1))._with(key)

    def fold(self, number: Tensor | int) -> EachImage:
        return self._with(tf.random.experimental.stateless_fold_in(tf.constant([0x1A6E, 0x5EED]), number))

    def uniform(self, shape: Any, low: float = 0.0, high: float = 1.0) -> Tensor:
        return self._each(shape, lambda shape, key: tf.random.stateless_uniform(shape, key, low, high), tf.float32)

    def normal(self, shape: Any) -> Tensor:
        return self._each(shape, tf.random.stateless_normal, tf.float32)

    def signs(self, shape: Any) -> Tensor:
        return tf.where(self.uniform(shape) < 0.5, -1.0, 1.0)

    def integers(self, shape: Any, low: int, high: int) -> Tensor:
        return self._each(shape, lambda shape, key: tf.random.stateless_uniform(shape, key, low, high, dtype=tf.int32), tf.int32)

    def _with(self, key: Tensor) -> EachImage:
        """Other numbers for another key."""
        both = tf.bitcast(self.key, tf.uint32) + tf.bitcast(tf.cast(key, tf.int32), tf.uint32)
        first, second = _mixed(both[:, 0]), _mixed(both[:, 1])
        return EachImage(tf.bitcast(tf.stack([_mixed(first + 3 * second), _mixed(second ^ first)], axis=1), tf.int32))

    def _each(self, shape: Any, draw: Callable[[Any, Tensor], Tensor], dtype: Any) -> Tensor:
        """Raises ModelError where the first axis is not that of the images."""
        sides = tuple(shape) if not tf.is_tensor(shape) else tuple(tf.unstack(shape))
        images = self.key.shape[0]
        if not sides or (isinstance(sides[0], int) and images is not None and sides[0] not in (images, None)):
            raise ModelError(
                f"random numbers of the shape {sides} for {images} images; the first axis is the images: write (x.shape[0], ...)"
            )
        self.draws += 1
        return tf.map_fn(lambda key: draw(sides[1:], key), self.fold(0x40000000 + self.draws).key, fn_output_signature=dtype)


def _mixed(bits: Tensor) -> Tensor:
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
