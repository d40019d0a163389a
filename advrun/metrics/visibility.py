"""How much of the change a person sees: PSNR and SSIM (Wang, Bovik, Sheikh and Simoncelli, 2004, doi:10.1109/TIP.2003.819861)."""

from __future__ import annotations

import numpy as np

from advrun.engine import to_unit
from advrun.images import by_blocks
from advrun.metrics import Outcome

SIGMA, RADIUS = 1.5, 5
"""Of the Gaussian window, 11 x 11 pixels, as in the paper; smaller in an image that is smaller than that."""
C1, C2 = 0.01**2, 0.03**2
"""The paper's constants, for pixels from 0 to 1."""


def visibility(outcome: Outcome) -> dict[str, float | None]:
    """Mean PSNR (dB) and mean SSIM (-1 to 1) of the fooled images to the clean ones; None where none is fooled."""
    if outcome.attacked is None or not outcome.fooled.any():
        return {"psnr": None, "ssim": None}
    x, x_adv = to_unit(outcome.images[outcome.fooled]), outcome.attacked[outcome.fooled]
    noise, alike = by_blocks(_both, x_adv, x).T
    return {"psnr": float((-10 * np.log10(np.maximum(noise, 1e-12))).mean()), "ssim": float(alike.mean())}


def _both(x_adv: np.ndarray, x: np.ndarray) -> np.ndarray:
    """(n, 2): mean squared error, and SSIM."""
    one, other = np.asarray(x_adv, np.float64), np.asarray(x, np.float64)
    return np.stack([np.square(one - other).mean((1, 2, 3)), ssim(one, other)], axis=-1)


def ssim(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The mean structural similarity (n,) of images (n, h, w, c), channel by channel, where the window lies within the image."""
    mean_one, mean_other = _blurred(one), _blurred(other)
    variance_one, variance_other = _blurred(one * one) - mean_one**2, _blurred(other * other) - mean_other**2
    shared = _blurred(one * other) - mean_one * mean_other
    luminance = (2 * mean_one * mean_other + C1) / (mean_one**2 + mean_other**2 + C1)
    structure = (2 * shared + C2) / (variance_one + variance_other + C2)
    return np.asarray((luminance * structure).mean((1, 2, 3)))


def _blurred(images: np.ndarray) -> np.ndarray:
    """The Gaussian mean around each pixel that has all of its window."""
    from scipy.ndimage import gaussian_filter  # slow to import

    radii = [min(RADIUS, (side - 1) // 2) for side in images.shape[1:3]]
    rows, columns = (slice(radius, side - radius) for radius, side in zip(radii, images.shape[1:3], strict=True))
    return np.asarray(gaussian_filter(images, SIGMA, axes=(1, 2), radius=radii)[:, rows, columns])
