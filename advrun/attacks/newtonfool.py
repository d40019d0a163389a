"""NewtonFool (Jang, Wu and Jha, 2017, ACSAC, doi:10.1145/3134600.3134635, algorithm 1)."""

from __future__ import annotations

from typing import NamedTuple

from advrun.engine import ops, repeat_undecided, select
from advrun.geometry import L2, l2_norm, per_image
from advrun.losses import log_odds
from advrun.system import Gradients
from advrun.types import Cost, Count, Labels, Positive, Tensor

CONTRACT = {"ratio": 1.05}  # goes down the probability of the true class, not towards the nearest boundary


class State(NamedTuple):
    """For each image: itself, its label, the current iterate, and whether that is misclassified."""

    x: Tensor
    y: Tensor
    x_adv: Tensor
    fooled: Tensor


def newtonfool(model: Gradients, x: Tensor, y: Labels, norm: L2, *, steps: Count = 100, step_size: Positive = 0.01) -> Tensor:
    """NewtonFool: Newton steps on F, the probability of the true class: x <- x - delta grad F / |grad F|^2.

    delta = min(eta |x_0| |grad F|, F - 1 / classes). An image is done once it is misclassified; those that never are come back clean.

    Args:
        steps: iterations at most.
        step_size: eta, the longest step as a share of the image's L2 norm.
    """
    longest = step_size * l2_norm(x)

    def step(_: Tensor, rows: Tensor, state: tuple[State, Tensor]) -> tuple[State, Tensor]:
        (x, y, x_adv, fooled), reach = state
        # F = 1 / (1 + exp(odds)): its own gradient comes down to rounding where a model is sure.
        odds, logits, slope = model.part(rows).value_and_gradient(log_odds, x_adv, y, asked=~fooled)
        fooled, direction, likely = model.lead(logits, y) > 0, L2(1.0).steepest(slope), ops.sigmoid(-odds)
        steepness = likely * ops.sigmoid(odds) * ops.sum(slope * direction, axis=(1, 2, 3))  # |grad F|
        length = ops.minimum(reach, (likely - 1 / model.classes) / ops.maximum(steepness, 1e-30))
        moved = ops.clip(x_adv + per_image(length, x) * direction, 0.0, 1.0)
        return State(x, y, select(fooled, x_adv, moved), fooled), reach

    start = State(x, y, x, ops.zeros_like(y, dtype="bool")), longest
    end, _ = repeat_undecided(step, steps, start, decided=lambda state: state[0].fooled)
    return select(model.succeeds(end.x_adv, y, asked=~end.fooled) | end.fooled, end.x_adv, x)


def cost(steps: int) -> Cost:
    """One gradient a step, and a last look."""
    return Cost(gradients=steps, queries=1)
