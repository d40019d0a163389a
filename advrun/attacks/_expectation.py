"""Pictures learnt by expectation over transformation (Athalye, Engstrom, Ilyas and Kwok, 2018, ICML, arXiv:1707.07397, equation 2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from advrun import engine
from advrun.attacks._adam import Adam
from advrun.engine import Rng, ops, value_and_gradient
from advrun.losses import cross_entropy
from advrun.system import Gradients
from advrun.types import Tensor

BATCH = 64

Shown = Callable[[Tensor, Tensor, Rng, Tensor], Tensor]
"""(images (n, h, w, c), pictures (n, ...), rng, the constants of the picture) -> images with the picture in them, (n, h, w, c)."""
Kept = Callable[[Tensor, Tensor], Tensor]
"""(picture (1, ...), its constants) -> the nearest picture that is allowed."""
Penalty = Callable[[Tensor, Tensor], Tensor]
"""(picture (1, ...), its constants) -> (1,), what is made small besides."""


def learnt(
    model: Gradients,
    x: np.ndarray,
    y: np.ndarray,
    rng: Rng,
    targets: np.ndarray | None,
    start: np.ndarray,
    shown: Shown,
    *,
    images: int,
    steps: int,
    step_size: float,
    kept: Kept = lambda picture, _: ops.clip(picture, 0.0, 1.0),
    penalty: Penalty | None = None,
    constants: np.ndarray | None = None,
) -> np.ndarray:
    """One picture for each target, or one that leads away from y, by Adam up the mean loss over images and draws of `shown`.

    Args:
        model: the classifier, or its targeted view.
        x: (n, h, w, c) float32, training images in random order. y: (n,) their classes.
        rng: for all that is drawn.
        targets: classes to reach; those that are not among them keep `start`.
        start: (...), the picture to begin with.
        shown: puts pictures into images; differentiable in the pictures.
        images: how many of x are learnt from.
        steps: of Adam. step_size: its learning rate.
        kept: projects after each step. penalty: is subtracted from the mean loss.
        constants: (pictures, ...), what the three functions know of each picture.

    Returns:
        (classes, ...), or (1, ...) in the untargeted form.
    """

    def step(picture: Tensor, adam: Adam, i: Tensor, images: Tensor, y: Tensor, constant: Tensor) -> tuple[Tensor, Adam]:
        draw = rng.fold(i)
        tiled = ops.repeat(picture, images.shape[0], axis=0)
        slopes = model.gradient(cross_entropy, tiled, y, through=lambda pictures: shown(images, pictures, draw, constant))
        slope = ops.mean(slopes, axis=0, keepdims=True)
        if penalty is not None:
            slope = slope - value_and_gradient(lambda each: (penalty(each, constant), ()), picture)[2]
        adam = adam.update(slope)
        return kept(picture + step_size * adam.step(i + 1), constant), adam

    run = engine.compiled(step)
    pictures = np.repeat(start[None], model.classes if model.targeted else 1, axis=0)
    given = np.zeros((len(pictures), 1), np.float32) if constants is None else constants
    for number in _numbers(model, targets):
        picture: Any = pictures[number : number + 1]
        adam = Adam.start(picture)
        draws = np.random.default_rng([*np.asarray(rng.key).view(np.uint32), number])
        for i in range(steps):
            rows = draws.integers(0, min(images, len(x)), min(BATCH, len(x)))
            labels = np.full(len(rows), number, np.int32) if model.targeted else np.asarray(y)[rows].astype(np.int32)
            picture, adam = run(picture, adam, np.int32(i), x[rows], labels, given[number])
        pictures[number] = np.asarray(picture)[0]
    return pictures


def _numbers(model: Gradients, targets: np.ndarray | None) -> list[int]:
    return [0] if targets is None or not model.targeted else [int(number) for number in targets]
