"""Rotations and translations (Engstrom, Tran, Tsipras, Schmidt and Madry, 2019, ICML, arXiv:1712.02779, sections 3 and 4)."""

from __future__ import annotations

import math

import numpy as np

from advrun.attacks._tries import most_adversarial
from advrun.attacks._warp import positions, warp
from advrun.engine import Rng, ops
from advrun.system import Scores
from advrun.types import Cost, Count, Fraction, Labels, Natural, NonNegative, Targets, Tensor

PRESETS = {"paper": {}, "worst_of_10": {"samples": 10}}


def spatial(
    model: Scores,
    x: Tensor,
    y: Labels | Targets,
    rng: Rng,
    *,
    max_rotation: NonNegative = 30.0,
    max_translation: Fraction = 0.1,
    rotations: Count = 31,
    translations: Count = 5,
    samples: Natural = 0,
) -> Tensor:
    """Rotate and shift: the worst of a grid of (theta, du, dv), or of random ones; bilinear, black outside.

    An image is asked about until it succeeds; the others come back in the view that comes closest.

    Args:
        max_rotation: theta, in degrees to either side.
        max_translation: du and dv, as a share of the image's side, to either side.
        rotations: values of theta in the grid.
        translations: values of du, and of dv, in the grid.
        samples: 0 for the grid; else so many random transformations for each image (the paper's worst-of-10).
    """
    grid = ops.convert_to_tensor(transformations(rotations, translations))

    def change(i: Tensor, rows: Tensor, x: Tensor) -> Tensor:
        n = ops.shape(x)[0]
        share = rng.part(rows).fold(i).uniform((n, 3), -1.0, 1.0) if samples else ops.broadcast_to(grid[i], (n, 3))
        return moved(x, share[:, 0] * max_rotation, share[:, 1:] * max_translation)

    return most_adversarial(model, x, y, change, samples or grid.shape[0])


def cost(rotations: int, translations: int, samples: int) -> Cost:
    """One query for each transformation."""
    return Cost(queries=samples or rotations * translations**2)


def transformations(rotations: int, translations: int) -> np.ndarray:
    """The grid, (points, 3) in [-1, 1]: shares of the largest rotation and of the largest shifts."""
    turns, shifts = (np.linspace(-1, 1, count) if count > 1 else np.zeros(1) for count in (rotations, translations))
    return np.stack(np.meshgrid(turns, shifts, shifts, indexing="ij"), -1).reshape(-1, 3).astype(np.float32)


def moved(x: Tensor, degrees: Tensor, shift: Tensor) -> Tensor:
    """Images turned about their centre by `degrees` (n,), counterclockwise, then shifted down and right by shares (n, 2) of their sides."""
    _, height, width, _ = x.shape
    rows, columns = positions(x)
    theta = degrees[:, None, None] * (math.pi / 180)
    down = rows - (height - 1) / 2 - shift[:, 0, None, None] * height
    right = columns - (width - 1) / 2 - shift[:, 1, None, None] * width
    from_rows = ops.cos(theta) * down + ops.sin(theta) * right
    from_columns = ops.cos(theta) * right - ops.sin(theta) * down
    return warp(x, from_rows + (height - 1) / 2, from_columns + (width - 1) / 2)
