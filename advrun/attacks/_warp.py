"""Images resampled at other places: bilinear, black outside."""

from __future__ import annotations

from advrun.engine import ops, shaped
from advrun.types import Tensor


def warp(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The images (n, h, w, c) read at fractional pixel positions `rows` and `columns`, (n, h, w); differentiable in all three."""
    _, height, width, channels = images.shape
    pixels = ops.reshape(images, (-1, height * width, channels))
    top, left = ops.floor(rows), ops.floor(columns)
    total = ops.zeros_like(images)
    for row, row_share in ((top, 1 - (rows - top)), (top + 1, rows - top)):
        for column, column_share in ((left, 1 - (columns - left)), (left + 1, columns - left)):
            inside = ops.logical_and(ops.logical_and(row >= 0, row < height), ops.logical_and(column >= 0, column < width))
            place = ops.clip(row, 0, height - 1) * width + ops.clip(column, 0, width - 1)
            place = ops.reshape(ops.cast(place, "int32"), (-1, height * width, 1))
            corner = shaped(ops.take_along_axis(pixels, place, axis=1), images)
            total += corner * ops.where(inside, row_share * column_share, 0.0)[..., None]
    return total


def stretch(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """`warp` where every row of an image is read at the same columns (n, w), and every column at the same rows (n, h)."""

    def weights(places: Tensor, size: int) -> Tensor:
        return ops.maximum(1 - ops.abs(places[..., None] - ops.arange(size, dtype="float32")), 0.0)

    _, height, width, _ = images.shape
    along = ops.einsum("nij,njwc->niwc", weights(rows, height), images)
    return ops.einsum("nkw,niwc->nikc", weights(columns, width), along)


def positions(images: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column of every pixel, (1, h, w) each."""
    _, height, width, _ = images.shape
    rows, columns = ops.meshgrid(ops.arange(height, dtype="float32"), ops.arange(width, dtype="float32"), indexing="ij")
    return rows[None], columns[None]
