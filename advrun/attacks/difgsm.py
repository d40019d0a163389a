"""Diverse inputs (Xie, Zhang, Zhou, Bai, Wang, Ren and Yuille, 2019, CVPR, arXiv:1803.06978, equations 4 to 7)."""

from __future__ import annotations

from advrun.attacks._momentum import climb
from advrun.attacks._warp import stretch
from advrun.engine import Rng, ops, select
from advrun.geometry import L2, Linf
from advrun.losses import log_odds
from advrun.system import Gradients
from advrun.types import Cost, Count, Fraction, Labels, NonNegative, Positive, Share, Targets, Tensor


def difgsm(
    model: Gradients,
    x: Tensor,
    y: Labels | Targets,
    ball: Linf | L2,
    rng: Rng,
    *,
    steps: Count = 10,
    step_size: Positive = 0.1,
    decay: NonNegative = 1.0,
    probability: Fraction = 0.5,
    smallest: Share = 0.9,
) -> Tensor:
    """Diverse inputs (M-DI2-FGSM): MI-FGSM with the gradient taken through a random shrinking and black padding of the image.

    Every image is transformed on its own, to any size between the smallest and its own, and resampled bilinearly (the authors' code: one
    draw for the batch, nearest neighbours, grey padding). Returns the last iterate, to be shown to another model.

    Args:
        steps: iterations.
        step_size: alpha, as a share of eps.
        decay: mu, the decay factor of the momentum; 0 for DI2-FGSM.
        probability: p, of transforming an image in a step.
        smallest: the smallest side of a shrunken image, as a share of the side (0.9: 299 of 330 pixels).
    """
    n, height, width, _ = x.shape

    def slope(k: Tensor, x_adv: Tensor, g: Tensor, memory: tuple[()]) -> tuple[Tensor, tuple[()]]:
        draw = rng.fold(k)
        size = draw.uniform((n, 1), smallest, 1.0)
        rows, columns = (places(side, size, draw) for side in (height, width))
        chosen = draw.uniform((n,)) < probability

        def diverse(images: Tensor) -> Tensor:
            return select(chosen, stretch(images, rows, columns), images)

        return model.gradient(log_odds, x_adv, y, through=diverse), memory

    return climb(x, ball, slope, steps=steps, step_size=step_size, decay=decay)


def cost(steps: int) -> Cost:
    """One gradient a step."""
    return Cost(gradients=steps)


def places(side: int, size: Tensor, draw: Rng) -> Tensor:
    """Where each of `side` pixels is read when a side shrinks to the share `size` (n, 1), put at random: (n, side)."""
    offset = draw.uniform(size.shape) * (1 - size) * side
    return (ops.arange(side, dtype="float32") + 0.5 - offset) / size - 0.5
