"""What generators and discriminators are told: four pairs of losses, and words for a training that went wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np

from advrun.engine import ops
from advrun.types import Tensor

LossName = Literal["vanilla", "least_squares", "relativistic", "relativistic_average"]
Pair = tuple[Tensor, Tensor]
DIVERGED, ALIKE, SEEN = 0.2, 0.1, 0.99
"""How far below its best epoch the last one may end; how much of the images' changes must be their own; and the share of pairs of which
a discriminator that knows them all knows which one is real."""


def vanilla(real: Tensor, fake: Tensor) -> Pair:
    """Goodfellow et al. (2014, arXiv:1406.2661, equation 1); the generator makes log D(G) large, as section 3 advises."""
    return ops.softplus(-real) + ops.softplus(fake), ops.softplus(-fake)


def least_squares(real: Tensor, fake: Tensor) -> Pair:
    """Mao et al. (2017, arXiv:1611.04076, equation 9): a = 0 and b = c = 1."""
    return (ops.square(real - 1) + ops.square(fake)) / 2, ops.square(fake - 1) / 2


def relativistic(real: Tensor, fake: Tensor) -> Pair:
    """RSGAN (Jolicoeur-Martineau, 2018, arXiv:1807.00734, equations 10 and 11): is the real one of a pair more real than the other?"""
    return ops.softplus(fake - real), ops.softplus(real - fake)


def relativistic_average(real: Tensor, fake: Tensor) -> Pair:
    """RaSGAN (the same, section 4.2): is it more real than the others are on average?"""
    real, fake = real - ops.mean(fake), fake - ops.mean(real)
    return ops.softplus(-real) + ops.softplus(fake), ops.softplus(real) + ops.softplus(-fake)


GAN_LOSSES: dict[str, Callable[[Tensor, Tensor], Pair]] = {
    each.__name__: each for each in (vanilla, least_squares, relativistic, relativistic_average)
}
"""Scores (n,) of real and of made images, any numbers -> the losses (n,) of the discriminator and of the generator."""


def told_apart(real: Tensor, fake: Tensor) -> Tensor:
    """1 where the real one of a pair has the higher score, else 0; (n,)."""
    return ops.cast(real > fake, "float32")


def variety(images: np.ndarray) -> float:
    """The share, 0 to 1, of the squares of (n, ...) that is left once what all have in common, their mean, is taken away."""
    whole = np.square(images).mean()
    return float(images.var(0).mean() / whole) if whole > 0 else 0.0


def doubts(history: Mapping[str, Sequence[float]], monitor: str, own: float | None, what: str) -> list[str]:
    """In words: divergence, collapse, and a discriminator that is never deceived.

    Args:
        history: the curves of the training.
        monitor: the curve that chose the epoch, larger is better; "" for none.
        own: the `variety` of what was made, as a share of what it should be.
        what: "what it adds to images", the thing that varies.
    """
    notes = []
    if values := history.get(monitor):
        best = int(np.argmax(values))
        if values[-1] < values[best] - DIVERGED:
            fell = f"from {100 * values[best]:.0f} % in epoch {best + 1} to {100 * values[-1]:.0f} % in the last"
            notes.append(f"the training diverged: {monitor.removeprefix('val_')} fell {fell}; the best weights are used, fewer epochs do")
    if own is not None and own < ALIKE:
        notes.append(f"mode collapse: {what} is nearly the same each time ({100 * own:.0f} % of it is its own)")
    seen = history.get("val_discriminator_accuracy") or history.get("discriminator_accuracy")
    if seen and seen[-1] > SEEN:
        notes.append(f"the discriminator is never deceived: of {100 * seen[-1]:.1f} % of the pairs it knows which image was made")
    return notes
