"""How a flat sign looks in photographs: from how far, at what angle, in what light, how sharp. Differentiable in the images."""

from __future__ import annotations

import math
from typing import NamedTuple

from advrun.attacks._blur import gaussian_blur
from advrun.attacks._warp import positions, warp
from advrun.engine import Rng, ops
from advrun.geometry import per_image
from advrun.types import Tensor

FOCUS = 5.0
"""The camera's distance from the sign, in half widths of the image: what makes parallels meet."""
MAX_ROLL, MAX_SHIFT, MAX_ZOOM = 5.0, 0.04, 0.06
"""How well a sign is found in its photograph: degrees about the line of sight, shares of the image's side, share of its size."""


class Limits(NamedTuple):
    """distance: the largest, in units of that from which the sign has all pixels of the image. angle: degrees to either side.

    light: by which share brighter or darker. blur: largest standard deviation, in pixels of the image.
    """

    distance: float
    angle: float
    light: float
    blur: float


class View(NamedTuple):
    """One photograph each, (n,).

    distance: as in `Limits`. yaw, pitch, roll: degrees. light, zoom: factors. blur: pixels. right, down: shares of the image's side.
    """

    distance: Tensor
    yaw: Tensor
    pitch: Tensor
    roll: Tensor
    light: Tensor
    blur: Tensor
    right: Tensor
    down: Tensor
    zoom: Tensor


def drawn(rng: Rng, n: int, limits: Limits) -> View:
    """Views at random: uniform between the limits, up and down a third as far as to the sides, distances by their logarithm."""

    def between(low: float, high: float) -> Tensor:
        return rng.uniform((n,), low, high)

    angle = limits.angle
    return View(
        ops.exp(between(0.0, math.log(limits.distance))),
        between(-angle, angle),
        between(-angle / 3, angle / 3),
        between(-MAX_ROLL, MAX_ROLL),
        between(1 - limits.light, 1 + limits.light),
        between(0.0, limits.blur),
        between(-MAX_SHIFT, MAX_SHIFT),
        between(-MAX_SHIFT, MAX_SHIFT),
        between(1 - MAX_ZOOM, 1 + MAX_ZOOM),
    )


def photographed(x: Tensor, view: View, limits: Limits) -> Tensor:
    """The images (n, h, w, c) as the views see them, cropped to the sign again; what lies outside of an image is its border."""
    seen = farther(turned(x, view), view.distance)
    if limits.blur:
        seen = gaussian_blur(seen, view.blur, limits.blur)
    return ops.clip(per_image(view.light, x) * seen, 0.0, 1.0)


def turned(x: Tensor, view: View) -> Tensor:
    """The images as planes, turned about the vertical by yaw, the horizontal by pitch, the line of sight by roll; seen from FOCUS.

    The plane's point P = R' (s d - t) is what the ray s d meets, where t is the plane's centre, and s makes P's third coordinate 0.
    """
    _, height, width, _ = x.shape
    rows, columns = positions(x)
    zoom, right, down = (each[:, None, None] for each in (view.zoom, view.right, view.down))
    yaw, pitch, roll = (each[:, None, None] * (math.pi / 180) for each in (view.yaw, view.pitch, view.roll))
    # A crop of the sign is as wide as the sign looks.
    across = ((columns * 2 + 1) / width - 1) * ops.cos(yaw) / zoom - 2 * right
    along = ((rows * 2 + 1) / height - 1) * ops.cos(pitch) / zoom - 2 * down
    cy, sy, cp, sp, cr, sr = ops.cos(yaw), ops.sin(yaw), ops.cos(pitch), ops.sin(pitch), ops.cos(roll), ops.sin(roll)
    # Columns of R = roll @ yaw @ pitch: where the plane's axes and its normal point.
    first = (cr * cy, sr * cy, -sy)
    second = (cr * sy * sp - sr * cp, sr * sy * sp + cr * cp, cy * sp)
    third = (cr * sy * cp + sr * sp, sr * sy * cp - cr * sp, cy * cp)

    def along_axis(axis: tuple[Tensor, ...], a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        return axis[0] * a + axis[1] * b + axis[2] * c

    scale = FOCUS * third[2] / along_axis(third, across, along, FOCUS)
    x_plane = along_axis(first, scale * across, scale * along, (scale - 1) * FOCUS)
    y_plane = along_axis(second, scale * across, scale * along, (scale - 1) * FOCUS)
    return warp(
        x,
        ops.clip(((y_plane + 1) * height - 1) / 2, 0.0, height - 1.0),
        ops.clip(((x_plane + 1) * width - 1) / 2, 0.0, width - 1.0),
    )


def farther(x: Tensor, distance: Tensor) -> Tensor:
    """The images (n, h, w, c) with as many pixels as they have at that distance (n,), enlarged to their size again."""
    seen = ops.einsum("nij,njwc->niwc", resampling(x.shape[1], distance), x)
    return ops.einsum("nkw,niwc->nikc", resampling(x.shape[2], distance), seen)


def resampling(side: int, distance: Tensor) -> Tensor:
    """(n, side, side): a line of pixels averaged to side / distance of them, by triangles two of those wide, and back, linearly."""
    places = ops.arange(side, dtype="float32")
    few = ops.maximum(ops.round(side / distance), 1.0)[:, None, None]
    ratio = side / few
    small, large = places[None, :, None], places[None, None, :]
    weights = ops.maximum(1 - ops.abs((small + 0.5) * ratio - (large + 0.5)) / ratio, 0.0)
    weights = weights / ops.maximum(ops.sum(weights, axis=-1, keepdims=True), 1e-6)
    back = ops.clip((places[None, :, None] + 0.5) / ratio - 0.5, 0.0, few - 1)
    return ops.matmul(ops.maximum(1 - ops.abs(back - places[None, None, :]), 0.0), weights)
