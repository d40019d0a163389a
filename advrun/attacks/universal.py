"""Universal adversarial perturbations (Moosavi-Dezfooli, Fawzi, Fawzi and Frossard, 2017, CVPR, arXiv:1610.08401, algorithm 1)."""

from __future__ import annotations

import numpy as np

from advrun import engine
from advrun.attacks._oracle import oracle
from advrun.attacks.deepfool import deepfool
from advrun.engine import Rng, ops
from advrun.geometry import L2, Linf
from advrun.system import Blind, Gradients
from advrun.types import Count, Fraction, Labels, NonNegative, Tensor


def universal(
    model: Blind,
    x: Tensor,
    y: Labels,
    ball: Linf | L2,
    fitted: Tensor,
    *,
    images: Count = 500,
    epochs: Count = 5,
    error: Fraction = 0.2,
    steps: Count = 10,
    overshoot: NonNegative = 0.02,
) -> Tensor:
    """Universal perturbation: one v for all images, made from training images before the first one is attacked.

    For each training image that v does not fool yet, DeepFool's step from x_i + v to the boundary is added to v, and v is projected onto
    the ball; passes over the images end when v fools the share 1 - delta of them. The image itself costs no query.

    Args:
        images: how many training images v is made from.
        epochs: passes over them, at most.
        error: delta, share of them that may stay unfooled.
        steps: of each DeepFool.
        overshoot: of each DeepFool.
    """
    return ball.project(x + fitted, x)


def fit(
    model: Gradients,
    x: np.ndarray,
    y: np.ndarray,
    ball: Linf | L2,
    rng: Rng,
    *,
    images: int,
    epochs: int,
    error: float,
    steps: int,
    overshoot: float,
) -> np.ndarray:
    """v, (1, h, w, c) float32. Fooled means: classified otherwise than without v, as in the paper; the labels are not used."""

    def push(v: Tensor, image: Tensor, own: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        there = ops.clip(image + v, 0.0, 1.0)
        fooled = model.succeeds(there, own)
        nearer = deepfool(model, there, own, L2(), steps=steps, overshoot=overshoot) - there
        grown = ball.resized(eps).within(v + nearer)
        return ops.where(fooled, v, grown), fooled

    run, labels = engine.compiled(push), oracle(model)
    own = labels(x[:images])
    v = np.zeros((1, *x.shape[1:]), np.float32)
    for epoch in range(epochs):
        order = np.random.default_rng([*np.asarray(rng.key).view(np.uint32), epoch]).permutation(len(own))
        for i in order:
            v = run(v, x[i : i + 1], own[i : i + 1], np.float32(ball.eps))[0]
        rate = (labels(np.clip(x[:images] + np.asarray(v), 0, 1)) != own).mean()
        if rate >= 1 - error:
            break
    return np.asarray(v)
