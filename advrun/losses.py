"""Per-example losses of logits: (n, classes) float32 and (n,) int32 -> (n,) float32. Attacks make them large."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import update_wrapper

from advrun.engine import ops
from advrun.types import Tensor

ROUNDING = 1e-5
"""By how much, as a share of the larger of its two logits, a margin must be above 0 to count: elsewhere the same image's logits are rounded
in another way (other graphs merge other layers), and images that lie on the boundary would be right again there."""


@dataclass
class Decisive:
    """A loss (logits, y) -> (n,) whose sign decides: above 0 the attack has succeeded, but for its `slack`."""

    function: Callable[[Tensor, Tensor], Tensor]

    def __post_init__(self) -> None:
        update_wrapper(self, self.function)

    def __call__(self, logits: Tensor, y: Tensor) -> Tensor:
        return self.function(logits, y)

    __hash__ = object.__hash__

    @staticmethod
    def slack(gap: Tensor, own: Tensor) -> Tensor:
        """What rounding may take from the gap between two logits, one of which is `own`; see `ROUNDING`."""
        return ROUNDING * ops.stop_gradient(ops.maximum(ops.abs(own), ops.abs(own + gap)))


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """-log softmax(logits)[y] = log(1 + exp(log_odds)): so it is exact where it is small.

    (logsumexp(logits) - logits[y] is rounded like the largest logit, and 0 on every image that a model is sure of.)
    """
    return ops.softplus(log_odds(logits, y))


def log_odds(logits: Tensor, y: Tensor) -> Tensor:
    """logsumexp over j != y of logits[j], minus logits[y]: the log-odds against y.

    For attacks that take no more than the direction of an image's gradient: it is that of the cross-entropy, whose own gradient comes
    down to rounding, and then to zero, where a model is sure.
    """
    return ops.logsumexp(others(logits, y), axis=-1) - at_label(logits, y)


@Decisive
def margin(logits: Tensor, y: Tensor) -> Tensor:
    """max over j != y of logits[j], minus logits[y]: above 0 exactly when another class wins.

    This is -f of Carlini and Wagner (2017, arXiv:1608.04644, section V.A, objective 6) before clipping at kappa.
    """
    return ops.max(others(logits, y), axis=-1) - at_label(logits, y)


def dlr(logits: Tensor, y: Tensor) -> Tensor:
    """Difference of logits ratio (Croce and Hein, 2020, arXiv:2003.01690, equation 6): -(z_y - max_{i != y} z_i) / (z_1st - z_3rd).

    z_kth is the k-th largest logit. Above 0 exactly when another class wins; scaling or shifting the logits changes nothing. With two
    classes there is no third logit: then it is the margin.
    """
    return margin(logits, y) / _spread(logits, 3, 3)


def targeted_dlr(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """The same towards a class (equation 7): -(z_y - z_target) / (z_1st - (z_3rd + z_4th) / 2).

    With fewer than four classes it is z_target - z_y.
    """
    return (at_label(logits, target) - at_label(logits, y)) / _spread(logits, 3, 4)


def dlr_of_target(logits: Tensor, target: Tensor) -> Tensor:
    """What targeted attacks make small: minus `targeted_dlr`, with the strongest other class in the place of y.

    Below 0 exactly when the target wins. (Plain `dlr` has no gradient there while the target is third.)
    """
    return margin(logits, target) / _spread(logits, 3, 4)


def _spread(logits: Tensor, third: int, last: int) -> Tensor:
    """The largest logit minus the mean of the third and the `last` largest; 1 where there are not so many."""
    if logits.shape[-1] < last:
        return 1.0
    falling = ops.top_k(logits, last)[0]
    return falling[:, 0] - (falling[:, third - 1] + falling[:, last - 1]) / 2 + 1e-12


def one_hot(logits: Tensor, y: Tensor) -> Tensor:
    """(n, classes): 1 at the label, 0 elsewhere."""
    return ops.one_hot(y, logits.shape[-1], dtype=logits.dtype)


def at_label(logits: Tensor, y: Tensor) -> Tensor:
    """logits[i, y[i]], (n,)."""
    return ops.sum(logits * one_hot(logits, y), axis=-1)


def others(logits: Tensor, y: Tensor) -> Tensor:
    """The logits, with -inf in the place of the label's: a number such as -1e9 is what models hide classes with."""
    return ops.where(one_hot(logits, y) > 0, -float("inf"), logits)
