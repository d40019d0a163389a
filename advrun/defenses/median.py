"""Median smoothing in front of the classifier (Xu, Evans and Qi, 2018, arXiv:1704.01155, section III.B)."""

from __future__ import annotations

from advrun.defenses._squeeze import median_of
from advrun.system import Chain, Purifier
from advrun.types import Count


def median(system: Chain, *, size: Count = 2) -> Chain:
    """Replace every pixel by the median of its neighbourhood before the image is classified; nothing is trained.

    Of an even number of values it is the upper of the two in the middle, as in `scipy.ndimage.median_filter`, which the authors use. It is
    passed backward as the mean of the same neighbourhood (BPDA), for the reasons that `percentile` gives, of which it is the middle.

    Args:
        size: side of the square neighbourhood, in pixels; the authors take 2 for colour images and 3 for digits.
    """

    return system.behind(Purifier(lambda x, rng: median_of(x, size)))
