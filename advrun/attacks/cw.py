"""Carlini and Wagner's L2 attack (2017, IEEE S&P, arXiv:1608.04644, sections V and VI.A)."""

from __future__ import annotations

from typing import NamedTuple

from advrun.attacks._adam import Adam
from advrun.attacks._best import Best
from advrun.attacks._search import Progress, Search, search_c
from advrun.engine import fused, ops, repeat_undecided
from advrun.geometry import L2, per_image
from advrun.losses import margin
from advrun.system import Gradients
from advrun.types import Cost, Count, Labels, NonNegative, Positive, Targets, Tensor

PRESETS = {
    "fast": {"search_steps": 5, "steps": 100},
    "paper": {"search_steps": 9, "steps": 10_000},  # the authors' own code
}


class Descent(NamedTuple):
    """For each image: itself, its label, its c, the variable w, its Adam, whether it succeeded, the closest, and whether the loss falls."""

    x: Tensor
    y: Tensor
    c: Tensor
    w: Tensor
    adam: Adam
    success: Tensor
    best: Best
    progress: Progress


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
        abort_early: end a search step when two tenths of its iterations no longer lower the image's loss; the authors wait one.
    """

    def move(x: Tensor, w: Tensor, adam: Adam, tanh: Tensor, gradient: Tensor, push: Tensor, i: Tensor) -> tuple[Tensor, Adam]:
        slope = (tanh + 1 - 2 * x - per_image(push, x) * gradient) * (1 - ops.square(tanh)) / 2
        adam = adam.update(slope)
        return w - step_size * adam.step(i + 1), adam

    def minimise(number: Tensor, search: Search, best: Best) -> tuple[Tensor, Best]:
        # The last of many steps tries the largest c again, as the authors do, so that no image is left out.
        last = ops.logical_and(search_steps >= 10, ops.equal(number, search_steps - 1))
        c = ops.where(last, search.upper, search.c)

        def descend(i: Tensor, rows: Tensor, now: Descent) -> Descent:
            going = ops.logical_not(now.progress.stalled)
            tanh = ops.tanh(now.w)
            x_adv = (tanh + 1) / 2
            lead, _, gradient = model.part(rows).value_and_gradient(margin, x_adv, now.y, asked=going)
            distance = norm.distance(x_adv, now.x)
            success = ops.logical_and(going, lead > confidence)
            best = now.best.closer(x_adv, success, distance)
            push = ops.where(lead < confidence, now.c, 0.0)
            w, adam = fused(move)(now.x, now.w, now.adam, tanh, gradient, push, i)
            loss, progress = ops.square(distance) + now.c * ops.maximum(confidence - lead, 0.0), now.progress
            progress = progress.check(i, steps, lambda: loss) if abort_early else progress
            return Descent(now.x, now.y, now.c, w, adam, ops.logical_or(now.success, success), best, progress)

        never, w = ops.zeros((x.shape[0],), dtype="bool"), to_tanh(x)
        start = Descent(x, y, c, w, Adam.start(w), never, best, Progress.start(x.shape[0]))
        end = repeat_undecided(descend, steps, start, decided=(lambda now: now.progress.stalled) if abort_early else None)
        return end.success, end.best

    return search_c(minimise, x, search_steps, initial_c)


def cost(search_steps: int, steps: int) -> Cost:
    """One gradient a step, unless it aborts early."""
    return Cost(gradients=search_steps * steps)


def to_tanh(x: Tensor) -> Tensor:
    """w of the images x = (tanh(w) + 1) / 2, a touch inside the box."""
    return ops.arctanh((2 * x - 1) * 0.999999)
