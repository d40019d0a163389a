"""Gaussian blur in front of the classifier (Xu, Evans and Qi, 2018, arXiv:1704.01155, section III.B, spatial smoothing)."""

from __future__ import annotations

from advrun.defenses._windows import blurred
from advrun.engine import Rng
from advrun.system import Chain, Purifier
from advrun.types import Positive, Tensor


def gaussian_blur(system: Chain, *, sigma: Positive = 1.0) -> Chain:
    """Blur every image by a Gaussian before it is classified; nothing is trained.

    A blur is linear and its gradient is exact, so an attack that goes through it is as strong as one on an undefended network: compare
    the adaptive accuracy with the static one. The kernel ends at 4 sigma, and images go on beyond their border as in a mirror
    (`scipy.ndimage.gaussian_filter` gives the same).

    Args:
        sigma: standard deviation of the Gaussian, in pixels.
    """

    def blur(x: Tensor, rng: Rng) -> Tensor:
        return blurred(x, sigma)

    return system.behind(Purifier(blur, backward="exact"))
