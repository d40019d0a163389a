"""Nesterov iterative FGSM (Lin, Song, He, Wang and Hopcroft, 2020, ICLR, arXiv:1908.06281, section 3.2)."""

from __future__ import annotations

from advrun.attacks._momentum import ahead, climb, slope_of
from advrun.geometry import L2, Linf
from advrun.system import Gradients
from advrun.types import Cost, Count, Labels, NonNegative, Positive, Targets, Tensor


def nifgsm(
    model: Gradients,
    x: Tensor,
    y: Labels | Targets,
    ball: Linf | L2,
    *,
    steps: Count = 10,
    step_size: Positive = 0.1,
    decay: NonNegative = 1.0,
) -> Tensor:
    """Nesterov iterative FGSM: MI-FGSM whose gradient is taken where the momentum leads, at x_t + alpha mu g_t (equations 6 to 8).

    In L2, which the paper does not have, that is a step of mu alpha along g_t.

    Returns the last iterate, to be shown to another model.

    Args:
        steps: T, iterations.
        step_size: alpha, as a share of eps; the paper's is 1 / T.
        decay: mu, the decay factor of the momentum.
    """
    slope = slope_of(model, y)

    def there(_: Tensor, x_adv: Tensor, g: Tensor, memory: tuple[()]) -> tuple[Tensor, tuple[()]]:
        return slope(ahead(x_adv, g, ball, step_size * decay)), memory

    return climb(x, ball, there, steps=steps, step_size=step_size, decay=decay)


def cost(steps: int) -> Cost:
    """One gradient a step."""
    return Cost(gradients=steps)
