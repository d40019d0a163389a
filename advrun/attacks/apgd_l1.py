"""Auto-PGD for the L1 ball (Croce and Hein, 2021, ICML, arXiv:2103.01208: l1-APGD, in its form with several radii)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from advrun.attacks._apgd import LossName, TargetsBy, averaged, best_of_runs, cost_of_runs, goals, nonsense_of_targets, objective
from advrun.attacks._best import Best, unfinished
from advrun.engine import Rng, fused, ops, select
from advrun.geometry import L0, L1, largest, per_image
from advrun.system import Gradients
from advrun.types import Count, Labels, Targets, Tensor

PHASES = ((3.0, 0.3), (2.0, 0.3), (1.0, 0.4))
"""Radii, as multiples of eps, and the shares of the steps that are made in them."""
CHECK_EVERY = 0.04  # m: share of a phase's steps between two checkpoints
SPARSER = 0.95  # the best iterate got sparser when it changes less than this share of the values that it changed before
FEWER = 1.5  # so many times fewer values than the best iterate has changed are changed by a step
SMALLER, LEAST = 1.5, 0.1  # eta is divided by the first, down to the second, as a share of the radius
DENSE = 0.2  # share of all values that the first steps change, where the run starts in the ball itself


class Climb(NamedTuple):
    """One run from a random start; the first axis of everything is the images.

    x, y, goal: clean image, label, and the class that the targeted DLR loss aims at. x_adv: x^(i), to be looked at next.
    x_max, slope_max, f_max: the iterate with the largest loss of this phase, its gradient and its loss.
    eta: step size, as a share of the radius. k: how many values a step changes. changed: how many values x_max had changed when k was set.
    """

    x: Tensor
    y: Tensor
    goal: Tensor
    x_adv: Tensor
    x_max: Tensor
    slope_max: Tensor
    f_max: Tensor
    eta: Tensor
    k: Tensor
    changed: Tensor
    best: Best

    @classmethod
    def start(cls, x: Tensor, y: Tensor, goal: Tensor, x_adv: Tensor, best: Best) -> Climb:
        zeros, everything = ops.zeros((x.shape[0],), dtype="float32"), float(np.prod(x.shape[1:]))
        never, values = zeros - float("inf"), zeros + everything
        return cls(x, y, goal, x_adv, x_adv, ops.zeros_like(x), never, zeros + 1, DENSE * values, values, best)


def apgd_l1(
    model: Gradients,
    x: Tensor,
    y: Labels | Targets,
    ball: L1,
    rng: Rng,
    *,
    loss: LossName = "ce",
    steps: Count = 100,
    restarts: Count = 1,
    targets: Count = 9,
    targets_by: TargetsBy = "likelihood",
    candidates: Count = 10,
    eot: Count = 1,
    early_stop: bool = True,
    larger_first: bool = True,
) -> Tensor:
    """Auto-PGD in L1: x <- P(x + eta s / |s|_1), s the signs of the k largest values of the gradient, P onto ball and box together.

    A run starts from Gaussian noise, projected. The first 30 % of the steps are made in a ball of radius 3 eps, the next 30 % in one of
    2 eps, each from the most adversarial iterate of the last; where a ball is left, its last step is not looked at. At checkpoints k
    becomes the number of values that the best iterate changes, divided by 1.5. Where that number has fallen by 5 %, eta is the radius
    again and the run goes back to its best iterate; elsewhere eta shrinks by 1.5, to a tenth of the radius at least. Losses, early stop and
    what is returned are as in `apgd`; what counts is misclassified in the ball of eps itself.

    Args:
        loss: f, cross-entropy, the difference of logits ratio (DLR), or targeted DLR: towards each of the `targets` in turn.
        steps: of each run, in all radii together.
        restarts: runs from random starts, of each target.
        targets: of targeted DLR in an untargeted attack: so many other classes.
        targets_by: which: the most likely ones, or, by MALT (arXiv:2407.02240), those that the linearised network reaches first, which
            takes a gradient of the clean image for each candidate.
        candidates: of MALT: the true class and the most likely others, which it chooses from.
        eot: for random models: forward and backward passes that logits, loss and gradient are averaged over (the authors: the gradient).
        early_stop: leave images alone once they are misclassified; without it all steps are made, to the most adversarial iterate.
        larger_first: begin in the larger balls (`use_largereps` in the authors' code); without it all steps are made in the ball itself.
    """
    f_of = objective("apgd_l1", model, loss, eot)
    radius, enters, checkpoint = schedule(steps, larger_first)

    def begin(goal: Tensor, rng: Rng, best: Best) -> Climb:
        return Climb.start(x, y, goal, L1(ball.eps * radius[0]).project(x + rng.normal(x.shape), x), best)

    def step(i: Tensor, rows: Tensor, now: Climb) -> Climb:
        view, asked, here = model.part(rows), unfinished(now.best, early_stop), L1(ball.eps * ops.take(radius, i))
        now = ops.cond(ops.take(enters, i), lambda: enter(now, here), lambda: now)
        f, logits, slope = averaged(lambda: view.value_and_gradient(f_of(now.goal), now.x_adv, now.y, asked=asked), eot)
        counts = ops.logical_and(ops.take(radius, i) == 1, asked)
        lead = ops.where(counts, view.lead(logits, now.y), -float("inf"))
        return fused(move)(now, f, slope, lead, ops.take(checkpoint, i), here.eps)

    aims = goals(model, x, y, ball, loss, targets, targets_by, candidates)
    return best_of_runs(model, x, y, rng, begin, step, goals=aims, steps=steps, restarts=restarts, eot=eot, early_stop=early_stop)


cost, nonsense = cost_of_runs, nonsense_of_targets


def schedule(steps: int, larger_first: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each step: the radius, as a multiple of eps; whether the run enters another ball there; whether its iterate is a checkpoint."""
    lengths = [int(share * steps) for _, share in PHASES[:-1]] if larger_first else [0, 0]
    lengths.append(steps - sum(lengths))
    radius = np.repeat(np.array([multiple for multiple, _ in PHASES], np.float32), lengths)
    since = np.concatenate([np.arange(length) for length in lengths])
    window = np.repeat([max(int(CHECK_EVERY * length), 1) for length in lengths], lengths)
    return radius, (since == 0) & larger_first, (since > 0) & (since % window == 0)


def enter(now: Climb, ball: L1) -> Climb:
    """Begin anew in another ball, from the best iterate of the last one."""
    never = ops.full_like(now.f_max, -float("inf"))
    x_adv = ball.project(now.x_max, now.x)
    changed = L0.distance(x_adv, now.x)
    return now._replace(x_adv=x_adv, f_max=never, eta=ops.ones_like(now.eta), k=sparsity(changed), changed=changed)


def move(now: Climb, f: Tensor, slope: Tensor, lead: Tensor, checkpoint: Tensor, eps: Tensor) -> Climb:
    """Note how good x^(i) is, and go on to x^(i+1)."""
    higher = f > now.f_max
    now = now._replace(
        x_max=select(higher, now.x_adv, now.x_max),
        slope_max=select(higher, slope, now.slope_max),
        f_max=select(higher, f, now.f_max),
        best=now.best.update(now.x_adv, lead),
    )
    now, slope = ops.cond(checkpoint, lambda: check(now, slope), lambda: (now, slope))
    s = ops.sign(slope) * largest(slope, now.k)
    step = per_image(now.eta * eps / ops.maximum(L1.distance(s, 0.0 * s), 1.0), s)
    return now._replace(x_adv=L1(eps).project(now.x_adv + step * s, now.x))


def check(now: Climb, slope: Tensor) -> tuple[Climb, Tensor]:
    """Set k and eta anew; go back to the best iterate where that got sparser: adaptive sparsity and step size."""
    changed = L0.distance(now.x_max, now.x)
    sparser = changed < SPARSER * now.changed
    back = now._replace(
        x_adv=select(sparser, now.x_max, now.x_adv),
        eta=ops.where(sparser, 1.0, ops.maximum(now.eta / SMALLER, LEAST)),
        k=sparsity(changed),
        changed=changed,
    )
    return back, select(sparser, now.slope_max, slope)


def sparsity(changed: Tensor) -> Tensor:
    """k, how many values a step changes, of how many the best iterate has changed (n,)."""
    return ops.maximum(ops.ceil(changed / FEWER), 1.0)
