"""A photograph of anybody's as the model takes it, and images as PNG files."""

from __future__ import annotations

import base64
import binascii
import io
from pathlib import Path

import numpy as np

from advrun.errors import DataError
from advrun.physical.photos import opened_photo
from advrun.report.mosaic import CRISP, ROUNDING, magnification, pooled

MOST_BYTES = 10 << 20
"""Of a file that is uploaded."""
MOST_PIXELS = 50_000_000
"""Of such a file: decoded it takes six bytes a pixel for a moment."""
LONGEST = 512
"""Pixels a side of a change that is shown."""


def fitted(photo: Path | bytes, image_shape: tuple[int, ...]) -> np.ndarray:
    """A photograph as (height, width, channels) uint8: turned as the camera says, its middle cut out, averaged down to the size.

    Args:
        photo: a file, or what is in one.
        image_shape: (height, width, channels) of the model's images; three channels are RGB, one is grey.

    Raises:
        DataError: with the reason alone, for what is no photograph that can be read, or for images of other channels.
    """
    from PIL import Image, ImageOps

    height, width, channels = image_shape
    if channels not in (1, 3):
        raise DataError(f"the images of this data set have {channels} channels, and photographs 1 or 3; take one of its test images")
    colours = opened_photo(photo if isinstance(photo, Path) else io.BytesIO(photo), MOST_PIXELS)
    image = Image.fromarray(colours).convert("RGB" if channels == 3 else "L")
    pixels = np.asarray(ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR))
    return pixels.reshape(height, width, channels)


def png(image: np.ndarray) -> bytes:
    """(height, width, channels), uint8 or float in [0, 1], as a file; of two channels their mean, of more than three the first three."""
    from PIL import Image

    levels = image if image.dtype == np.uint8 else np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)
    shown = levels.mean(-1).astype(np.uint8) if levels.shape[-1] == 2 else levels[..., :3] if levels.shape[-1] > 1 else levels[..., 0]
    buffer = io.BytesIO()
    Image.fromarray(shown).save(buffer, "PNG")
    return buffer.getvalue()


def url(image: np.ndarray) -> str:
    """The image as a data: URL."""
    return "data:image/png;base64," + base64.b64encode(png(image)).decode("ascii")


def from_url(text: str, image_shape: tuple[int, ...]) -> np.ndarray:
    """The inverse of `url`, (height, width, channels) uint8. Raises DataError for anything but a PNG file of that size."""
    from PIL import Image

    height, width, channels = image_shape
    try:
        content = base64.b64decode(text.removeprefix("data:image/png;base64,"), validate=True)
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            if image.size != (width, height):
                raise DataError(f"the image has {image.width} x {image.height} pixels; the model takes {width} x {height}")
            pixels = np.asarray(image.convert("RGB" if channels == 3 else "L"))
    except DataError:
        raise
    except (binascii.Error, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError("the image is no PNG file that can be read") from error
    return pixels.reshape(image_shape)


def seen(change: np.ndarray) -> tuple[np.ndarray, int]:
    """A change (height, width, channels) as an image, grey where nothing was changed, and the factor that it was multiplied by."""
    factor = magnification(change)
    return np.clip(0.5 + factor * pooled(change, LONGEST), 0, 1), factor


def is_crisp(image_shape: tuple[int, ...]) -> bool:
    """Whether images of this shape are shown pixel by pixel; larger ones are smoothed, as photographs are."""
    return max(image_shape[:2]) <= CRISP


def is_changed(change: np.ndarray) -> bool:
    """Whether there is more than rounding."""
    return bool(np.abs(change).max() > ROUNDING)
