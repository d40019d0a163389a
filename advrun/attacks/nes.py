"""Natural evolution strategies (Ilyas, Engstrom, Athalye and Lin, 2018, ICML, arXiv:1804.08598, algorithm 1 and section 2.2)."""

from __future__ import annotations

from typing import Any

from advrun.attacks._estimate import Ask, State, climb, pairs_within, slope
from advrun.engine import Rng, ops
from advrun.geometry import L2, Linf
from advrun.losses import cross_entropy
from advrun.system import Scores
from advrun.types import Count, Labels, Positive, Targets, Tensor


def nes(
    model: Scores,
    x: Tensor,
    y: Labels | Targets,
    ball: Linf | L2,
    rng: Rng,
    *,
    queries: Count = 10_000,
    samples: Count = 50,
    sigma: Positive = 1e-3,
    step_size: Positive = 0.2,
) -> Tensor:
    """Natural evolution strategies: PGD with grad = (1 / (n sigma)) sum_i u_i f(x + sigma u_i), u normal and in pairs u, -u.

    f is the log-probability of the class. Stops at the first success; the authors' momentum and falling step size, which are in
    their code and not in the paper, are left out. As there, the images asked about are not clipped to the box.

    Args:
        queries: at most this many for each image.
        samples: n, an even number, of each gradient; fewer where the queries last for no step.
        sigma: search radius.
        step_size: eta, as a share of eps.
    """
    pairs = pairs_within(queries, samples)

    def move(i: Tensor, rows: Tensor, ask: Ask, now: State) -> tuple[Tensor, Any]:
        gradient = slope(ask, now.x_adv, lambda rng: rng.normal(ops.shape(now.x)), rng.part(rows).fold(i), pairs=pairs, radius=sigma)
        return ball.project(now.x_adv + step_size * ball.steepest(gradient), now.x), ()

    return climb(model, x, y, cross_entropy, move, (), queries=queries, per_step=2 * pairs)
