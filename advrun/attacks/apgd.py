"""Auto-PGD (Croce and Hein, 2020, ICML, arXiv:2003.01690, algorithm 1; losses: section 4)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from advrun.attacks._apgd import LossName, TargetsBy, averaged, best_of_runs, cost_of_runs, goals, nonsense_of_targets, objective
from advrun.attacks._best import Best, unfinished
from advrun.engine import Rng, fused, ops, select
from advrun.geometry import L2, Linf, per_image
from advrun.system import Gradients
from advrun.types import Count, Labels, Targets, Tensor

PRESETS = {"malt": {"loss": "targeted_dlr", "targets": 2, "targets_by": "malt"}}  # as much as 9 by likelihood: attacks/README.md
MOMENTUM = 0.75  # alpha
RISING = 0.75  # rho: the share of steps between two checkpoints that should raise the loss


class Climb(NamedTuple):
    """One run from a random start; the first axis of everything is the images.

    x, y, goal: clean image, label, and the class that the targeted DLR loss aims at. x_adv, previous: x^(k) and x^(k-1).
    f: loss of the iterate looked at last.
    x_max, slope_max, f_max: the iterate with the largest loss, its gradient and its loss. eta: step size, as a share of eps.
    rises: steps that raised the loss since the last checkpoint. halved, f_check: whether eta was halved there, and f_max there.
    """

    x: Tensor
    y: Tensor
    goal: Tensor
    x_adv: Tensor
    previous: Tensor
    f: Tensor
    x_max: Tensor
    slope_max: Tensor
    f_max: Tensor
    eta: Tensor
    rises: Tensor
    halved: Tensor
    f_check: Tensor
    best: Best

    @classmethod
    def start(cls, x: Tensor, y: Tensor, goal: Tensor, x_adv: Tensor, best: Best) -> Climb:
        zeros = ops.zeros((x.shape[0],), dtype="float32")
        never = zeros - float("inf")
        nowhere = ops.zeros_like(x)
        # The first loss cannot be a rise: nothing is larger than infinity.
        return cls(x, y, goal, x_adv, x_adv, -never, x_adv, nowhere, never, zeros + 2, zeros, zeros > 0, never, best)


def apgd(
    model: Gradients,
    x: Tensor,
    y: Labels | Targets,
    ball: Linf | L2,
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
) -> Tensor:
    """Auto-PGD: z = P(x_k + eta grad f(x_k)), x_{k+1} = P(x_k + 0.75 (z - x_k) + 0.25 (x_k - x_{k-1})), from eta = 2 eps.

    At checkpoints, closer and closer together, eta is halved, and the run goes back to its best iterate, where fewer than 3/4 of the
    steps raised f, or where neither f_max nor eta has changed since the last one. An image is done at its first misclassified iterate;
    the others come back as their most adversarial iterate. With fewer than 3 classes (targeted: 4) the DLR losses have no denominator:
    the numerator is taken, with a warning. In the targeted form both of them are the targeted DLR loss towards y, away from the strongest
    other class.

    Args:
        loss: f, cross-entropy, the difference of logits ratio (DLR), or targeted DLR: towards each of the `targets` in turn.
        steps: N_iter, of each run.
        restarts: runs from random starts, of each target.
        targets: of targeted DLR in an untargeted attack: so many other classes.
        targets_by: which: the most likely ones, or, by MALT (arXiv:2407.02240), those that the linearised network reaches first, which
            takes a gradient of the clean image for each candidate.
        candidates: of MALT: the true class and the most likely others, which it chooses from.
        eot: for random models: forward and backward passes that logits, loss and gradient are averaged over (the authors: the gradient).
        early_stop: leave images alone once they are misclassified; without it all steps are made, to the most adversarial iterate.
    """
    f_of = objective("apgd", model, loss, eot)
    checkpoint, window = schedule(steps)

    def begin(goal: Tensor, rng: Rng, best: Best) -> Climb:
        return Climb.start(x, y, goal, ball.sample(x, rng), best)

    def step(k: Tensor, rows: Tensor, now: Climb) -> Climb:
        view, asked = model.part(rows), unfinished(now.best, early_stop)
        f, logits, slope = averaged(lambda: view.value_and_gradient(f_of(now.goal), now.x_adv, now.y, asked=asked), eot)
        lead = ops.where(asked, view.lead(logits, now.y), -float("inf"))
        higher = f > now.f_max
        now = now._replace(
            f=f,
            rises=now.rises + ops.cast(f > now.f, "float32"),
            x_max=select(higher, now.x_adv, now.x_max),
            slope_max=select(higher, slope, now.slope_max),
            f_max=select(higher, f, now.f_max),
            best=now.best.update(now.x_adv, lead),
        )
        now, slope = ops.cond(ops.take(checkpoint, k), lambda: check(now, slope, ops.take(window, k)), lambda: (now, slope))
        alpha = ops.where(k > 0, MOMENTUM, 1.0)
        return now._replace(x_adv=fused(stepped)(now.x_adv, now.previous, now.x, now.eta, slope, alpha), previous=now.x_adv)

    def stepped(x_adv: Tensor, previous: Tensor, x: Tensor, eta: Tensor, slope: Tensor, alpha: Tensor) -> Tensor:
        z = ball.project(x_adv + per_image(eta, x) * ball.steepest(slope), x)
        return ball.project(x_adv + alpha * (z - x_adv) + (1 - alpha) * (x_adv - previous), x)

    aims = goals(model, x, y, ball, loss, targets, targets_by, candidates)
    return best_of_runs(model, x, y, rng, begin, step, goals=aims, steps=steps, restarts=restarts, eot=eot, early_stop=early_stop)


cost, nonsense = cost_of_runs, nonsense_of_targets


def schedule(steps: int) -> tuple[np.ndarray, np.ndarray]:
    """For k = 0 .. steps: whether x^(k) is a checkpoint, and the steps since the last one (section 3.3).

    w_j = ceil(p_j N_iter), p_0 = 0, p_1 = 0.22, p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06); counted in percent.
    """
    since, last, p, gap = np.zeros(steps + 1, np.float32), 0, 22, 22
    while p <= 100:
        w = -(-p * steps // 100)
        since[w] += w - last  # of few steps, several checkpoints may fall together
        last, gap = w, max(gap - 3, 6)
        p += gap
    return since > 0, since


def check(now: Climb, slope: Tensor, window: Tensor) -> tuple[Climb, Tensor]:
    """Conditions 1 and 2 of section 3.2: halve the step and go back to the best iterate, or go on as before."""
    stalled = ops.logical_and(~now.halved, now.f_max <= now.f_check)
    halved = ops.logical_or(now.rises < RISING * window, stalled)
    back = now._replace(
        f=select(halved, now.f_max, now.f),
        x_adv=select(halved, now.x_max, now.x_adv),
        eta=select(halved, now.eta / 2, now.eta),
        rises=0 * now.rises,
        halved=halved,
        f_check=now.f_max,
    )
    return back, select(halved, now.slope_max, slope)
