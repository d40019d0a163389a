"""What stands before the camera: a sign seen at an angle, in its light, before leaves, walls and sky.

Pixels are float32: radiance (n, 3, size, size), in which 1 saturates the sensor, and fields (n, size, size). They are
computed with + - * / alone, which every processor rounds alike. `axis` (size,) holds the pixels' centres from -1 to 1.

Medians and spreads were set by hand, until the percentiles of brightness, contrast, sharpness and colour over the images
came near to those of GTSRB's test set.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from advrun.datasets._signs_artwork import MAKERS, artwork
from advrun.datasets._signs_pen import REACH
from advrun.datasets._signs_tracks import Floats, Tracks

TILE = 128
"""Side of a background texture, which repeats."""

DARK = ((0.03, 0.035, 0.03), (0.06, 0.055, 0.05), (0.09, 0.08, 0.085), (0.16, 0.15, 0.15))
BRIGHT = ((0.3, 0.32, 0.2), (0.42, 0.34, 0.2), (0.36, 0.34, 0.32), (0.7, 0.66, 0.6), (0.6, 0.4, 0.3), (0.5, 0.52, 0.6))
SKY = ((0.9, 0.95, 1.0), (0.7, 0.82, 1.0), (1.0, 1.0, 1.0))
STICKER = ((0.8, 0.8, 0.8), (0.1, 0.1, 0.12), (0.4, 0.36, 0.3), (0.7, 0.65, 0.2))


def scene(labels: NDArray[np.int64], tracks: Tracks, size: int) -> Floats:
    """Radiance (n, 3, size, size) of scenes with the signs `labels` (n,)."""
    axis = (np.arange(size, dtype=np.float32) + np.float32(0.5)) * np.float32(2 / size) - np.float32(1)
    texture = _texture(tracks, axis)
    exposure = np.minimum(tracks.lognormal(0.62, 0.65, 0.05), np.float32(1.7))
    light = exposure * tracks.lognormal(0.85, 0.4, 0.03)
    cast = tracks.cast(0.1, warmth=-0.05)
    flare = exposure * tracks.lognormal(0.03, 0.7) + np.float32(0.02)

    sign = _sign(labels, tracks, axis)
    sign *= _visible(tracks, axis, texture)[:, None]
    radiance, cover = sign[:, :3], sign[:, 3:]
    radiance *= (light[:, None] * cast)[..., None, None]
    radiance *= _shade(tracks, axis, texture)[:, None]
    radiance += _background(tracks, axis, texture, exposure) * (1 - cover)
    radiance += flare[:, None, None, None]
    return radiance


def _sign(labels: NDArray[np.int64], tracks: Tracks, axis: Floats) -> Floats:
    """Colours and opacity (n, 4, size, size) of the signs, seen through a homography, bleached, some with a sticker."""
    size = 4 * len(axis)
    sheet = labels * len(MAKERS) + tracks.choice(len(MAKERS))
    u, v = _pose(tracks, axis)
    column, row = (np.clip((w + REACH) * (size / (2 * REACH)), 0, size - 1).astype(np.int64) for w in (u, v))
    texels = artwork(size).view(np.uint32).reshape(-1)[(sheet[:, None, None] * size + row) * size + column]
    sign = np.empty((len(labels), 4, *u.shape[1:]), np.float32)
    for channel in range(4):
        np.multiply(texels.view(np.uint8)[..., channel::4], np.float32(1 / 255), out=sign[:, channel])
    bleach = np.maximum(tracks.normal(0.08), 0)
    sign[:, :3] += bleach[:, None, None, None] * (np.float32(0.8) * sign[:, 3:] - sign[:, :3])
    _paste_stickers(sign, tracks, u, v)
    return sign


def _pose(tracks: Tracks, axis: Floats) -> tuple[Floats, Floats]:
    """Where on the sign's plane each pixel looks: two fields.

    Annotators draw the box tightly around a sign and the box is made square, so a sign seen from the side is hardly
    narrower, but it is skewed.
    """
    turn, shear = np.clip(tracks.normal(0.045, 0.01), -0.2, 0.2), tracks.normal(0.02, 0.005)
    zoom_x, zoom_y = (np.float32(1) / np.clip(tracks.lognormal(0.92, 0.045, 0.02), 0.7, 1.05) for _ in range(2))
    shift_x, shift_y = (tracks.normal(0.025, 0.025) for _ in range(2))
    depth = _plane(axis, tracks.normal(0.06, 0.01), tracks.normal(0.03, 0.01), np.ones_like(turn))
    u = _plane(axis, zoom_x, zoom_x * (shear + turn), shift_x) / depth
    v = _plane(axis, -zoom_y * turn, zoom_y, shift_y) / depth
    return u, v


def _paste_stickers(sign: Floats, tracks: Tracks, u: Floats, v: Floats) -> None:
    """Put a round sticker or a spot of dirt on a few of the signs, in place."""
    centre_u, centre_v, radius = tracks.uniform(-0.7, 0.7), tracks.uniform(-0.7, 0.7), tracks.uniform(0.08, 0.28)
    colour = tracks.colour(STICKER)
    chosen = np.flatnonzero(tracks.chance(0.08))
    centre_u, centre_v, radius = (value[chosen, None, None] for value in (centre_u, centre_v, radius))
    away_u, away_v = (u[chosen] - centre_u) / radius, (v[chosen] - centre_v) / radius
    mask = np.clip(4 - 4 * (away_u * away_u + away_v * away_v), 0, 1)[:, None]
    plate = sign[chosen]
    plate[:, :3] += mask * (plate[:, 3:] * colour[chosen, :, None, None] - plate[:, :3])
    sign[chosen] = plate


def _visible(tracks: Tracks, axis: Floats, texture: Floats) -> Floats:
    """1 where the view of the sign is free, 0 where leaves hang in front of a few of them, from one side."""
    side_x, side_y = tracks.uniform(-1, 1), tracks.uniform(-1, 1)
    reach = np.where(tracks.chance(0.05), tracks.uniform(0.3, 0.8), 9)
    free: Floats = np.clip(4 * (_plane(axis, side_x, side_y, reach) + texture) - 1, 0, 1)
    return free


def _shade(tracks: Tracks, axis: Floats, texture: Floats) -> Floats:
    """Light that reaches the sign's points: a gradient, on some the edge of a shadow, on some the shadows of leaves."""
    gradient = _plane(axis, tracks.normal(0.08), tracks.normal(0.1), np.ones(len(texture), np.float32))
    slope_x, slope_y, start = tracks.uniform(-6, 6), tracks.uniform(-6, 6), tracks.uniform(-3, 3)
    depth = np.where(tracks.chance(0.12), tracks.uniform(0.3, 0.75), 0)[:, None, None]
    edge = np.clip(_plane(axis, slope_x, slope_y, start), 0, 1)
    leaves = np.where(tracks.chance(0.15), tracks.uniform(0.3, 0.8), 0)[:, None, None]
    return np.maximum(gradient, 0.2) * (1 - depth * edge) * (1 - leaves * texture)


