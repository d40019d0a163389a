"""Scale-invariant Nesterov FGSM (Lin, Song, He, Wang and Hopcroft, 2020, ICLR, arXiv:1908.06281, algorithm 1)."""

from __future__ import annotations

from advrun.attacks._momentum import ahead, climb, mean_of, slope_of
from advrun.engine import ops
from advrun.geometry import L2, Linf
from advrun.losses import cross_entropy
from advrun.system import Gradients
from advrun.types import Cost, Count, Labels, NonNegative, Positive, Targets, Tensor


def sifgsm(
    model: Gradients,
    x: Tensor,
    y: Labels | Targets,
    ball: Linf | L2,
    *,
    steps: Count = 10,
    step_size: Positive = 0.1,
    decay: NonNegative = 1.0,
    scales: Count = 5,
) -> Tensor:
    """Scale-invariant Nesterov FGSM: NI-FGSM with the mean gradient over the copies x / 2^i, i = 0 .. m - 1.

    The copies fade to black; those of the authors, whose pixels run from -1 to 1, to grey. In L2, which the paper does not have, the
    look-ahead is a step of mu alpha along g. Returns the last iterate, to be shown to another model.

    Args:
        steps: T, iterations.
        step_size: alpha, as a share of eps; the paper's is 1 / T.
        decay: mu, the decay factor of the momentum.
        scales: m, copies of the image.
    """
    slope = slope_of(model, y, cross_entropy)

    def over_scales(_: Tensor, x_adv: Tensor, g: Tensor, memory: tuple[()]) -> tuple[Tensor, tuple[()]]:
        there = ahead(x_adv, g, ball, step_size * decay)

        def copy(i: Tensor) -> Tensor:
            share = 0.5 ** ops.cast(i, "float32")
            return share * slope(share * there)

        return mean_of(scales, copy, x), memory

    return climb(x, ball, over_scales, steps=steps, step_size=step_size, decay=decay)


def cost(steps: int, scales: int) -> Cost:
    """One gradient for each copy in each step."""
    return Cost(gradients=steps * scales)
