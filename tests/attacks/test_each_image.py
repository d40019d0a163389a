"""What an attack makes of an image depends on the seed and the image alone: not on the batch, its order, or when the others are done."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from advrun import Classifier, registry
from advrun.contract.attacks import bound, changed
from advrun.craft import craft
from advrun.engine import keras, ops

SHAPE = (8, 8, 3)
IMAGES = 20


@cache
def exact() -> Classifier:
    """Logits of a few pixels each, by sums and products of one image's numbers: no kernel sums in another order in a larger batch."""
    x = keras.Input(SHAPE)
    places = np.random.default_rng(3).integers(0, (8, 8, 3), (4, 6, 3))
    values = [[x[:, row, column, channel] for row, column, channel in own.tolist()] for own in places]
    logits = [4 * a - 3 * b + 2 * c * d + ops.abs(e - 0.5) - f * f for a, b, c, d, e, f in values]
    return Classifier(keras.Model(x, ops.stack(logits, axis=-1), name="exact"))


@cache
def victims() -> tuple[np.ndarray, np.ndarray]:
    """Some images next to a boundary, which fall at once, and some far from it."""
    x = np.random.default_rng(8).random((400, *SHAPE)).astype(np.float32)
    logits = exact().predict(x)
    lead = np.diff(np.sort(logits, axis=1)[:, -2:], axis=1)[:, 0]
    order = np.argsort(lead)
    x = x[np.concatenate([order[: IMAGES // 2], order[-IMAGES // 2 :]])]
    return x, exact().predict(x).argmax(-1)


QUICK = ("square-linf", "hopskipjump-l2")
"""One that looks at scores, whose images are done at different times, and one that walks along the boundary."""


def cases():
    for name in registry.names("attacks"):
        plugin = registry.get("attacks", name)
        for norm in plugin.norms or ("",):
            case = f"{name}-{norm}".strip("-")
            if not plugin.is_cascade:  # whose stages are tried one by one
                yield pytest.param(name, norm, id=case, marks=() if case in QUICK else pytest.mark.slow)


@pytest.mark.parametrize(("name", "norm"), list(cases()))
def test_an_image_becomes_the_same_in_any_batch(name, norm):
    """Among twenty, in sevens in another order, and alone: the same bytes, at the same cost.

    What an attack learns first depends on the images that it learns from: here it is learnt once.
    """
    plugin = registry.get("attacks", name)
    settings = {setting: 3 for setting in plugin.settings if setting.endswith("steps") or setting == "epochs"}
    attack = changed(bound(plugin, norm), queries=30, levels=5, **settings)
    x, y = victims()
    pool = x[::-1].copy(), y[::-1].copy()
    whole = craft(exact(), attack, x, y, seed=3, batch_size=64, train=pool)
    learnt = whole.learnt[0] if whole.learnt else None
    order = np.random.default_rng(0).permutation(len(x))
    for rows, size in ((order, 7), (np.array([13]), 1)):
        part = craft(exact(), attack, x[rows], y[rows], seed=3, batch_size=size, train=pool, learnt=learnt)
        for what in ("gradients", "queries", "x_adv"):
            np.testing.assert_array_equal(getattr(part, what), getattr(whole, what)[rows], err_msg=f"{what} in batches of {size}")
