"""Adversarial patch (Brown, Mané, Roy, Abadi and Gilmer, 2017, arXiv:1712.09665, equation 1)."""

from __future__ import annotations

import math

import numpy as np

from advrun.attacks._expectation import learnt
from advrun.attacks._warp import positions, warp
from advrun.engine import Rng, ops
from advrun.system import Blind, Gradients
from advrun.types import Count, Labels, NonNegative, Positive, Share, Targets, Tensor

CONTRACT = {"settings": {"steps": 50, "share": 0.4}}


def patch(
    model: Blind,
    x: Tensor,
    y: Labels | Targets,
    rng: Rng,
    fitted: Tensor,
    *,
    share: Share = 0.1,
    smallest: Share = 0.8,
    max_rotation: NonNegative = 22.5,
    images: Count = 2000,
    steps: Count = 500,
    step_size: Positive = 0.05,
) -> Tensor:
    """Adversarial patch: one round picture that is put anywhere into an image, and is learnt from training images beforehand.

    It maximises the mean of log p(target) over images, places, sizes and rotations; one patch for each target class that is asked for.
    In the untargeted form one patch minimises log p(y). The image itself costs no query.

    Args:
        share: area of the largest patch, as a share of the image's.
        smallest: side of the smallest patch, as a share of the largest's.
        max_rotation: in degrees, to either side.
        images: how many training images the patch is learnt from.
        steps: of Adam.
        step_size: Adam's learning rate, in pixel units.
    """
    chosen = ops.take(fitted, y if model.targeted else ops.zeros_like(y), axis=0)
    return pasted(x, chosen, rng, share, smallest, max_rotation)


def fit(
    model: Gradients,
    x: np.ndarray,
    y: np.ndarray,
    rng: Rng,
    targets: np.ndarray,
    *,
    share: float,
    smallest: float,
    max_rotation: float,
    images: int,
    steps: int,
    step_size: float,
) -> np.ndarray:
    """The patches, of each the middle disc is used: (classes, h, w, c), of which only the targets are learnt, or (1, h, w, c)."""

    def shown(images: Tensor, pictures: Tensor, draw: Rng, _: Tensor) -> Tensor:
        return pasted(images, pictures, draw, share, smallest, max_rotation)

    grey = np.full(x.shape[1:], 0.5, np.float32)
    return learnt(model, x, y, rng, targets, grey, shown, images=images, steps=steps, step_size=step_size)


def pasted(x: Tensor, pictures: Tensor, rng: Rng, share: float, smallest: float, max_rotation: float) -> Tensor:
    """x with the middle of each picture (n, h, w, c), a disc, at a random place, size and angle; differentiable in the pictures."""
    n, height, width, _ = x.shape
    radius = (share * height * width / math.pi) ** 0.5 * rng.uniform((n, 1, 1), smallest, 1.0)
    theta = rng.uniform((n, 1, 1), -max_rotation, max_rotation) * (math.pi / 180)
    rows, columns = positions(x)

    def middle(side: int) -> Tensor:
        room = ops.maximum(side - 2 * radius, 0.0)
        return (side - 1) / 2 + (rng.uniform((n, 1, 1)) - 0.5) * room

    down, right = (rows - middle(height)) / radius, (columns - middle(width)) / radius
    inside = ops.cast(ops.square(down) + ops.square(right) <= 1, "float32")[..., None]
    along, across = ops.cos(theta) * down + ops.sin(theta) * right, ops.cos(theta) * right - ops.sin(theta) * down
    # The disc of radius 1 is the largest that fits into the picture.
    shown = warp(pictures, (height - 1) / 2 * (1 + along), (width - 1) / 2 * (1 + across))
    return ops.clip(inside * shown + (1 - inside) * x, 0.0, 1.0)
