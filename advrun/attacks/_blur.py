"""Gaussian blur, the border repeated."""

from __future__ import annotations

import math

import numpy as np

from advrun.engine import ops
from advrun.types import Tensor


def gaussian_blur(x: Tensor, sigma: Tensor, widest: float) -> Tensor:
    """Images blurred by a Gaussian of standard deviation `sigma` pixels, (n,), at most `widest`; cut off at three times that."""
    radius = max(math.ceil(3 * widest), 1)
    across = ops.einsum("nij,nhjc->nhic", matrices(x.shape[2], sigma, radius), x)
    return ops.einsum("nij,njwc->niwc", matrices(x.shape[1], sigma, radius), across)


def matrices(length: int, sigma: Tensor, radius: int) -> Tensor:
    """For each image the matrix (n, length, length) that blurs a line of so many pixels."""
    places = np.arange(-radius, length + radius)
    offsets = places[None] - np.arange(length)[:, None]
    near = ops.convert_to_tensor((np.abs(offsets) <= radius).astype(np.float32))
    squares = ops.convert_to_tensor((offsets**2).astype(np.float32))
    weights = near * ops.exp(-squares / (2 * ops.reshape(ops.maximum(sigma, 1e-3), (-1, 1, 1)) ** 2))
    border = ops.convert_to_tensor(np.eye(length, dtype=np.float32)[places.clip(0, length - 1)])
    return ops.matmul(weights / ops.sum(weights, axis=-1, keepdims=True), border)
