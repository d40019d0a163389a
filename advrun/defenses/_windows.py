"""Filters over the neighbourhood of each pixel, channel by channel; images go on beyond their border as in a mirror."""

from __future__ import annotations

import numpy as np

from advrun.engine import ops
from advrun.types import Tensor

TRUNCATE = 4.0
"""Standard deviations at which a Gaussian kernel ends."""


def blurred(x: Tensor, sigma: float) -> Tensor:
    """(n, height, width, channels) blurred by a Gaussian of standard deviation `sigma` pixels, rows and columns one after the other."""
    radius = int(TRUNCATE * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    return _weighted(x, offsets, np.exp(-0.5 * (offsets / sigma) ** 2))


def mean_of(x: Tensor, size: int) -> Tensor:
    """(n, height, width, channels) with each pixel the mean of the size x size pixels around it, the same as in `percentile_of`."""
    return _weighted(x, np.arange(size) - size // 2, np.ones(size))


def _weighted(x: Tensor, offsets: np.ndarray, weights: np.ndarray) -> Tensor:
    """The mean, with these weights, of the pixels so far away, along rows and columns one after the other."""
    rows, columns = (ops.convert_to_tensor(_matrix(side, offsets, weights / weights.sum())) for side in x.shape[1:3])
    return ops.einsum("ij,njwc->niwc", rows, ops.einsum("ij,nhjc->nhic", columns, x))


def _matrix(side: int, offsets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(side, side), which does it to a line of so many pixels: row i holds the weights of pixel i."""
    matrix = np.zeros((side, side))
    for pixel in range(side):
        np.add.at(matrix[pixel], mirrored(pixel + offsets, side), weights)
    return matrix.astype(np.float32)


def mirrored(places: np.ndarray, side: int) -> np.ndarray:
    """Places beyond the border as places within it: ... 1 0 | 0 1 2 ... side-1 | side-1 side-2 ..."""
    places = places % (2 * side)
    return np.minimum(places, 2 * side - 1 - places)


def percentile_of(x: Tensor, size: int, percentile: float) -> Tensor:
    """(n, height, width, channels) with each pixel the given percentile, 0 to 100, of the size x size pixels around it.

    No value between two is made up: of the sorted values it is that with the number floor(size^2 percentile / 100), from 0, and at most
    the last (as in `scipy.ndimage.percentile_filter`). Of an even size the window reaches one pixel farther to the left and upwards.
    """
    places = np.arange(size) - size // 2
    rows, columns = (mirrored(np.arange(side)[:, None] + places, side).T.copy() for side in x.shape[1:3])
    taken = [ops.take(x, row, axis=1) for row in rows]
    values = [ops.take(part, column, axis=2) for part in taken for column in columns]
    rank = min(int(len(values) * percentile / 100), len(values) - 1)
    return ops.sort(ops.stack(values, axis=-1), axis=-1)[..., rank]
