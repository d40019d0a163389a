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
CLASSES = 16
"""As many as the processor's vectors hold, or a multiple: then no row of logits is a rest, whose exponentials are computed otherwise."""
IMAGES = 64
SOON = {"square-linf", "hopskipjump-l2", "noise-linf", "simba-l2", "sigma_zero-l0"}
"""Tried each time, and byte for byte; all others in `make test-all`."""
ROUNDING = 1e-5
"""How far pixels may be apart where an attack's own kernels round otherwise in another batch; other random numbers make far more of it."""


ROUNDED = (
    "arccos",
    "arctan2",
    "arctanh",
    "cos",
    "exp",
    "log",
    "log1p",
    "logaddexp",
    "logsumexp",
    "power",
    "rsqrt",
    "sigmoid",
    "sin",
    "softplus",
    "tanh",
)
"""What the processor's vectors compute otherwise than one number by itself, so that the last bit depends on the place in the batch."""


@pytest.fixture(autouse=True)
def rounded_alike(monkeypatch):
    """In these tests `ROUNDED` are computed in doubles, whose last bits get lost: they are the same in every place."""

    def in_doubles(function):
        def rounded(*given, **options):
            wide = [ops.cast(each, "float64") if getattr(each, "dtype", None) == "float32" else each for each in given]
            return ops.cast(function(*wide, **options), "float32")

        return rounded

    for name in ROUNDED:
        monkeypatch.setattr(keras.ops, name, in_doubles(getattr(keras.ops, name)))


@cache
def exact() -> Classifier:
    """Logits by sums over one image's numbers, each in an order of its own whatever the batch, as those of matrix products are not."""
    x = keras.Input(SHAPE)
    weights = np.random.default_rng(3).normal(size=(CLASSES, int(np.prod(SHAPE)))).astype(np.float32)
    values = keras.layers.Flatten()(x) - 0.5
    values = values + values * values
    return Classifier(keras.Model(x, ops.sum(values[:, None] * weights, axis=-1), name="exact"))


@cache
def victims() -> tuple[np.ndarray, np.ndarray]:
    """The first half next to a boundary, which falls at once; the second far from it."""
    x = np.random.default_rng(8).random((1000, *SHAPE)).astype(np.float32)
    ranked = np.sort(exact().predict(x), axis=1)
    order = np.argsort(ranked[:, -1] - ranked[:, -2])
    x = x[np.concatenate([order[: IMAGES // 2], order[-IMAGES // 2 :]])]
    return x, exact().predict(x).argmax(-1)


def cases():
    for name in registry.names("attacks"):
        plugin = registry.get("attacks", name)
        for norm in plugin.norms or ("",):
            case = f"{name}-{norm}".strip("-")
            yield pytest.param(name, norm, id=case, marks=[] if case in SOON else [pytest.mark.slow])


@pytest.mark.parametrize(("name", "norm"), list(cases()))
def test_an_image_becomes_the_same_in_any_batch(name, norm):
    """Together; in sevens and another order; in sevens without the early ones; and alone."""
    plugin = registry.get("attacks", name)
    attack = changed(bound(plugin, norm), queries=60, epochs=1)
    x, y = victims()
    others = np.random.default_rng(9).random((200, *SHAPE)).astype(np.float32)
    pool = others, exact().predict(others).argmax(-1)
    whole = craft(exact(), attack, x, y, seed=3, batch_size=64, train=pool)
    learnt = whole.learnt[0] if whole.learnt else None
    order = np.random.default_rng(0).permutation(IMAGES)
    for rows, size in ((order, 7), (np.arange(IMAGES // 2, IMAGES), 7), (np.array([1, IMAGES // 2 + 1]), 1)):
        part = craft(exact(), attack, x[rows], y[rows], seed=3, batch_size=size, train=pool, learnt=learnt)
        for what in ("x_adv", "gradients", "queries"):
            apart = np.abs(getattr(part, what) - getattr(whole, what)[rows]).reshape(len(rows), -1).max(1)
            most = ROUNDING if what == "x_adv" and f"{name}-{norm}" not in SOON else 0
            assert (apart <= most).all(), f"{what} of {np.count_nonzero(apart)} images in batches of {size}, by up to {apart.max():g}"
