"""Fast adaptive boundary attack (Croce and Hein, 2020, ICML, arXiv:1907.02044, algorithm 1)."""

from __future__ import annotations

from collections.abc import Callable

from advrun.attacks._best import Best
from advrun.attacks._hyperplane import inner, to_hyperplane
from advrun.attacks._rivals import rivals
from advrun.engine import Rng, fused, ops, repeat, select, shaped
from advrun.geometry import L1, L2, Ball, Linf, per_image
from advrun.losses import at_label, margin
from advrun.system import Gradients
from advrun.types import Cost, Count, Fraction, Labels, Positive, Targets, Tensor

CONTRACT = {"rounding": 5e-4}  # it ends on the boundary itself: rounding decides which of its last points is beyond it

Boundary = Callable[[Tensor], tuple[Tensor, Tensor]]
"""x_adv -> f (n,) and its gradient w: the linearised boundary f + <w, z - x_adv> = 0, where f is below 0 on our side."""
UNKNOWN = {"Linf": 0.3, "L2": 1.0, "L1": 5.0}
"""Restarts of images that were never fooled go half as far as this (epsilon; the authors' values)."""
FINAL_STEPS = 3


def fab(
    model: Gradients,
    x: Tensor,
    y: Labels | Targets,
    norm: Linf | L2 | L1,
    rng: Rng,
    *,
    steps: Count = 100,
    restarts: Count = 1,
    targets: Count = 9,
    one_by_one: bool = False,
    alpha_max: Fraction = 0.1,
    eta: Positive = 1.05,
    beta: Fraction = 0.9,
) -> Tensor:
    """Fast adaptive boundary: x_{i+1} = P((1 - alpha) (x_i + eta d_i) + alpha (x + eta d_0)), d the projections onto the boundary.

    The boundary is that of the nearest class by the linearised classifier; d_i and d_0 lead from x_i and from the clean x onto it,
    exactly and inside the box, and alpha = min(|d_i| / (|d_i| + |d_0|), alpha_max). From an adversarial image the search goes on at
    (1 - beta) x + beta x_{i+1}; the closest one is moved to the boundary by three steps of false position at the end. Images that were
    never fooled come back clean. The classes looked at are the `targets` most likely ones; the paper looks at all.

    Args:
        steps: N_iter, of each run.
        restarts: runs, of each target: the first from the clean image, the others from random points around it.
        targets: how many of the most likely other classes.
        one_by_one: FAB-T: a run towards each of them, one gradient a step, in place of one run that looks at all of them in every step.
        alpha_max: the largest weight of the projection of the clean image.
        eta: by how much a step overshoots the boundary.
        beta: how much of the distance is kept on the way back from an adversarial image.
    """
    logits = model.logits(x)
    goals = ops.expand_dims(y, 0) if model.targeted else rivals(logits, y, targets)
    runs = (goals.shape[0] if one_by_one else 1) * restarts

    def move(x_adv: Tensor, f: Tensor, w: Tensor) -> Tensor:
        onto = to_hyperplane(norm, x_adv, w, -f)
        onto_clean = to_hyperplane(norm, x, w, -f - inner(w, x - x_adv))
        length, length_clean = (norm.distance(change, 0 * x) for change in (onto, onto_clean))
        alpha = per_image(ops.minimum(length / ops.maximum(length + length_clean, 1e-12), alpha_max), x)
        return ops.clip((1 - alpha) * (x_adv + eta * onto) + alpha * (x + eta * onto_clean), 0.0, 1.0)

    def step(boundary: Boundary, x_adv: Tensor, best: Best) -> tuple[Tensor, Best]:
        f, w = boundary(x_adv)
        x_adv = fused(move)(x_adv, f, w)
        success = model.succeeds(x_adv, y)
        best = best.closer(x_adv, success, norm.distance(x_adv, x))
        return select(success, x + beta * (x_adv - x), x_adv), best

    def run(i: Tensor, best: Best) -> Best:
        goal = ops.take(goals, i // restarts, axis=0)
        seen = model.without_corners()
        boundary = towards(seen, y, goal) if one_by_one or model.targeted else nearest(seen, y, goals, norm)
        radius = ops.minimum(best.distance, UNKNOWN[norm.name]) / 2
        start = ops.where(i % restarts > 0, norm.resized(radius).sample(x, rng.fold(i)), x)
        return repeat(lambda _, state: step(boundary, *state), steps, (start, best))[1]

    lead = model.lead(logits, y)
    best = repeat(run, runs, Best.nothing(x).closer(x, lead > 0, 0 * lead))
    return to_the_boundary(model, x, y, lead, best.x)


def cost(steps: int, restarts: int, targets: int, one_by_one: bool) -> Cost:
    """A gradient for each class looked at, and a query, in every step; then the final search."""
    runs = restarts * (targets if one_by_one else 1)
    return Cost(gradients=runs * steps * (1 if one_by_one else targets + 1), queries=runs * steps + FINAL_STEPS + 2)


def nearest(model: Gradients, y: Tensor, others: Tensor, norm: Ball) -> Boundary:
    """The boundary between y and that of the `others` (k, n) which the linearised classifier puts nearest (equation 6)."""
    classes = ops.concatenate([ops.expand_dims(y, 0), others])
    image = ops.arange(y.shape[0])

    def boundary(x_adv: Tensor) -> tuple[Tensor, Tensor]:
        logits, slopes = model.jacobian(x_adv, classes)
        f = ops.take_along_axis(ops.transpose(logits), others, axis=0) - at_label(logits, y)
        w = slopes[1:] - slopes[:1]
        chosen = ops.argmin(ops.abs(f) / ops.maximum(norm.dual(w), 1e-12), axis=0) * y.shape[0] + image
        f = ops.take(ops.reshape(f, (-1,)), chosen)
        return f - margin.slack(f, at_label(logits, y)), ops.take(shaped(w, x_adv), chosen, axis=0)

    return boundary


def towards(model: Gradients, y: Tensor, goal: Tensor) -> Boundary:
    """The boundary between y and the class `goal`; in the targeted form between the target and the strongest other class."""

    def difference(logits: Tensor, y: Tensor) -> Tensor:
        return at_label(logits, goal) - at_label(logits, y)

    def boundary(x_adv: Tensor) -> tuple[Tensor, Tensor]:
        if model.targeted:
            f, _, w = model.value_and_gradient(margin, x_adv, y)
            return f, w
        f, logits, w = model.value_and_gradient(difference, x_adv, y)
        return f - margin.slack(f, at_label(logits, y)), w

    return boundary


def to_the_boundary(model: Gradients, x: Tensor, y: Tensor, lead: Tensor, x_out: Tensor) -> Tensor:
    """The final search: false position on the segment from x, whose lead is given, to the adversarial x_out (section 2.5)."""
    lead_out = model.lead(model.logits(x_out), y)
    found = ops.logical_and(lead_out > 0, lead <= 0)

    def narrow(_: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        low, lead_low, high, lead_high = state
        trial = high + per_image(lead_high / ops.maximum(lead_high - lead_low, 1e-12), x) * (low - high)
        lead = model.lead(model.logits(trial, asked=found), y)
        up, down = ops.logical_and(found, lead > 0), ops.logical_and(found, lead <= 0)
        return select(down, trial, low), select(down, lead, lead_low), select(up, trial, high), select(up, lead, lead_high)

    return repeat(narrow, FINAL_STEPS, (x, lead, x_out, lead_out))[2]
