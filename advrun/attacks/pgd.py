"""Projected gradient descent (Madry, Makelov, Schmidt, Tsipras and Vladu, 2018, arXiv:1706.06083, equation 2)."""

from __future__ import annotations

from advrun.attacks._ascent import ascent
from advrun.attacks._best import Best
from advrun.engine import Rng, repeat
from advrun.geometry import L2, Linf
from advrun.system import Gradients
from advrun.types import Cost, Count, Labels, Positive, Targets, Tensor

PRESETS = {"paper": {"steps": 40, "step_size": 1 / 30}}


def pgd(
    model: Gradients,
    x: Tensor,
    y: Labels | Targets,
    ball: Linf | L2,
    rng: Rng,
    *,
    steps: Count = 40,
    step_size: Positive = 0.1,
    restarts: Count = 1,
    early_stop: bool = False,
) -> Tensor:
    """Projected gradient descent from a random start: x <- P(x + alpha * sgn(grad_x L(x, y))), P the projection onto the ball.

    Returns each image's most adversarial iterate over all steps and restarts, not the last one; with early_stop the first that
    is misclassified, which costs less and gives the same accuracy, but for random models.

    Args:
        steps: gradient steps of each restart.
        step_size: alpha, as a share of eps; the paper's are 1/30 with 40 steps (preset paper, for MNIST) and 1/4 (for CIFAR-10).
        restarts: random starts.
        early_stop: leave images alone once they are misclassified.
    """

    def restart(i: Tensor, best: Best) -> Best:
        start = ball.sample(x, rng.fold(i))
        return ascent(model, x, y, ball, start, best, steps=steps, step_size=step_size, early_stop=early_stop)

    return repeat(restart, restarts, Best.nothing(x)).x


def cost(steps: int, restarts: int) -> Cost:
    """One gradient a step, and a last look for each restart."""
    return Cost(gradients=restarts * steps, queries=restarts)
