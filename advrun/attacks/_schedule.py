"""Step sizes that fall along half a cosine."""

from __future__ import annotations

import math

from advrun.engine import ops
from advrun.types import Tensor


def cosine(first: float, last: float, i: Tensor, steps: int) -> Tensor:
    """`first` at i = 0, `last` at i = steps (Loshchilov and Hutter, 2017, arXiv:1608.03983, equation 5)."""
    return last + (first - last) * (1 + ops.cos(math.pi * ops.cast(i, "float32") / steps)) / 2
