"""The camera that photographs the signs: motion, defocus, a colour filter on few pixels, noise and saturation.

The bytes must not depend on the processor, but matrix products are summed in any order and with fused multiply-adds. So
images and weights are whole numbers held in float32, small enough that every sum stays below 2**24 and is exact in any
order. All other arithmetic is + - * / of single numbers, which IEEE 754 rounds alike everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from advrun.datasets._signs_tracks import Floats, Tracks

WHITE = 2048
"""Radiance at which the sensor saturates."""
BRIGHTEST = 4 * WHITE - 1
"""Largest radiance of a scene."""
LEVELS = 32
"""Largest weight: sums over up to 64 pixels of BRIGHTEST are exact."""
COLOUR_PITCH = 1.35
"""Distance of independent samples of red and blue, in pixels of the sensor: 2 on a Bayer mosaic, less once demosaiced."""


@dataclass(frozen=True)
class Camera:
    """How each of n photographs is taken; all (n,) float32, lengths in pixels of the finished image.

    pixel: width of the sensor's pixels; above 1 the sign was far away.
    defocus: width that is added to soft edges.
    motion_x, motion_y: way that the image moves while the shutter is open.
    noise: standard deviation of the sensor's noise, as a fraction of WHITE.
    """

    pixel: Floats
    defocus: Floats
    motion_x: Floats
    motion_y: Floats
    noise: Floats

    @classmethod
    def for_tracks(cls, tracks: Tracks, size: int) -> Camera:
        """Cameras of a car that comes nearer: on the sensor half of the signs are 23 to 45 pixels wide, as in GTSRB."""
        unit = np.float32(size / 32)
        width: Floats = np.clip(tracks.lognormal(20, 0.35) / (1 - np.float32(0.7) * tracks.approach()), 14, 128)
        return cls(
            pixel=np.float32(size) / width,
            defocus=unit * np.abs(tracks.normal(0.2, 0.1)),
            motion_x=unit * np.abs(tracks.normal(0.2, 0.2)),
            motion_y=unit * np.abs(tracks.normal(0.2, 0.2)),
            noise=tracks.lognormal(0.0025, 0.6),
        )


def photograph(radiance: Floats, camera: Camera, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Photographs (n, size, size, 3) uint8 RGB of scenes (n, 3, size, size) float32 in which 1 is WHITE. Changes `radiance`.

    Red and blue are sampled more coarsely than green, as by a Bayer filter, which gives small signs coloured fringes.
    Signs that are larger on the sensor than in the finished image have none.
    """
    radiance *= WHITE
    np.clip(np.rint(radiance, out=radiance), 0, BRIGHTEST, out=radiance)
    size = radiance.shape[-1]
    pitch, phase = _mosaic(camera.pixel)
    rows, columns = (_exposure(size, pitch, phase, camera, motion) for motion in (camera.motion_y, camera.motion_x))
    sensed = _resample(radiance, rows, columns)
    sensed += _noise(sensed.shape, rng) * (camera.noise * WHITE)[:, None, None, None]
    np.clip(np.rint(sensed, out=sensed), 0, WHITE, out=sensed)
    grid = _interpolation(size, pitch, phase)
    picture = _resample(sensed, grid, grid)
    picture *= 255 / WHITE
    return np.rint(picture, out=picture).astype(np.uint8).transpose(0, 2, 3, 1)


def _mosaic(pixel: Floats) -> tuple[Floats, Floats]:
    """Distance between the samples of red, green and blue and offset of the first: (n, 3), in finished pixels."""
    green = np.maximum(pixel, 1)
    colour = np.maximum(np.float32(COLOUR_PITCH) * pixel, 1)
    shift = (colour - green) / 2
    return np.stack([colour, green, colour], 1), np.stack([-shift, np.zeros_like(shift), shift], 1)


def _exposure(size: int, pitch: Floats, phase: Floats, camera: Camera, motion: Floats) -> Floats:
    """What each pixel of the scene adds to each sample along one axis: (n, 3, size, size), a box with soft edges."""
    order = np.arange(size, dtype=np.float32)
    centre = (order + np.float32(0.5)) * pitch[..., None] + (phase[..., None] - np.float32(0.5))
    reach = ((np.maximum(camera.pixel, 1) + motion) / 2)[:, None, None, None]
    weights = np.abs(order - centre[..., None])
    np.subtract(reach, weights, out=weights)
    weights /= (1 + camera.defocus)[:, None, None, None]
    weights += np.float32(0.5)
    return _levels(weights)


def _interpolation(size: int, pitch: Floats, phase: Floats) -> Floats:
    """What each sample adds to each finished pixel along one axis: (n, 3, size, size), linear interpolation."""
    order = np.arange(size, dtype=np.float32)
    place = (order + (np.float32(0.5) - phase[..., None])) / pitch[..., None] - np.float32(0.5)
    place = np.clip(place, 0, np.floor(size / pitch)[..., None] - 1)
    weights = np.abs(place[..., None] - order)
    return _levels(np.subtract(1, weights, out=weights))


def _levels(weights: Floats) -> Floats:
    np.clip(weights, 0, 1, out=weights)
    weights *= LEVELS
    return np.rint(weights, out=weights)


def _resample(image: Floats, rows: Floats, columns: Floats) -> Floats:
    """Weighted means along both axes, rounded to whole numbers; samples beyond the edge are 0."""
    half: Floats = rows @ image
    half /= np.maximum(rows.sum(-1), 1)[..., :, None]
    full: Floats = np.rint(half, out=half) @ columns.swapaxes(-1, -2)
    full /= np.maximum(columns.sum(-1), 1)[..., None, :]
    return np.rint(full, out=full)


def _noise(shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Nearly normal noise of variance 1: four random bytes added up, since a normal generator may call the C library."""
    dice = rng.integers(256, size=(4, *shape), dtype=np.uint8)
    noise: Floats = dice.sum(0, dtype=np.uint16).astype(np.float32)
    noise -= 510
    noise *= np.float32(1 / 147.8)
    return noise
