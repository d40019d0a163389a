"""Gaussian blur, the border repeated."""

from __future__ import annotations

import math

from advrun.engine import ops
from advrun.geometry import per_image
from advrun.types import Tensor


def gaussian_blur(x: Tensor, sigma: Tensor, widest: float) -> Tensor:
    """Images blurred by a Gaussian of standard deviation `sigma` pixels, (n,), at most `widest`; cut off at three times that."""
    radius = max(math.ceil(3 * widest), 1)
    spread = 2 * per_image(ops.maximum(sigma, 1e-3), x) ** 2
    offsets = range(-radius, radius + 1)
    weights = [ops.exp(-(offset**2) / spread) for offset in offsets]
    total = sum(weights)
    for axis in (1, 2):
        length = x.shape[axis]
        shifted = (ops.take(x, ops.clip(ops.arange(length) + offset, 0, length - 1), axis=axis) for offset in offsets)
        x = sum(weight / total * image for weight, image in zip(weights, shifted, strict=True))
    return x
