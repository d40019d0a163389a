"""Interval bound propagation (Gowal et al., 2018, arXiv:1810.12715, section 3)."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Interval as Range

from advrun.bounds._intervals import around, margins
from advrun.engine import ops, repeat
from advrun.errors import UnboundedError
from advrun.geometry import Linf
from advrun.losses import ROUNDING
from advrun.system import Chain
from advrun.types import Cost, Labels, Tensor

SOUND = True


def ibp(
    system: Chain,
    x: Tensor,
    y: Labels,
    norm: Linf,
    *,
    bisections: Annotated[int, Range(ge=1, le=24)] = 14,
    largest: Annotated[float, Range(gt=0, le=1)] = 0.5,
) -> Tensor:
    """The largest eps for which intervals prove that no image within it, in the box [0, 1], is given another class.

    The intervals of all pixels go through the layers of the network; the image is certified where logits[y] - logits[j] is above zero at
    its lower end for every j. The largest eps is found by bisection: what is certified at one eps is at every smaller one. Networks
    that were not trained for such bounds (`ibp_training`) get very small ones. A layer that intervals do not pass, and a purifier that is
    no layer, is refused. NOTE: arithmetic is float32; a difference must exceed what its rounding may amount to.

    Args:
        bisections: how often the eps is halved: the result is short of the largest by less than `largest` / 2^bisections.
        largest: the eps from which on no more is looked for.
    """
    if system.purifiers:
        raise UnboundedError("a purifier stands in front of the network, which interval bounds do not pass; they pass layers")

    if system.detectors:
        raise UnboundedError("a detector stands beside the network, and what it rejects is not bounded by intervals of the logits")

    def holds(eps: Tensor) -> Tensor:
        found = margins(system.network, around(x, eps), y)
        is_own = ops.cast(ops.one_hot(y, found.lower.shape[-1]), "bool")
        return ops.all(ops.logical_or(found.lower > ROUNDING * found.size, is_own), axis=-1)

    def halve(_: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        low, high = state
        middle = (low + high) / 2
        held = holds(middle)
        return ops.where(held, middle, low), ops.where(held, high, middle)

    zeros = ops.zeros_like(x[:, 0, 0, 0])
    return repeat(halve, bisections, (zeros, zeros + largest))[0]


def cost(bisections: int) -> Cost:
    """Two passes forward for each."""
    return Cost(queries=2 * bisections)
