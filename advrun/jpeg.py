"""JPEG's lossy part as tensors: colour transform, 4:2:0 subsampling, 8 x 8 cosine transform, quantisation (ITU-T T.81, annex K)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from advrun.engine import ops
from advrun.types import Tensor

Rounding = Callable[[Tensor], Tensor]

LUMA = [
    [16, 11, 10, 16, 24, 40, 51, 61],
    [12, 12, 14, 19, 26, 58, 60, 55],
    [14, 13, 16, 24, 40, 57, 69, 56],
    [14, 17, 22, 29, 51, 87, 80, 62],
    [18, 22, 37, 56, 68, 109, 103, 77],
    [24, 35, 55, 64, 81, 104, 113, 92],
    [49, 64, 78, 87, 103, 121, 120, 101],
    [72, 92, 95, 98, 112, 100, 103, 99],
]
CHROMA = np.full((8, 8), 99)
CHROMA[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]
TO_YCBCR = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32).T
COSINES = np.array(
    [[np.sqrt((1 if k == 0 else 2) / 8) * np.cos((2 * i + 1) * k * np.pi / 16) for i in range(8)] for k in range(8)], np.float32
)


def jpeg(x: Tensor, quality: int, rounded: Rounding | None = None) -> Tensor:
    """Images (n, h, w, 1 or 3) in [0, 1] as they come back from a JPEG file of a quality from 1 to 100.

    rounded: what stands for rounding, where the file itself is not meant.
    """
    rounded = rounded or ops.round
    _, height, width, channels = x.shape
    levels = rounded(pad_to(x, 16) * 255)
    if channels == 1:
        return ops.clip(quantised(levels - 128, table(LUMA, quality), rounded) + 128, 0, 255)[:, :height, :width] / 255
    ycbcr = levels @ TO_YCBCR
    luma = quantised(ycbcr[..., :1] - 128, table(LUMA, quality), rounded) + 128
    halved = ops.average_pool(ycbcr[..., 1:], 2, 2)
    chroma = ops.repeat(ops.repeat(quantised(halved, table(CHROMA, quality), rounded), 2, axis=1), 2, axis=2)
    rgb = ops.concatenate([luma, chroma], axis=-1) @ np.linalg.inv(TO_YCBCR)
    return ops.clip(rounded(rgb), 0, 255)[:, :height, :width] / 255


def smoothly_rounded(x: Tensor) -> Tensor:
    """Rounding with a gradient that is zero at whole numbers alone: round(x) + (x - round(x))^3.

    Shin and Song (2017), JPEG-resistant Adversarial Images, NIPS Workshop on Machine Learning and Computer Security, section 3.
    """
    nearest = ops.stop_gradient(ops.round(x))
    return nearest + (x - nearest) ** 3


def pad_to(x: Tensor, multiple: int) -> Tensor:
    """Height and width up to the next multiple, the last row and column repeated."""
    for axis in (1, 2):
        length = x.shape[axis]
        x = ops.take(x, np.minimum(np.arange(length + -length % multiple), length - 1), axis=axis)
    return x


def quantised(planes: Tensor, step: np.ndarray, rounded: Rounding) -> Tensor:
    """Planes (n, h, w, c), centred on 0, with the cosine coefficients of each block rounded to multiples of `step` (8, 8)."""
    _, height, width, channels = planes.shape
    blocks = ops.transpose(ops.reshape(planes, (-1, height // 8, 8, width // 8, 8, channels)), (0, 1, 3, 5, 2, 4))
    coefficients = rounded(COSINES @ blocks @ COSINES.T / step) * step
    blocks = ops.transpose(COSINES.T @ coefficients @ COSINES, (0, 1, 4, 2, 5, 3))
    return ops.reshape(blocks, (-1, height, width, channels))


def table(base: object, quality: int) -> np.ndarray:
    """The quantisation steps of a quality, as the Independent JPEG Group scales them."""
    scale = 5000 / quality if quality < 50 else 200 - 2 * quality
    return np.clip(np.floor((np.array(base) * scale + 50) / 100), 1, 255).astype(np.float32)
