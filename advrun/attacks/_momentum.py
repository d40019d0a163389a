"""The loop that the transfer attacks share: MI-FGSM with the gradient taken elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from advrun.engine import ops, repeat
from advrun.geometry import L2, Ball, Linf, axes
from advrun.losses import log_odds
from advrun.system import Gradients
from advrun.system.classifier import Loss
from advrun.types import Tensor

Slope = Callable[[Tensor, Tensor, Tensor, Any], tuple[Tensor, Any]]
"""(iteration, x_adv, momentum g, memory) -> (the gradient to accumulate, next memory)."""


def accumulate(g: Tensor, gradient: Tensor, decay: float) -> Tensor:
    """g <- mu g + gradient / |gradient|_1, image by image (Dong et al., 2018, arXiv:1710.06081, equation 6).

    |.|_1 is the mean over the values of an image, as in the authors' code: only then is x + alpha mu g a step of NI-FGSM's.
    """
    length = ops.mean(ops.abs(gradient), axis=axes(gradient), keepdims=True)
    return decay * g + gradient / ops.maximum(length, 1e-12)


def climb(x: Tensor, ball: Ball, slope: Slope, *, steps: int, step_size: float, decay: float, memory: Any = ()) -> Tensor:
    """`steps` times x_adv <- P(x_adv + step_size * steepest(g)) from x; the last iterate, which is what transfers."""

    def step(k: Tensor, state: tuple[Tensor, Tensor, Any]) -> tuple[Tensor, Tensor, Any]:
        x_adv, g, memory = state
        gradient, memory = slope(k, x_adv, g, memory)
        g = accumulate(g, gradient, decay)
        return ball.project(x_adv + step_size * ball.steepest(g), x), g, memory

    return repeat(step, steps, (x, ops.zeros_like(x), memory))[0]


def slope_of(model: Gradients, y: Tensor, loss: Loss = log_odds) -> Callable[[Tensor], Tensor]:
    """x -> the gradient of the loss. Where gradients at several places are added up their lengths matter: then of the cross-entropy."""
    return lambda x: model.gradient(loss, x, y)


def ahead(x_adv: Tensor, g: Tensor, ball: Linf | L2, step: float) -> Tensor:
    """Where the momentum leads, x + alpha mu g (NI-FGSM); in L2, where g is sqrt(d) times as long as a step, that far along it."""
    return x_adv + step * ball.stride(g)


def mean_of(draws: int, draw: Callable[[Tensor], Tensor], like: Tensor) -> Tensor:
    """The mean of draw(0), ..., draw(draws - 1), one after the other."""
    return repeat(lambda i, total: total + draw(i), draws, ops.zeros_like(like)) / draws
