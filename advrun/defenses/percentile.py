"""Percentile filter in front of the classifier; at 50 the median filter of Xu, Evans and Qi (2018, arXiv:1704.01155, section III.B)."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Interval

from advrun.defenses._windows import percentile_of
from advrun.engine import Rng
from advrun.system import Chain, Purifier
from advrun.types import Count, Tensor

PRESETS = {"median": {"size": 3, "percentile": 50.0}}


def percentile(system: Chain, *, size: Count = 3, percentile: Annotated[float, Interval(ge=0, le=100)] = 50.0) -> Chain:
    """Replace every pixel by a percentile of its neighbourhood before the image is classified; nothing is trained.

    Args:
        size: side of the square neighbourhood, in pixels.
        percentile: of the values in it, 0 to 100: 0 is the smallest (erosion), 50 the median, 100 the largest (dilation).
    """

    def filtered(x: Tensor, rng: Rng) -> Tensor:
        return percentile_of(x, size, percentile)

    return system.behind(Purifier(filtered, backward="identity"))
