"""Images with less in them, and gradients that pass as if nothing were gone (BPDA, Athalye et al., 2018, arXiv:1802.00420, section 4.1)."""

from __future__ import annotations

from advrun import engine
from advrun.defenses._windows import mean_of, percentile_of
from advrun.engine import ops
from advrun.types import Tensor


def fewer_bits(x: Tensor, bits: int) -> Tensor:
    """(n, height, width, channels) in [0, 1] rounded to 2**bits grey levels; backward the identity."""
    most = 2**bits - 1
    return engine.straight_through(ops.round(x * most) / most, x)


def median_of(x: Tensor, size: int) -> Tensor:
    """Each pixel the median of the size x size pixels around it; backward their mean, as in `percentile.py`."""
    return engine.straight_through(percentile_of(x, size, 50.0), mean_of(x, size))
