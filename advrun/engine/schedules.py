"""Learning-rate schedules: the share of the training that is done, 0 to 1, -> the factor of the learning rate, 0 to 1."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from advrun.engine.backend import ops
from advrun.types import Tensor

SCHEDULES: dict[str, Callable[[Any], Tensor]] = {
    "constant": lambda done: ops.ones_like(done),
    # Loshchilov and Hutter (2017, arXiv:1608.03983, equation 5), without restarts
    "cosine": lambda done: (1 + ops.cos(math.pi * done)) / 2,
    # Smith and Topin (2018, arXiv:1708.07120), as Wong et al. (2020, arXiv:2001.03994) have it: up from 0, and down to 0
    "cyclic": lambda done: 1 - ops.abs(2 * done - 1),
    # Rice, Wong and Kolter (2020, arXiv:2002.11569): a tenth after half of the epochs, and again after three quarters
    "piecewise": lambda done: ops.where(done < 0.5, 1.0, ops.where(done < 0.75, 0.1, 0.01)),
}
"""By name. All are functions of epoch and step alone, so a training that is resumed goes on where it was."""
