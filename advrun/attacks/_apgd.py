"""What Auto-PGD in Linf and L2 and Auto-PGD in L1 share: their losses, and the mean over a random model."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal

from advrun.classifier import Gradients, Loss
from advrun.engine import ops, repeat
from advrun.losses import cross_entropy, dlr, dlr_of_target, targeted_dlr
from advrun.types import Cost, Tensor

LossName = Literal["ce", "dlr", "targeted_dlr"]
CLASSES_NEEDED = {"ce": 2, "dlr": 3, "targeted_dlr": 4}


def objective(attack: str, model: Gradients, name: LossName) -> Callable[[Tensor], Loss]:
    """The loss f for images that aim at `goal`; warns where the model has too few classes for it."""
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
        return lambda goal: cross_entropy
    if model.targeted:
        return lambda goal: dlr_of_target
    if name == "dlr":
        return lambda goal: dlr
    return lambda goal: lambda logits, y: targeted_dlr(logits, y, goal)


def averaged(draw: Callable[[], tuple[Tensor, ...]], draws: int) -> tuple[Tensor, ...]:
    """The mean of the tensors that several draws from a random model give."""
    if draws == 1:
        return draw()
    total = repeat(lambda _, total: tuple(a + b for a, b in zip(total, draw(), strict=True)), draws - 1, draw())
    return tuple(tensor / draws for tensor in total)


def unfinished(score: Tensor, early_stop: bool) -> Tensor:
    """(n,) bool: the images that still take steps, those not fooled yet, or all."""
    return score <= 0 if early_stop else ops.ones_like(score, dtype="bool")


def cost_of_runs(loss: str, steps: int, restarts: int, targets: int, eot: int) -> Cost:
    """One gradient a step and draw, and a last look at the end of each run; targets are chosen by the clean image's logits."""
    one_by_one = loss == "targeted_dlr"
    runs = restarts * (targets if one_by_one else 1)
    return Cost(gradients=runs * steps * eot, queries=runs * eot + one_by_one)
