"""A sticker looked at: on every photograph as it is, under a view drawn anew, and at five distances and five angles."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from advrun import engine
from advrun.attacks._camera import Limits, View, drawn, photographed
from advrun.attacks._ink import stuck
from advrun.attacks._shapes import Cut, Sign
from advrun.engine import Rng, ops
from advrun.survey import NO_CLASS, Survey
from advrun.system import Classifier
from advrun.system.classifier import batches
from advrun.types import Tensor

STEPS = 5
BATCH = 64


def seen(
    model: Classifier, x: np.ndarray, y: np.ndarray, rng: Rng, fitted: np.ndarray, sign: Sign, cuts: Mapping[int, Cut], limits: Limits
) -> Survey:
    """Predictions on photographs (n, h, w, c) float32 with stickers, with noise in their place, and with none.

    Args:
        model: the classifier, or its targeted view.
        x: held-out photographs of signs. y: (n,), the class to reach, or the true one.
        rng: for views that the sticker was not learnt from.
        fitted: (classes, h, w, c + 1) stickers, as `attacks/sticker.py` makes them, or (1, ...).
        sign: where it is in the image.
        cuts: shapes of the stickers by their number, the target, or 0.
        limits: of the views.
    """
    outline, numbers, own = sign.outline, *np.unique(y if model.targeted else np.zeros_like(y), return_inverse=True)
    stickers = fitted[numbers]
    planes = np.stack([cuts[int(number)].planes(*x.shape[1:3]) for number in numbers])
    chosen, noisy = stickers[own], noise(stickers, planes, rng.fold(1))[own]
    bare = np.zeros_like(chosen)
    distances = np.geomspace(1.0, limits.distance, STEPS).astype(np.float32)
    angles = np.linspace(0.0, limits.angle, STEPS).astype(np.float32)

    def show(x: Tensor, stickers: Tensor, view: View, moved: Tensor) -> tuple[Tensor, Tensor]:
        there = stuck(x, stickers, outline)
        there = ops.where(moved, photographed(there, view, limits), there)
        answers = ops.argmax(model.outputs(there), axis=-1)
        return there, ops.where(answers < model.classes, answers, NO_CLASS)

    run = engine.compiled(show)

    def predict(stickers: np.ndarray, view: View, moved: bool = True) -> np.ndarray:
        parts = [batches(each, BATCH) for each in (x, stickers, *view)]
        found = []
        for (images, count), (patches, _), *values in zip(*parts, strict=True):
            labels = run(images, patches, View(*(value for value, _ in values)), np.bool_(moved))[1]
            found.append(np.asarray(labels)[:count])
        return np.concatenate(found).astype(np.int16)

    def view(number: int, **given: float) -> View:
        at_random = View(*(np.asarray(each) for each in drawn(rng.fold(number), len(x), limits)))
        return at_random._replace(**{name: np.full(len(x), value, np.float32) for name, value in given.items()})

    kinds = (chosen, noisy, bare)
    anywhere = view(2)
    places = [(i, j, view(10 + STEPS * i + j, distance=d, yaw=a)) for i, d in enumerate(distances) for j, a in enumerate(angles)]
    grid = np.stack([np.stack([predict(kind, there) for *_, there in places]) for kind in kinds])
    still = partial(np.full, 1)
    pictures = [run(x[:1], chosen[:1], _straight(still, d, a), np.bool_(True))[0] for d in distances for a in angles]
    return Survey(
        stickers=stickers,
        numbers=numbers.astype(np.int32),
        cuts=np.stack([cuts[int(number)].kinds for number in numbers]),
        fill=sign.fill,
        cover=np.array([sign.covered(cuts[int(number)]) for number in numbers]),
        targeted=model.targeted,
        aims=np.asarray(y, np.int32),
        plain=np.stack([predict(kind, anywhere, moved=False) for kind in kinds]),
        moved=np.stack([predict(kind, anywhere) for kind in kinds]),
        grid=grid.reshape(len(kinds), STEPS, STEPS, len(x)),
        distances=distances,
        angles=angles,
        pictures=np.rint(255 * np.concatenate(pictures)).astype(np.uint8).reshape(STEPS, STEPS, *x.shape[1:]),
    )


def _straight(still: Any, distance: float, angle: float) -> View:
    """One photograph without chance in it."""
    zero, one = (still(np.float32(value)) for value in (0, 1))
    return View(still(distance), still(angle), zero, zero, one, zero, zero, zero, one)


def noise(stickers: np.ndarray, planes: np.ndarray, rng: Rng) -> np.ndarray:
    """Stickers (k, h, w, c + 1) of the same shapes, markers included, whose free pixels have random colours. planes: as `Cut.planes`."""
    colours = np.asarray(rng.uniform(stickers[..., :-1].shape))
    return np.concatenate([colours * planes[..., 1:2] + planes[..., 2:], planes[..., :1]], -1)
