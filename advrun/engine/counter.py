"""What is counted while a graph runs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from advrun.engine.backend import tf
from advrun.types import Tensor


class Counter:
    """Whole numbers for each image of a batch, which compiled code adds to and Python reads."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self._value = tf.Variable(np.zeros((len(names), 1), np.int64), shape=(len(names), None), trainable=False)

    def start(self, images: int = 1) -> None:
        """Count anew, for each of so many images; before that, and by default, all images together."""
        self._value.assign(np.zeros((len(self.names), images), np.int64))

    def add(self, name: str, amount: Tensor, rows: Tensor | None = None) -> None:
        """Add `amount` (m,), m any multiple of the images (or of `rows`, the numbers of the images that are meant)."""
        images = tf.shape(self._value)[1]
        index = tf.range(tf.shape(amount)[0])
        image = index % images if rows is None else tf.gather(rows, index % tf.shape(rows)[0]) % images
        added = tf.math.unsorted_segment_sum(tf.cast(amount, tf.int64), image, images)
        self._value.assign_add([added * int(name == each) for each in self.names])

    def each(self) -> Tensor:
        """What was counted for each image, of all kinds together, int32 (images,)."""
        return tf.cast(tf.reduce_sum(self._value, axis=0), tf.int32)

    def go_on_from(self, counts: Mapping[str, int]) -> None:
        """Count on from there, all images together."""
        self._value.assign([[counts[name]] for name in self.names])

    def read(self) -> dict[str, np.ndarray]:
        """Name -> (images,) int64."""
        return dict(zip(self.names, self._value.numpy().copy(), strict=True))  # a copy: the next batch counts in the same memory
