"""Many streams of random numbers at once: Philox4x32-10 (Salmon, Moraes, Dror and Shaw, 2011, SC, doi:10.1145/2063384.2063405).

A block of the cipher makes four numbers of 32 bits out of a counter of 128 bits and a key of 64. The key is the image's; the counter holds
the number of the block, that of the draw, and the key that all images share, so that none needs those before it. They are the numbers that
TensorFlow's own kernel makes of such a key and counter, one image after the other; normal ones but for rounding.

On a CPU too they are one kernel, made by XLA, in graphs and eagerly alike: the same operations on each number, whatever the batch.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from advrun.engine.backend import tf
from advrun.types import Tensor

ROUNDS = 10
FACTORS, STEPS = (0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85)
"""The multipliers, and what is added to the key in each round (the paper's section 2.2)."""
TOGETHER = 4
"""Blocks of an image are filled up to a multiple of so many, so that the processor's vectors hold no rest that is computed otherwise."""
ROOMS = np.array([1, 4, *(part * 2**power for power in range(3, 28) for part in (2, 3))], np.int32)
"""Numbers of images that kernels are made for; the others take the next one."""
TURN = np.float32(2 * math.pi)
SINE = (-1 / 6, 1 / 120, -1 / 5040, 1 / 362880)
COSINE = (-1 / 2, 1 / 24, -1 / 720, 1 / 40320)
"""Taylor's coefficients; up to an eighth of a turn what is left out is below rounding."""


def drawn_for(kind: str, images: Tensor, key: Tensor, draw: int, sides: tuple[Any, ...], count: int = 1) -> Tensor:
    """(n, *sides) numbers, each image's from its own stream.

    Args:
        kind: uniform, float32 in [0, 1); normal, float32; signs, -1.0 or 1.0; integers, int32 in [0, count).
        images: (n, 2) uint32.
        key: (2,) int32.
        draw: tells draws by the same key apart.
        sides: of what is drawn for one image; numbers or scalar tensors.
        count: of whole numbers.
    """
    n, size = images.shape[0], math.prod(sides) if all(isinstance(side, int) for side in sides) else tf.reduce_prod(tf.stack(sides))
    rows = tf.shape(images)[0] if n is None else n
    room = _room(rows)
    padded = images if isinstance(room, int) and room == rows else tf.pad(images, [[0, room - rows], [0, 0]])
    blocks = -(-size // (4 * TOGETHER)) * TOGETHER
    words = tf.concat([tf.constant([draw, count], tf.int32), tf.cast(key, tf.int32)], axis=0)
    numbers = _kernel(kind)(padded, tf.range(blocks), words)
    made = tf.reshape(numbers[:rows, :size], (rows, *sides))
    made.set_shape((n, *(side if isinstance(side, int) else None for side in sides)))
    return made


def _room(rows: Any) -> Any:
    """The next of `ROOMS`: a kernel is compiled for each number of images that it meets."""
    if isinstance(rows, int):
        return int(ROOMS[np.searchsorted(ROOMS, rows)])
    return tf.gather(ROOMS, tf.searchsorted(ROOMS, rows[None])[0])


@cache
def _kernel(kind: str) -> Any:
    """The compiled kernel (images (n, 2), numbers of blocks (b,), draw, count and key (4,)) -> (n, 4 b); all graphs share it."""

    def numbers(images: Tensor, blocks: Tensor, words: Tensor) -> Tensor:
        words = tf.bitcast(words, tf.uint32)
        whole = tf.zeros((tf.shape(images)[0], tf.shape(blocks)[0]), tf.uint32)
        counter = [whole + tf.bitcast(blocks, tf.uint32), *(whole + words[i] for i in (0, 2, 3))]
        made = KINDS[kind](philox(counter, (whole + images[:, :1], whole + images[:, 1:])), words[1])
        return tf.concat(made, axis=1)  # the first words of all blocks, then the second ones: to interleave them takes longer than to draw

    signature = [tf.TensorSpec((None, 2), tf.uint32), tf.TensorSpec((None,), tf.int32), tf.TensorSpec((4,), tf.int32)]
    return tf.function(numbers, input_signature=signature, autograph=False, jit_compile=True)


def philox(counter: Any, key: Any) -> list[Tensor]:
    """Four uint32 for each counter (four words, the lowest first) and key (two words)."""
    (a, b, c, d), (first, second) = counter, key
    for number in range(ROUNDS):
        if number:
            first, second = (word + tf.constant(step, tf.uint32) for word, step in zip((first, second), STEPS, strict=True))
        (high_a, low_a), (high_c, low_c) = (_product(word, factor) for word, factor in zip((a, c), FACTORS, strict=True))
        a, b, c, d = high_c ^ b ^ first, low_c, high_a ^ d ^ second, low_a
    return [a, b, c, d]


def _product(word: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """The upper and the lower half of a product of 64 bits."""
    product = tf.cast(word, tf.uint64) * tf.constant(factor, tf.uint64)
    return tf.cast(tf.bitwise.right_shift(product, tf.constant(32, tf.uint64)), tf.uint32), tf.cast(product, tf.uint32)


def _uniform(bits: Tensor) -> Tensor:
    """The lower 23 bits as a fraction, exactly: float32 in [0, 1)."""
    return tf.bitcast((bits & tf.constant(0x7FFFFF, tf.uint32)) | tf.constant(0x3F800000, tf.uint32), tf.float32) - 1.0


def _normal(first: Tensor, second: Tensor) -> list[Tensor]:
    """Two independent ones (Box and Muller, 1958, doi:10.1214/aoms/1177706645)."""
    radius = tf.sqrt(-2.0 * tf.math.log(tf.maximum(_uniform(first), 1e-7)))
    turn = _uniform(second)
    quarter = tf.floor(turn * 4.0 + 0.5)
    angle = (turn - quarter * 0.25) * TURN  # within an eighth of a turn; the difference is exact
    square = angle * angle
    sine, cosine = angle + angle * square * _series(SINE, square), 1.0 + square * _series(COSINE, square)
    number = tf.cast(quarter, tf.int32)
    odd = (number & 1) == 1
    sine, cosine = tf.where(odd, cosine, sine), tf.where(odd, sine, cosine)
    sine = tf.where((number & 2) == 2, -sine, sine)
    cosine = tf.where(((number + 1) & 2) == 2, -cosine, cosine)
    return [sine * radius, cosine * radius]


def _series(coefficients: tuple[float, ...], x: Tensor) -> Tensor:
    """Horner's rule."""
    total: Any = coefficients[-1]
    for each in reversed(coefficients[:-1]):
        total = each + x * total
    return total


def _sign(bits: Tensor) -> Tensor:
    """1.0 where the highest bit is set, -1.0 elsewhere."""
    return tf.bitcast((~bits & tf.constant(0x80000000, tf.uint32)) | tf.constant(0x3F800000, tf.uint32), tf.float32)


KINDS: dict[str, Any] = {
    "uniform": lambda words, _: [_uniform(word) for word in words],
    "normal": lambda words, _: [*_normal(*words[:2]), *_normal(*words[2:])],
    "signs": lambda words, _: [_sign(word) for word in words],
    "integers": lambda words, count: [tf.bitcast(word % count, tf.int32) for word in words],
}
