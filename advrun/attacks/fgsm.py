"""Fast gradient sign method (Goodfellow, Shlens and Szegedy, 2015, arXiv:1412.6572, section 4)."""

from __future__ import annotations

from advrun.geometry import L2, Linf
from advrun.losses import log_odds
from advrun.system import Gradients
from advrun.types import Cost, Labels, Targets, Tensor


def fgsm(model: Gradients, x: Tensor, y: Labels | Targets, ball: Linf | L2) -> Tensor:
    """Fast gradient sign method: one step of length eps up the loss. x_adv = x + eps * sign(grad_x J(x, y)).

    J is the cross-entropy, whose gradient the log-odds' has the direction of. In L2 the step is eps * grad / |grad|_2 (the fast gradient
    method).
    """
    return ball.project(x + ball.steepest(model.gradient(log_odds, x, y)), x)


def cost() -> Cost:
    """One gradient."""
    return Cost(gradients=1)
