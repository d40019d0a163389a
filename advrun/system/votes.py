"""How a system that votes is asked: its answer is the class that most draws give, as of a smoothed classifier.

g(x) = argmax_c P(f(x + noise) = c) (Cohen, Rosenfeld and Kolter, 2019, arXiv:1902.02918, equation 1). A vote has no gradient. An attacker
climbs in its place the loss of G(x) = log E[softmax(f(x + noise))], the mean over draws within the logarithm (SmoothAdv: Salman et al.,
2019, arXiv:1906.04584, section 2.2, equation 6): with the cross-entropy that is -log of the mean probability of y. Every loss of logits is
taken of G, for softmax(G) is the mean softmax.

A loss of a mean is no mean of losses. So the draws are gone through twice: G first, then each draw's share in its gradient,

    dG_c / dx = E[exp(log softmax_c(f) - G_c) d log softmax_c(f) / dx],

whose factors sum up to one over the draws, however small the probabilities are.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from advrun.engine import ops, straight_through
from advrun.system.draws import Draws
from advrun.types import Tensor

Ask = Callable[[], Tensor]
"""Outputs (n, classes) of one draw."""


def voted(draws: Draws, ask: Ask) -> Tensor:
    """Scores (n, classes) whose softmax is each class's share of the draws; where shares are equal, the mean softmax decides.

    It weighs half of what one draw does, so that no score is infinite.
    """

    def ballot() -> tuple[Tensor, Tensor]:
        outputs = ask()
        return ops.one_hot(ops.argmax(outputs, axis=-1), outputs.shape[-1]), ops.softmax(outputs)

    share, mean = draws.mean(ballot)
    weight = 0.5 / draws.times
    return ops.log(ops.maximum((1 - weight) * share + weight * mean, 1e-30))


def surrogate(draws: Draws, ask: Ask, rows: Tensor | None = None) -> Tensor:
    """G, (n, classes): the logarithm of the mean softmax. rows: the numbers of the images, where they are not the whole batch."""
    (total,) = draws.joined(lambda: (ops.log_softmax(ask()),), ops.logaddexp, rows)
    return total - math.log(draws.times)


def sharing(outputs: Tensor, known: Tensor) -> Tensor:
    """`known`, which is G, with this draw's part of its gradient: the mean over the draws of gradients through it is that of G.

    Args:
        outputs: (n, classes) of this draw, which the gradient goes through.
    """
    own = ops.log_softmax(outputs)
    return straight_through(known, ops.stop_gradient(ops.exp(own - known)) * own)
