"""What Auto-PGD in Linf and L2 and Auto-PGD in L1 share: losses, runs, and the mean over a random model."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any, Literal

from advrun.attacks._best import Best, unfinished
from advrun.attacks._rivals import malt, rivals
from advrun.engine import Rng, ops, repeat, repeat_undecided
from advrun.geometry import Ball
from advrun.losses import cross_entropy, dlr, dlr_of_target, log_odds, targeted_dlr
from advrun.system import Gradients
from advrun.system.classifier import Loss
from advrun.types import Cost, Tensor

LossName = Literal["ce", "dlr", "targeted_dlr"]
TargetsBy = Literal["likelihood", "malt"]
CLASSES_NEEDED = {"ce": 2, "dlr": 3, "targeted_dlr": 4}


def objective(attack: str, model: Gradients, name: LossName, eot: int) -> Callable[[Tensor], Loss]:
    """The loss f for images that aim at `goal`; warns where the model has too few classes for it.

    For the cross-entropy the log-odds, which rise and fall with it and do not round to zero; but not where several draws are averaged.
    """
    needed = 4 if model.targeted and name != "ce" else CLASSES_NEEDED[name]
    if model.classes < needed:
        logging.getLogger("advrun").warning(
            "%s: the %s loss needs %d classes, the model has %d: its numerator, a difference of logits, is taken",
            attack,
            name,
            needed,
            model.classes,
        )
    if name == "ce":
        return lambda goal: log_odds if eot == 1 else cross_entropy
    if model.targeted:
        return lambda goal: dlr_of_target
    if name == "dlr":
        return lambda goal: dlr
    return lambda goal: lambda logits, y: targeted_dlr(logits, y, goal)


def goals(
    model: Gradients, x: Tensor, y: Tensor, norm: Ball, loss: LossName, targets: int, targets_by: TargetsBy, candidates: int
) -> Tensor:
    """What the runs aim at, one after the other, (k, n) int32: for targeted DLR other classes, the best first; other losses do not look."""
    if loss != "targeted_dlr" or model.targeted:
        return ops.expand_dims(y, 0)
    if targets_by == "malt":
        return malt(model, x, y, norm, targets, candidates)
    return rivals(model.logits(x), y, targets)


def nonsense_of_targets(*, loss: LossName, targets: int, targets_by: TargetsBy, candidates: int) -> tuple[str, str] | None:
    """MALT where there is nothing to choose, or less than is asked for."""
    if targets_by == "malt" and loss != "targeted_dlr":
        return "targets_by", f"got 'malt', but the loss {loss} has no targets; set loss to targeted_dlr"
    if targets_by == "malt" and targets >= candidates:
        return "targets", f"got {targets}, but {candidates} candidates, the true class among them, leave {candidates - 1} to choose from"
    return None


def best_of_runs(
    model: Gradients,
    x: Tensor,
    y: Tensor,
    rng: Rng,
    begin: Callable[[Tensor, Rng, Best], Any],
    step: Callable[..., Any],
    *,
    goals: Tensor,
    steps: int,
    restarts: int,
    eot: int,
    early_stop: bool,
) -> Tensor:
    """The most adversarial image of all runs: `restarts` towards each of the `goals` (k, n), each with a look at its last iterate.

    Args:
        begin: (what each image aims at, rng, the best so far) -> the state of a run, with fields x_adv and best.
        step: as `repeat_undecided` takes it.
    """

    def run(i: Tensor, best: Best) -> Best:
        start = begin(ops.take(goals, i // restarts, axis=0), rng.fold(i), best)
        end = repeat_undecided(step, steps, start, decided=(lambda now: now.best.score > 0) if early_stop else None)
        asked = unfinished(end.best, early_stop)
        (logits,) = averaged(lambda: (model.logits(end.x_adv, asked),), eot)
        return end.best.update(end.x_adv, ops.where(asked, model.lead(logits, y), -math.inf))

    return repeat(run, goals.shape[0] * restarts, Best.nothing(x)).x


def averaged(draw: Callable[[], tuple[Tensor, ...]], draws: int) -> tuple[Tensor, ...]:
    """The mean of the tensors that several draws from a random model give."""
    if draws == 1:
        return draw()
    total = repeat(lambda _, total: tuple(a + b for a, b in zip(total, draw(), strict=True)), draws - 1, draw())
    return tuple(tensor / draws for tensor in total)


def cost_of_runs(loss: str, steps: int, restarts: int, targets: int, targets_by: TargetsBy, candidates: int, eot: int) -> Cost:
    """One gradient a step and draw, and a last look at the end of each run; targets are chosen by the clean image's logits.

    By MALT also by their gradients, one for each candidate. The targeted form has one goal, and costs as much as one target.
    """
    one_by_one = loss == "targeted_dlr"
    runs = restarts * (targets if one_by_one else 1)
    chosen = candidates if one_by_one and targets_by == "malt" else 0
    return Cost(gradients=runs * steps * eot + chosen, queries=runs * eot + one_by_one)
