"""Images of any usual kind as uint8: what their shape, type and range say is taken where it says one thing, and said."""

from __future__ import annotations

import logging

import numpy as np

from advrun.datasets._declared import Declared, in_memory
from advrun.errors import DataError

log = logging.getLogger("advrun")

ROUNDING = 0.01
"""Steps of 1/255 by which a float image may differ from an 8-bit one without a word."""
MOST_CHANNELS = 4
LEAST_GREY = 2
"""Floats that run to this or higher are grey levels; between 1 and this they may be images that overshoot."""
KEPT = 256 * 2**20
"""Bytes; larger arrays of other types are read twice rather than kept."""
EXPECTED = "expected uint8, or floats from 0 to 1"


def image_shape(declared: Declared) -> tuple[tuple[int, ...], bool]:
    """The shape as (n, height, width, channels), and whether the file has the channels first. Raises DataError; reads nothing."""
    shape = declared.shape if len(declared.shape) != 3 else (*declared.shape, 1)
    if 0 in shape or not shape:
        raise DataError(f"{declared.place} is empty: its shape is {declared.shape}")
    if declared.dtype.kind not in "iuf":
        raise DataError(f"{declared.place} holds {declared.dtype} values; {EXPECTED}")
    if len(shape) != 4:
        raise DataError(f"{declared.place} has shape {declared.shape}; expected (n, height, width, channels)")
    if shape[3] <= MOST_CHANNELS:
        return shape, False
    if shape[1] > MOST_CHANNELS:
        raise DataError(f"{declared.place} has shape {shape}; expected (n, height, width, channels) with at most {MOST_CHANNELS} channels")
    return (shape[0], *shape[2:], shape[1]), True


def read_pixels(declared: Declared) -> np.ndarray:
    """(n, height, width, channels) uint8. Raises DataError for shapes, types and ranges that are no images."""
    shape, first = image_shape(declared)
    values = declared.read() if declared.dtype == np.uint8 else _scaled(in_memory(declared, KEPT))
    if first:
        log.warning("%s has shape %s: read as channels first", declared.place, declared.shape)
        return np.ascontiguousarray(values.transpose(0, 2, 3, 1))
    return values.reshape(shape)


def _scaled(declared: Declared) -> np.ndarray:
    low, high = _range(declared)
    unit = declared.dtype.kind == "f" and high <= 1
    if low < 0 or high > 255 or (declared.dtype.kind == "f" and 1 < high < LEAST_GREY):
        raise DataError(f"{declared.place} runs from {low:g} to {high:g}; {EXPECTED}: {_remedy(low, high)}")
    images, done, far = np.empty(declared.shape, np.uint8), 0, 0.0
    for block in declared.blocks():
        levels = block.astype(np.float32) * 255 if unit else block
        rounded = np.rint(levels)
        far = max(far, float(np.abs(levels - rounded).max())) if declared.dtype.kind == "f" else far
        images[done : done + len(block)] = rounded
        done += len(block)
    if not unit and declared.dtype.kind == "f":
        also = "" if far <= ROUNDING else ", and rounded to whole ones"
        log.warning("%s runs from %g to %g: taken as grey levels from 0 to 255%s", declared.place, low, high, also)
    elif far > ROUNDING:
        log.warning("%s is rounded to 8 bit: its values are not multiples of 1/255", declared.place)
    return images


def _range(declared: Declared) -> tuple[float, float]:
    low, high = np.inf, -np.inf
    for block in declared.blocks():
        if declared.dtype.kind == "f" and not np.isfinite(block).all():
            raise DataError(f"{declared.place} holds NaN or infinite values; {EXPECTED}")
        low, high = min(low, float(block.min())), max(high, float(block.max()))
    return low, high


def _remedy(low: float, high: float) -> str:
    """What to do to images of another range."""
    model = "what the model expects is said with it, not done to the images"
    if -0.5 <= low < 0 and high <= 0.5:
        return f"write them as x + 0.5; {model}"
    if -1 <= low < 0 and high <= 1:
        return f"write them as (x + 1) / 2; {model}"
    if low >= 0 and high < LEAST_GREY:
        return "clip them to 1"
    if low < 0 and high < 20:
        return f"undo the standardisation (x * std + mean); {model}"
    return "rescale them"
