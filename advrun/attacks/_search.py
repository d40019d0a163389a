"""The search for the weight c of Carlini and Wagner's objectives (2017, arXiv:1608.04644, section V.A and their code)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from advrun.attacks._best import Best
from advrun.engine import ops, repeat
from advrun.types import Tensor

NO_UPPER = 1e10
"""No success yet; the authors' own marker."""
PATIENCE = 2
"""Checks in a row that find no lower loss end an image's search step."""


class Search(NamedTuple):
    """Binary search over c for each image, (n,): c fails at `lower`, succeeds at `upper`."""

    c: Tensor
    lower: Tensor
    upper: Tensor

    @classmethod
    def start(cls, images: int, c: float) -> Search:
        return cls(*(ops.full((images,), value, dtype="float32") for value in (c, 0.0, NO_UPPER)))

    def narrow(self, success: Tensor) -> Search:
        """Halve the interval, or try ten times the c while no upper end is known."""
        upper = ops.where(success, ops.minimum(self.upper, self.c), self.upper)
        lower = ops.where(success, self.lower, ops.maximum(self.lower, self.c))
        return Search(ops.where(upper < NO_UPPER, (lower + upper) / 2, self.c * 10), lower, upper)


class Progress(NamedTuple):
    """The lowest loss (n,) at one of about ten checks of a search step, at how many since it fell no more, and whether that is the end.

    NOTE: the authors stop at the first such check, and add up the losses of a batch. By the image that ends searches too soon, where
    Adam overshoots; after `PATIENCE` of them images come as close as by the batch's sum, at fewer gradients.
    """

    loss: Tensor
    misses: Tensor
    stalled: Tensor

    @classmethod
    def start(cls, images: int) -> Progress:
        return cls(
            ops.full((images,), float("inf"), dtype="float32"), ops.zeros((images,), dtype="int32"), ops.zeros((images,), dtype="bool")
        )

    def check(self, i: Tensor, steps: int, loss: Callable[[], Tensor]) -> Progress:
        """After iteration i of `steps`; loss: gives (n,), none of them negative, and is called at the checks alone."""
        due = ops.equal(i % max(steps // 10, 1), 0)
        now = ops.cond(due, loss, lambda: self.loss)
        misses = ops.where(due, ops.where(now > 0.9999 * self.loss, self.misses + 1, 0), self.misses)
        return Progress(ops.minimum(now, self.loss), misses, ops.logical_or(self.stalled, misses >= PATIENCE))


Minimise = Callable[[Tensor, Search, Best], tuple[Tensor, Best]]
"""(number of the search step, search, best so far) -> (who succeeded at this c (n,), best)."""


def search_c(minimise: Minimise, x: Tensor, steps: int, initial_c: float) -> Tensor:
    """The closest successes of all minimisations; the clean image where there was none."""

    def step(i: Tensor, state: tuple[Search, Best]) -> tuple[Search, Best]:
        search, best = state
        success, best = minimise(i, search, best)
        return search.narrow(success), best

    return repeat(step, steps, (Search.start(x.shape[0], initial_c), Best.nothing(x)))[1].x
