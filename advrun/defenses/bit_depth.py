"""Bit depth reduction in front of the classifier (Xu, Evans and Qi, 2018, arXiv:1704.01155, section III.A)."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Interval

from advrun.defenses._squeeze import fewer_bits
from advrun.system import Chain, Purifier


def bit_depth(system: Chain, *, bits: Annotated[int, Interval(ge=1, le=8)] = 4) -> Chain:
    """Round every image to a few grey levels before it is classified; nothing is trained.

    Rounding has no gradient, so it is passed backward as if nothing were there (BPDA, Athalye et al., 2018, arXiv:1802.00420, section 4.1).

    Args:
        bits: of each channel, so that 2**bits grey levels are left.
    """
    return system.behind(Purifier(lambda x, rng: fewer_bits(x, bits)))