def _background(tracks: Tracks, axis: Floats, texture: Floats, exposure: Floats) -> Floats:
    """Two colours mixed by the texture, with the sky above a ragged horizon."""
    light = (exposure * tracks.lognormal(0.8, 0.55, 0.05))[:, None]
    dark = light * tracks.colour(DARK)
    bright = light * tracks.colour(BRIGHT) * tracks.cast(0.08)
    sky = tracks.colour(SKY) * (0.9 * np.sqrt(exposure) * tracks.lognormal(1.0, 0.4))[:, None]
    radiance = texture[:, None] * (bright - dark)[..., None, None]
    radiance += dark[..., None, None]
    horizon = np.where(tracks.chance(0.4), tracks.normal(1.0, 0.05), -9)
    ragged = tracks.uniform(0, 2)[:, None, None] * (texture - np.float32(0.5))
    mask = np.clip(4 * (_plane(axis, tracks.normal(0.2), -np.ones_like(horizon), horizon) + ragged), 0, 1)[:, None]
    radiance += mask * (sky[..., None, None] - radiance)
    return radiance


def _plane(axis: Floats, of_x: Floats, of_y: Floats, constant: Floats) -> Floats:
    """The field of_x * x + of_y * y + constant."""
    along_y = of_y[:, None] * axis + constant[:, None]
    return (of_x[:, None] * axis)[:, None, :] + along_y[:, :, None]


def _texture(tracks: Tracks, axis: Floats) -> Floats:
    """A window of a texture, 0 to 1, behind each sign: a field."""
    bank = _textures()
    scale_x, scale_y = (tracks.lognormal(22, 0.5, 0.05) for _ in range(2))
    start_x, start_y = (tracks.uniform(0, TILE) + tracks.normal(0, 3) for _ in range(2))
    column = np.floor(scale_x[:, None] * axis + start_x[:, None]).astype(np.int64) % TILE
    row = np.floor(scale_y[:, None] * axis + start_y[:, None]).astype(np.int64) % TILE
    index = (tracks.choice(len(bank))[:, None] * TILE + row) * TILE
    window: Floats = bank.reshape(-1)[index[:, :, None] + column[:, None, :]]
    return window


@cache
def _textures() -> Floats:
    """Textures (n, TILE, TILE), 0 to 1, that repeat without a seam: leaves, twigs, walls, and things out of focus."""
    rng = np.random.default_rng(0)
    leaves = [sum(_noise(rng, cells) for cells in (8, 32, 64)) for _ in range(8)]
    twigs = [-np.abs(_noise(rng, 12, 4) - 0.5) - np.abs(_noise(rng, 24) - 0.5) for _ in range(5)]
    walls = [_walls(rng) for _ in range(6)]
    blurred = [_noise(rng, 4) + 0.5 * _noise(rng, 12) for _ in range(5)]
    bank = np.stack([*leaves, *twigs, *walls, *blurred])
    low, high = (np.partition(bank.reshape(len(bank), -1), k, axis=1)[:, k, None, None] for k in (1600, TILE * TILE - 1600))
    shades: NDArray[np.float64] = np.rint(255 * np.clip((bank - low) / (high - low), 0, 1))
    return shades.astype(np.float32) / np.float32(255)


def _noise(rng: np.random.Generator, across: int, down: int | None = None) -> NDArray[np.float64]:
    """Smooth noise (TILE, TILE): random values on a lattice, interpolated linearly."""
    values = rng.random((down or across, across))
    for axis, cells in enumerate(values.shape):
        position = np.arange(TILE) * (cells / TILE)
        cell = position.astype(np.int64)
        weight = np.expand_dims(position - cell, 1 - axis)
        values = (1 - weight) * values.take(cell, axis) + weight * values.take((cell + 1) % cells, axis)
    return values


def _walls(rng: np.random.Generator) -> NDArray[np.float64]:
    """Rectangles (TILE, TILE) of many shades of grey over each other."""
    wall = np.full((TILE, TILE), 0.5)
    for left, top, width, height in rng.integers(4, 60, (60, 4)) * (2, 2, 1, 1):
        wall[top : top + height, left : left + width] = rng.random()
    return wall
