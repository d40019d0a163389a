"""Total variation minimisation in front of the classifier (Guo, Rana, Cisse and van der Maaten, 2018, arXiv:1711.00117, section 4.3)."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Interval

from advrun.defenses._windows import mean_of
from advrun.engine import Rng, ops, repeat
from advrun.system import Chain, Purifier
from advrun.types import Count, Positive, Tensor

RATE = 8**-0.5
"""Both step sizes: the squared norm of the discrete gradient is at most 8."""


def total_variation(
    system: Chain, *, weight: Positive = 0.03, drop: Annotated[float, Interval(ge=0, lt=1)] = 0.5, steps: Count = 50
) -> Chain:
    """Paint every image anew from a random half of its pixels, as smoothly as fits them, before it is classified; nothing is trained.

    It is the image z that makes |m (z - x)|^2 / 2 + weight TV(z) small, where m is 0 for pixels that are dropped, and TV the length of the
    gradient summed over the pixels of each channel (Rudin, Osher and Fatemi, 1992). The solver is the primal-dual method of Chambolle and
    Pock (2011, doi:10.1007/s10851-010-0251-1, algorithm 1). NOTE: the authors do not square the distance, and use split Bregman. Backward
    it is passed as if nothing were there (BPDA, Athalye et al., 2018, arXiv:1802.00420, section 4.1), and attacks average over draws.

    Args:
        weight: of the total variation: larger is smoother.
        drop: the probability that a pixel, with all its channels, is dropped; 0 drops none, and nothing is random.
        steps: of the solver.
    """

    def painted(x: Tensor, rng: Rng) -> Tensor:
        kept = ops.ones_like(x[..., :1]) if drop == 0 else ops.cast(rng.uniform((*ops.shape(x)[:3], 1)) >= drop, "float32")
        return smoothed(x, kept, weight, steps)

    return system.behind(Purifier(painted, backward="identity", random=drop > 0))


def smoothed(x: Tensor, kept: Tensor, weight: float, steps: int) -> Tensor:
    """The minimiser for images x (n, h, w, c) of which the pixels `kept` (n, h, w, 1), 0 or 1, are known, clipped to [0, 1]."""
    share = mean_of(kept, 3)
    start = ops.where(kept > 0, x, mean_of(x * kept, 3) / ops.maximum(share, 1e-3))
    nothing = ops.zeros_like(x)

    def step(_: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        z, ahead, down, right = state
        down, right = down + RATE * _down(ahead), right + RATE * _right(ahead)
        length = ops.maximum(1.0, ops.sqrt(down**2 + right**2) / weight)
        down, right = down / length, right / length
        new = (z + RATE * (_divergence(down, right) + kept * x)) / (1 + RATE * kept)
        return new, 2 * new - z, down, right

    return ops.clip(repeat(step, steps, (start, start, nothing, nothing))[0], 0.0, 1.0)


def _down(z: Tensor) -> Tensor:
    """Differences to the next row; 0 in the last."""
    return ops.pad(z[:, 1:] - z[:, :-1], ((0, 0), (0, 1), (0, 0), (0, 0)))


def _right(z: Tensor) -> Tensor:
    """Differences to the next column; 0 in the last."""
    return ops.pad(z[:, :, 1:] - z[:, :, :-1], ((0, 0), (0, 0), (0, 1), (0, 0)))


def _divergence(down: Tensor, right: Tensor) -> Tensor:
    """Minus the adjoint of both differences."""
    rows = ops.pad(down[:, :-1], ((0, 0), (0, 1), (0, 0), (0, 0))) - ops.pad(down[:, :-1], ((0, 0), (1, 0), (0, 0), (0, 0)))
    columns = ops.pad(right[:, :, :-1], ((0, 0), (0, 0), (0, 1), (0, 0))) - ops.pad(right[:, :, :-1], ((0, 0), (0, 0), (1, 0), (0, 0)))
    return rows + columns
