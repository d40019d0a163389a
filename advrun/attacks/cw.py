"""Carlini and Wagner's L2 attack (2017, IEEE S&P, arXiv:1608.04644, sections V and VI.A)."""

from __future__ import annotations

from typing import NamedTuple

from advrun.attacks._best import Best
from advrun.classifier import Gradients
from advrun.engine import ops, repeat
from advrun.geometry import L2, per_image
from advrun.losses import margin
from advrun.types import Cost, Count, Labels, NonNegative, Positive, Targets, Tensor

PRESETS = {
    "fast": {"search_steps": 5, "steps": 100},
    "paper": {"search_steps": 9, "steps": 10_000},  # the authors' own code
}
NO_UPPER = 1e10  # "no success yet"; the authors' own marker


class Search(NamedTuple):
    """Binary search over c for each image, (n,): c fails at `lower`, succeeds at `upper`."""

    c: Tensor
    lower: Tensor
    upper: Tensor

    def narrow(self, success: Tensor) -> Search:
        """Halve the interval, or try ten times the c while no upper end is known."""
        upper = ops.where(success, ops.minimum(self.upper, self.c), self.upper)
        lower = ops.where(success, self.lower, ops.maximum(self.lower, self.c))
        return Search(ops.where(upper < NO_UPPER, (lower + upper) / 2, self.c * 10), lower, upper)


class Descent(NamedTuple):
    """One minimisation by Adam: variable w, its two moments, successes (n,), and the batch's loss before and now."""

    w: Tensor
    first: Tensor
    second: Tensor
    success: Tensor
    best: Best
    previous: Tensor
    stalled: Tensor


def cw(
    model: Gradients,
    x: Tensor,
    y: Labels | Targets,
    norm: L2,
    *,
    search_steps: Count = 5,
    steps: Count = 100,
    step_size: Positive = 0.01,
    confidence: NonNegative = 0.0,
    initial_c: Positive = 1e-3,
    abort_early: bool = True,
) -> Tensor:
    """Carlini and Wagner's L2 attack: minimise |x_adv - x|^2 + c f(x_adv) over w, where x_adv = (tanh(w) + 1) / 2.

    f(x') = max(Z_y - max_{i != y} Z_i, -kappa); c is searched for each image; the closest success over all steps is kept.
    Images that were never fooled come back clean.

    Args:
        search_steps: binary search steps over c.
        steps: Adam iterations of each search step.
        step_size: Adam's learning rate, in units of w.
        confidence: kappa, by how much the wrong class must lead, in logits.
        initial_c: first c of the search.
        abort_early: end a search step when a tenth of its iterations no longer lowers the batch's loss, as the authors do.
    """
    start = ops.arctanh((2 * x - 1) * 0.999999)
    patience = max(steps // 10, 1)

    def minimise(c: Tensor, best: Best) -> Descent:
        def descend(i: Tensor, state: Descent) -> Descent:
            tanh = ops.tanh(state.w)
            x_adv = (tanh + 1) / 2
            lead, _, gradient = model.value_and_gradient(margin, x_adv, y)
            distance = norm.distance(x_adv, x)
            success = lead > confidence
            best = state.best.closer(x_adv, success, distance)

            push = ops.where(lead < confidence, c, 0.0)
            slope = (2 * (x_adv - x) - per_image(push, x) * gradient) * (1 - ops.square(tanh)) / 2
            t = ops.cast(i + 1, "float32")
            first = 0.9 * state.first + 0.1 * slope
            second = 0.999 * state.second + 0.001 * ops.square(slope)
            rate = step_size * ops.sqrt(1 - 0.999**t) / (1 - 0.9**t)
            w = state.w - rate * first / (ops.sqrt(second) + 1e-8)

            loss = ops.sum(ops.square(distance) + c * ops.maximum(-lead, -confidence))
            check = ops.equal(i % patience, 0) if abort_early else False
            stalled = ops.logical_and(check, loss > 0.9999 * state.previous)
            previous = ops.where(check, loss, state.previous)
            return Descent(w, first, second, ops.logical_or(state.success, success), best, previous, stalled)

        zeros, never = ops.zeros_like(x), ops.zeros((x.shape[0],), dtype="bool")
        state = Descent(start, zeros, zeros, never, best, ops.cast(float("inf"), "float32"), ops.cast(False, "bool"))
        return repeat(descend, steps, state, until=lambda state: state.stalled)

    def search_step(i: Tensor, state: tuple[Search, Best]) -> tuple[Search, Best]:
        search, best = state
        # The last of many steps tries the largest c again, as the authors do, so that no image is left out.
        last = ops.logical_and(search_steps >= 10, ops.equal(i, search_steps - 1))
        end = minimise(ops.where(last, search.upper, search.c), best)
        return search.narrow(end.success), end.best

    c = ops.full((x.shape[0],), initial_c, dtype="float32")
    search = Search(c, ops.zeros_like(c), ops.full_like(c, NO_UPPER))
    return repeat(search_step, search_steps, (search, Best.nothing(x)))[1].x


def cost(search_steps: int, steps: int) -> Cost:
    """One gradient a step, unless it aborts early."""
    return Cost(gradients=search_steps * steps)
