"""What a metric sees that tries the attack of a row again: on a few images, longer, or within another ball.

Its columns are added to rows whose attack follows gradients inside a ball, and met this system itself, untargeted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np

from advrun.engine import to_unit
from advrun.geometry import Ball
from advrun.metrics import Outcome

SAMPLE = 32
"""Images that an attack is tried on again."""


@dataclass(frozen=True)
class Retried:
    """What became of k images that were attacked again, (k,) bool each.

    right: what came back is classified right. seen: an image within the ball that the system got wrong was among those that the attack
    asked about.
    """

    right: np.ndarray
    seen: np.ndarray


class Again(Protocol):
    """Tries the attack of a row again."""

    def __call__(self, x: np.ndarray, y: np.ndarray, *, eps: float | None = None, times: int = 1) -> Retried:
        """x: (k, h, w, c), at most SAMPLE, all classified right. eps: in place of the row's. times: so many times its steps."""


@dataclass(frozen=True, eq=False)
class Probed(Outcome):
    """An outcome whose attack can be tried again.

    ball: that of the attack. again: tries it on other images, longer, or within another ball. iterated: whether it has a setting `steps`.
    widest: whether its eps is the largest of its sweep: what does not depend on eps is looked at there alone.
    """

    ball: Ball = field(kw_only=True)
    again: Again = field(kw_only=True)
    iterated: bool = field(kw_only=True)
    widest: bool = field(kw_only=True)

    @cached_property
    def survivors(self) -> np.ndarray:
        """Numbers (m,) of the first SAMPLE images that are right before and after the attack."""
        return np.flatnonzero(self.right & ~self.fooled)[:SAMPLE]

    def some(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Those clean images, float32 in [0, 1], and their classes."""
        return np.asarray(to_unit(self.images[rows])), self.y[rows]

    @cached_property
    def longer(self) -> Retried | None:
        """The survivors attacked again, with twice as many steps where the attack has steps; None where nothing survived."""
        return self.again(*self.some(self.survivors), times=2 if self.iterated else 1) if len(self.survivors) else None
