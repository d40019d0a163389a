"""Boundary attack (Brendel, Rauber and Bethge, 2018, ICLR, arXiv:1712.04248, algorithm 1)."""

from __future__ import annotations

from typing import NamedTuple

from advrun.attacks._decision import Ask, Walk, begin, bits, closest, to_boundary
from advrun.engine import Rng, ops, repeat_undecided, select
from advrun.geometry import L2, l2_norm, per_image
from advrun.system import Decisions
from advrun.types import Count, Labels, Positive, Targets, Tensor

CHECK = 10
"""Every so many steps the orthogonal step is asked about by itself."""


class State(NamedTuple):
    """The walk, and for each image the lengths delta and epsilon of the two steps, as shares of the distance."""

    walk: Walk
    orthogonal: Tensor
    inward: Tensor


def boundary(
    model: Decisions,
    x: Tensor,
    y: Labels | Targets,
    norm: L2,
    rng: Rng,
    starts: Tensor,
    *,
    queries: Count = 25_000,
    orthogonal_step: Positive = 0.1,
    inward_step: Positive = 0.1,
) -> Tensor:
    """Boundary attack: a random step on the sphere around the clean image, then a small one towards it, kept if still adversarial.

    delta follows the success of the step on the sphere alone, towards one half (asked every tenth step); epsilon that of both steps,
    towards one quarter. Both adapt by a factor a step, where the paper leaves the rule open. It starts from an image of another class
    (the target; the paper's untargeted form from noise), brought to the boundary by bisection; what is never adversarial comes back clean.

    Args:
        queries: at most this many for each image.
        orthogonal_step: delta at first, as a share of the distance.
        inward_step: epsilon at first, as a share of the distance.
    """

    def step(i: Tensor, rows: Tensor, state: State) -> State:
        now, ask = state.walk, Ask(model.part(rows), state.walk.y)
        inwards = now.x - now.x_adv
        far = l2_norm(inwards)
        radial = inwards / per_image(ops.maximum(far, 1e-12), inwards)
        eta = rng.part(rows).fold(i).normal(ops.shape(now.x))
        eta = eta - per_image(ops.sum(eta * radial, axis=(1, 2, 3)), eta) * radial
        eta = eta * per_image(state.orthogonal * far / ops.maximum(l2_norm(eta), 1e-12), eta)
        # On the sphere again: (delta, 1) / sqrt(1 + delta^2).
        shrink = per_image(1 / ops.sqrt(1 + ops.square(state.orthogonal)), eta)
        sphere = ops.clip(now.x + shrink * (eta - inwards), 0.0, 1.0)

        check = ops.logical_and(ops.equal(i % CHECK, 0), now.going)
        on_sphere, checked, left = ask(sphere, check, now.left)
        inside = ops.clip(sphere + per_image(state.inward, sphere) * (now.x - sphere), 0.0, 1.0)
        success, asked, left = ask(inside, ops.logical_and(now.going, ops.logical_or(on_sphere, ops.logical_not(checked))), left)
        closer = ops.logical_and(success, l2_norm(inside - now.x) < far)
        orthogonal = state.orthogonal * ops.where(checked, ops.where(on_sphere, 1.2, 1 / 1.2), 1.0)
        inward = state.inward * ops.where(asked, ops.where(success, 1.05**3, 1 / 1.05), 1.0)
        walk = now._replace(x_adv=select(closer, inside, now.x_adv), left=left)
        return State(walk, ops.clip(orthogonal, 1e-6, 1.0), ops.clip(inward, 1e-6, 0.5))

    walk = begin(model, x, y, starts, rng.fold(-1), queries)
    walk = to_boundary(Ask(model, y), norm, walk, walk.going, bits(1e-3))
    start = State(walk, *(ops.full(x.shape[:1], size, dtype="float32") for size in (orthogonal_step, inward_step)))
    end = repeat_undecided(step, queries, start, decided=lambda state: ops.logical_not(state.walk.going))
    return closest(norm, end.walk)
