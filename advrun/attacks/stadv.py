"""Spatially transformed adversarial examples (Xiao, Zhu, Li, He, Liu and Song, 2018, ICLR, arXiv:1801.02612, section 3)."""

from __future__ import annotations

import math
from typing import NamedTuple

from advrun.attacks._adam import Adam
from advrun.attacks._best import Best
from advrun.attacks._warp import positions, warp
from advrun.engine import ops, repeat, value_and_gradient
from advrun.geometry import per_image
from advrun.losses import margin
from advrun.system import Gradients
from advrun.types import Cost, Count, Labels, NonNegative, Positive, Targets, Tensor

PATIENCE = 20
"""Steps without a success after which tau is halved."""


class State(NamedTuple):
    """The flow (n, h, w, 2), its Adam, tau (n,), and the success with the smoothest flow."""

    flow: Tensor
    adam: Adam
    tau: Tensor
    best: Best


def stadv(
    model: Gradients,
    x: Tensor,
    y: Labels | Targets,
    *,
    steps: Count = 200,
    step_size: Positive = 0.05,
    tau: NonNegative = 0.05,
    confidence: NonNegative = 0.0,
) -> Tensor:
    """stAdv: every pixel is read from a place moved by a flow f, which minimises L_adv(x, f) + tau L_flow(f).

    L_adv is Carlini and Wagner's max(Z_y - max Z_i, -kappa), L_flow the sum over all pairs of neighbours, each once, of the length of the
    difference of their flows (equations 2 to 4). What tau weighs against are logits, whose scale is the model's own: it is halved after
    every 20 steps in which an image has not succeeded yet. Adam in place of the paper's L-BFGS; bilinear, black outside. The success with
    the smallest L_flow is kept; what is never fooled comes back clean.

    Args:
        steps: iterations.
        step_size: Adam's learning rate, in pixels.
        tau: weight of the smoothness, at first.
        confidence: kappa, by how much the wrong class must lead, in logits.
    """
    rows, columns = positions(x)

    def moved(flow: Tensor) -> Tensor:
        return ops.clip(warp(x, rows + flow[..., 0], columns + flow[..., 1]), 0.0, 1.0)

    def step(i: Tensor, state: State) -> State:
        lead, _, gradient = model.value_and_gradient(margin, state.flow, y, through=moved)
        roughness, _, rough = value_and_gradient(lambda flow: (flow_loss(flow), ()), state.flow)
        best = state.best.closer(moved(state.flow), lead > confidence, roughness)
        weight = ops.where(ops.logical_and(ops.equal((i + 1) % PATIENCE, 0), best.distance == math.inf), state.tau / 2, state.tau)
        slope = per_image(weight, rough) * rough - per_image(ops.cast(lead < confidence, "float32"), gradient) * gradient
        adam = state.adam.update(slope)
        return State(state.flow - step_size * adam.step(i + 1), adam, weight, best)

    still = ops.zeros((*x.shape[:3], 2))
    return repeat(step, steps, State(still, Adam.start(still), ops.full(x.shape[:1], tau, dtype="float32"), Best.nothing(x))).best.x


def cost(steps: int) -> Cost:
    """One gradient a step."""
    return Cost(gradients=steps)


def flow_loss(flow: Tensor) -> Tensor:
    """L_flow (equation 4), (n,), each pair of neighbours once; 1e-8 keeps the root's slope finite."""
    down, right = flow[:, 1:] - flow[:, :-1], flow[:, :, 1:] - flow[:, :, :-1]
    return sum(ops.sum(ops.sqrt(ops.sum(ops.square(each), axis=-1) + 1e-8), axis=(1, 2)) for each in (down, right))
