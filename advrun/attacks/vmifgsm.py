"""Variance tuning (Wang and He, 2021, CVPR, arXiv:2103.15571, algorithm 1)."""

from __future__ import annotations

from advrun.attacks._momentum import climb, mean_of, slope_of
from advrun.engine import Rng, ops
from advrun.geometry import L2, Linf
from advrun.losses import cross_entropy
from advrun.system import Gradients
from advrun.types import Cost, Count, Labels, NonNegative, Positive, Targets, Tensor


def vmifgsm(
    model: Gradients,
    x: Tensor,
    y: Labels | Targets,
    ball: Linf | L2,
    rng: Rng,
    *,
    steps: Count = 10,
    step_size: Positive = 0.1,
    decay: NonNegative = 1.0,
    neighbours: Count = 20,
    neighbourhood: Positive = 1.5,
) -> Tensor:
    """Variance-tuned MI-FGSM: the gradient plus v, how much the mean gradient around the last iterate differed from its own.

    v_{t+1} = (1/N) sum_i grad J(x_t + r_i) - grad J(x_t), r_i uniform in the ball of radius beta eps, here also inside the image box.
    Returns the last iterate, to be shown to another model.

    Args:
        steps: T, iterations.
        step_size: alpha, as a share of eps; the paper's is 1 / T.
        decay: mu, the decay factor of the momentum.
        neighbours: N, images drawn around each iterate.
        neighbourhood: beta, radius that they are drawn in, as a multiple of eps.
    """
    slope = slope_of(model, y, cross_entropy)
    around = ball.resized(ops.convert_to_tensor(neighbourhood * ball.eps, "float32"))  # which may be more than 1

    def tuned(k: Tensor, x_adv: Tensor, g: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        here, draw = slope(x_adv), rng.fold(k)
        nearby = mean_of(neighbours, lambda i: slope(around.sample(x_adv, draw.fold(i))), x)
        return here + variance, nearby - here

    return climb(x, ball, tuned, steps=steps, step_size=step_size, decay=decay, memory=ops.zeros_like(x))


def cost(steps: int, neighbours: int) -> Cost:
    """One gradient a step, and one for each neighbour."""
    return Cost(gradients=steps * (neighbours + 1))
