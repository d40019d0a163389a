"""Bandits with a data prior (Ilyas, Engstrom and Madry, 2019, ICLR, arXiv:1807.07978, algorithms 1 to 3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from advrun.attacks._estimate import Ask, State, climb
from advrun.engine import Rng, ops
from advrun.geometry import L2, Linf, l2_norm, per_image
from advrun.losses import cross_entropy
from advrun.system import Scores
from advrun.types import Count, Labels, Positive, Targets, Tensor

PRESETS = {"paper": {"tile": 50, "prior_rate": 100.0, "exploration": 1.0}}  # on ImageNet in Linf; 0.01 a step at eps 0.05


def _odds(v: Tensor, step: Tensor) -> Tensor:
    """(1 + v) / 2 is a probability; its odds are multiplied by exp(2 step)."""
    return ops.tanh(ops.arctanh(ops.clip(v, -0.999999, 0.999999)) + step)


PRIOR_STEP: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"Linf": _odds, "L2": lambda v, step: v + step}
"""How v follows the gradient in either norm."""


def bandits(
    model: Scores,
    x: Tensor,
    y: Labels | Targets,
    ball: Linf | L2,
    rng: Rng,
    *,
    queries: Count = 10_000,
    tile: Count = 2,
    step_size: Positive = 0.2,
    prior_rate: Positive = 1.0,
    exploration: Positive = 0.1,
    delta: Positive = 0.1,
) -> Tensor:
    """Bandits with time and data priors: a latent v, one value a tile, follows the gradient from two queries a step; x steps along it.

    q_1, q_2 = v +- exploration * u, u normal with |u| near 1; the derivative is (l(x + delta q_1/|q_1|) - l(x + delta q_2/|q_2|)) /
    (delta * exploration), times exploration * u, as in the authors' code. In Linf v is updated by exponentiated gradients, v in [-1, 1];
    in L2 by v <- v + eta * derivative. A third query a step tells whether the image has succeeded: it is counted here, in the authors'
    code it is not. The images asked about are not clipped to the box. The defaults suit images of 32 pixels; the paper's are for
    ImageNet.

    Args:
        queries: at most this many for each image.
        tile: side of the square of pixels that share one value of v.
        step_size: h, as a share of eps.
        prior_rate: eta, the learning rate of v.
        exploration: how far the two queried directions are from v.
        delta: how far from the iterate the loss is asked, in L2.
    """
    n, height, width, channels = x.shape
    rows, columns = -(-height // tile), -(-width // tile)
    dimension = rows * columns * channels

    def upsampled(v: Tensor) -> Tensor:
        return ops.repeat(ops.repeat(v, tile, axis=1), tile, axis=2)[:, :height, :width]

    def towards(v: Tensor) -> Tensor:
        whole = upsampled(v)
        return whole / per_image(ops.maximum(l2_norm(whole), 1e-12), whole)

    def move(i: Tensor, rows: Tensor, ask: Ask, now: State) -> tuple[Tensor, Any]:
        v, m = now.memory, ops.shape(now.x)[0]
        u = exploration * rng.part(rows).fold(i).normal(ops.shape(v)) / dimension**0.5
        f = ask(ops.concatenate([now.x_adv + delta * towards(v + u), now.x_adv + delta * towards(v - u)]))
        derivative = per_image((f[:m] - f[m:]) / (delta * exploration), v) * u
        v = PRIOR_STEP[ball.name](v, prior_rate * derivative)
        return ball.project(now.x_adv + step_size * ball.steepest(upsampled(v)), now.x), v

    prior = ops.zeros((n, rows, columns, channels))
    return climb(model, x, y, cross_entropy, move, prior, queries=queries, per_step=2)
