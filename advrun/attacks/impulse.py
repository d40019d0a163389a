"""Impulse noise against a service, the control of any attack on one (Hosseini, Xiao and Poovendran, 2017, arXiv:1704.05051)."""

from __future__ import annotations

from typing import NamedTuple

from advrun.engine import Rng, ops, repeat_undecided, select
from advrun.system import Decisions
from advrun.types import Count, Labels, Share, Targets, Tensor

PRESETS = {"paper": {"queries": 7, "density": 0.35}}


class State(NamedTuple):
    """For each image: itself, its label, the last try, and whether it succeeded."""

    x: Tensor
    y: Tensor
    x_adv: Tensor
    done: Tensor


def impulse(model: Decisions, x: Tensor, y: Labels | Targets, rng: Rng, *, queries: Count = 10, density: Share = 0.3) -> Tensor:
    """Salt and pepper: pixels turn black or white at random, more of them in each try, until the image is misclassified.

    The k-th of K tries changes k / K of the density; the first that succeeds is kept, else the last. The paper raises the density from 5 %
    until the service gives another label. Its noise is drawn for each pixel; so is this, all channels of it alike.

    Args:
        queries: K, tries for each image, at most.
        density: share of the pixels that the last try changes.
    """

    def step(i: Tensor, rows: Tensor, state: State) -> State:
        draw = rng.part(rows).fold(i)
        size = (ops.shape(state.x)[0], *state.x.shape[1:3], 1)
        share = density * ops.cast(i + 1, "float32") / queries
        hit = draw.uniform(size) < share
        white = ops.cast(draw.uniform(size) < 0.5, "float32")
        trial = ops.where(hit, white, state.x)
        success = model.part(rows).succeeds(trial, state.y, asked=ops.logical_not(state.done))
        going = ops.logical_not(state.done)
        return State(state.x, state.y, select(going, trial, state.x_adv), ops.logical_or(state.done, success))

    start = State(x, y, x, ops.zeros(x.shape[:1], dtype="bool"))
    return repeat_undecided(step, queries, start, decided=lambda state: state.done).x_adv
