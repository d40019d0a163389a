"""Common corruptions by severity (Hendrycks and Dietterich, 2019, ICLR, arXiv:1903.12261, section 3), as met on the road."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from annotated_types import Interval

from advrun.attacks._blur import gaussian_blur
from advrun.attacks._warp import positions, warp
from advrun.engine import Rng, ops
from advrun.jpeg import jpeg as as_jpeg
from advrun.system import Blind
from advrun.types import Cost, Labels, Tensor

CONTRACT = {"settings": {"severity": 5}}  # at 3 some seeds' fog fools none of ten images
FOG = ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75))  # strength, decay per octave
BRIGHTNESS = (0.05, 0.1, 0.15, 0.2, 0.3)
CONTRAST = (0.75, 0.5, 0.4, 0.3, 0.15)
MOTION = ((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5))  # radius, sigma, in pixels of a 32 x 32 image
BLUR = (0.4, 0.6, 0.7, 0.8, 1.0)  # sigma, likewise
FROST = ((1.0, 0.2), (1.0, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))  # shares of image and ice
JPEG = (80, 65, 58, 50, 40)  # quality
Severity = Annotated[int, Interval(ge=1, le=5)]


def corruptions(
    model: Blind,
    x: Tensor,
    y: Labels,
    rng: Rng,
    *,
    kind: Literal["fog", "frost", "brightness", "contrast", "motion_blur", "gaussian_blur", "jpeg"] = "fog",
    severity: Severity = 3,
) -> Tensor:
    """Common corruptions: weather, light, optics and compression, which ask the model nothing.

    Strengths are the authors' for CIFAR-10-C (blurs grow with the image's side). Fog and frost are drawn from noise of
    several octaves instead of a plasma fractal and photographs of ice: `fog-like` and `frost-like`.

    Args:
        kind: what happens to the image.
        severity: from 1, barely visible, to 5.
    """
    level = severity - 1
    scale = min(x.shape[1:3]) / 32
    match kind:
        case "fog":
            strength, decay = FOG[level]
            brightest = ops.max(x, axis=(1, 2, 3), keepdims=True)
            changed = (x + strength * clouds(x, decay, rng)) * brightest / (brightest + strength)
        case "frost":
            image, ice = FROST[level]
            changed = image * x + ice * frost(x, rng)
        case "brightness":
            value = ops.max(x, axis=-1, keepdims=True)
            brighter = ops.minimum(value + BRIGHTNESS[level], 1.0)
            changed = ops.where(value > 0, x * brighter / ops.maximum(value, 1e-6), brighter)
        case "contrast":
            mean = ops.mean(x, axis=(1, 2), keepdims=True)
            changed = mean + CONTRAST[level] * (x - mean)
        case "motion_blur":
            radius, sigma = MOTION[level]
            changed = motion_blur(x, max(round(radius * scale), 1), sigma * scale, rng)
        case "gaussian_blur":
            sigma = BLUR[level] * scale
            changed = gaussian_blur(x, ops.full((x.shape[0],), sigma), widest=sigma)
        case "jpeg":
            changed = as_jpeg(x, JPEG[level])
    return ops.clip(changed, 0.0, 1.0)


def cost() -> Cost:
    """Nothing."""
    return Cost()


def clouds(x: Tensor, decay: float, rng: Rng) -> Tensor:
    """Noise of several octaves, each `decay` times as faint and half as wide as the one before: (n, h, w, 1), from 0 to 1."""
    n, height, width, _ = x.shape
    total = ops.zeros((n, height, width, 1))
    for octave in range(1, max(int(math.log2(max(height, width))), 1) + 1):
        grid = rng.uniform((n, 2**octave, 2**octave, 1))
        total += ops.image.resize(grid, (height, width), interpolation="bilinear", antialias=False) / decay**octave
    low, high = (reduce(total, axis=(1, 2), keepdims=True) for reduce in (ops.min, ops.max))
    return (total - low) / (high - low + 1e-6)


def frost(x: Tensor, rng: Rng) -> Tensor:
    """White crystals along the level lines of noise, bluish in colour images."""
    ridges = (1 - ops.abs(2 * clouds(x, 1.5, rng) - 1)) ** 2 * (0.7 + 0.3 * rng.uniform(x.shape[:3])[..., None])
    tint = ops.convert_to_tensor([0.9, 0.95, 1.0] if x.shape[-1] == 3 else [1.0])
    return ridges * tint


def motion_blur(x: Tensor, radius: int, sigma: float, rng: Rng) -> Tensor:
    """Averages along a line of `radius` pixels at a random angle within 45 degrees, weighted by half a Gaussian."""
    _, height, width, _ = x.shape
    theta = rng.uniform((x.shape[0], 1, 1), -math.pi / 4, math.pi / 4)
    rows, columns = positions(x)
    weights = [math.exp(-(t**2) / (2 * sigma**2)) for t in range(radius + 1)]
    total = ops.zeros_like(x)
    for t, weight in enumerate(weights):
        row = ops.clip(rows + t * ops.sin(theta), 0, height - 1)
        column = ops.clip(columns + t * ops.cos(theta), 0, width - 1)
        total += warp(x, row, column) * (weight / sum(weights))
    return total
