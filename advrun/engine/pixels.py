"""Grey levels and the interval [0, 1]: the one place where uint8 becomes float."""

from __future__ import annotations

from typing import Any

import numpy as np

from advrun.engine.backend import tf
from advrun.images import Images, changed


def to_unit(images: Any) -> Any:
    """uint8 grey levels to float32 in [0, 1]; float images as they are. An array gives an array, a tensor a tensor, with the same bits.

    Images that lie somewhere else stay there, and are changed when they are read.
    """
    if isinstance(images, Images):
        return changed(images, to_unit, np.float32) if images.dtype == np.uint8 else images
    if isinstance(images, np.ndarray):
        return images.astype(np.float32) / np.float32(255) if images.dtype == np.uint8 else images
    return tf.cast(images, tf.float32) / 255.0 if images.dtype == tf.uint8 else images
