"""What an attack makes of an image depends on the seed and the image alone: not on the batch, its order, or when the others are done."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from advrun import Classifier, registry
from advrun.contract.attacks import bound, changed
from advrun.craft import craft
from advrun.engine import keras, ops, tf

SHAPE = (8, 8, 3)
CLASSES = 16
IMAGES = 64
SOON = {"pgd-l2", "square-linf"}
"""Tried each time; all others in `make test-all`."""
ROUNDING = 1e-6
OTHERWISE = {"advgan", "advgan_blackbox", "natural", "square-l1", "square-l2", "substitute", "transfer"}
"""Where pixels may be `ROUNDING` apart: a network of the attack's own has convolutions, and XLA makes another kernel for one image alone.
All others are the same to the last bit."""
IN_DOUBLES = (
    "arccos",
    "arctan2",
    "arctanh",
    "cos",
    "cumsum",
    "depthwise_conv",
    "einsum",
    "exp",
    "log",
    "log1p",
    "logaddexp",
    "logsumexp",
    "matmul",
    "mean",
    "power",
    "rsqrt",
    "sigmoid",
    "sin",
    "softplus",
    "sum",
    "tanh",
)
"""What is added up in an order, or computed by vectors of the processor, that depends on the place in the batch."""

SETTINGS = {"apgd-malt": ("apgd", "linf", {"loss": "targeted_dlr", "targets": 2, "targets_by": "malt"})}
"""Beside the defaults of all."""


@pytest.fixture(autouse=True)
def rounded_alike(monkeypatch):
    """An arithmetic that is exact: whatever differs depends on the batch in truth.

    Here `IN_DOUBLES` are computed in doubles, whose last bits get lost when they become float32 again, so that they are the same in every
    place; and graphs stay as they were written (1 / sqrt(x) would become a function of its own that is not).
    """

    def in_doubles(function):
        def rounded(*given, **options):
            single = [getattr(each, "dtype", None) == "float32" for each in given]
            wide = [ops.cast(each, "float64") if is_single else each for each, is_single in zip(given, single, strict=True)]
            made = function(*wide, **options)
            return ops.cast(made, "float32") if any(single) else made

        return rounded

    for name in IN_DOUBLES:
        monkeypatch.setattr(keras.ops, name, in_doubles(getattr(keras.ops, name)))
    for name in ("__pow__", "__rpow__"):
        monkeypatch.setattr(tf.Tensor, name, in_doubles(getattr(tf.Tensor, name)))
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    yield
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})


def exact() -> Classifier:
    """Logits by sums in doubles over one image's numbers, curved; made within a test, where sums are."""
    x = keras.Input(SHAPE)
    weights = np.random.default_rng(3).normal(size=(CLASSES, int(np.prod(SHAPE)))).astype(np.float32)
    values = keras.layers.Flatten()(x) - 0.5
    values = values + values * values
    return Classifier(keras.Model(x, ops.sum(values[:, None] * weights, axis=-1), name="exact"))


@cache
def victims() -> tuple[np.ndarray, np.ndarray]:
    """The first half next to a boundary, which falls at once; the second far from it."""
    system, x = exact(), np.random.default_rng(8).random((1000, *SHAPE)).astype(np.float32)
    ranked = np.sort(system.predict(x), axis=1)
    order = np.argsort(ranked[:, -1] - ranked[:, -2])
    x = x[np.concatenate([order[: IMAGES // 2], order[-IMAGES // 2 :]])]
    return x, system.predict(x).argmax(-1)


def cases():
    for name in registry.names("attacks"):
        plugin = registry.get("attacks", name)
        for norm in plugin.norms or ("",):
            case = f"{name}-{norm}".strip("-")
            yield pytest.param(name, norm, {}, id=case, marks=[] if case in SOON else [pytest.mark.slow])
    for case, given in SETTINGS.items():
        yield pytest.param(*given, id=case, marks=pytest.mark.slow)


@pytest.mark.parametrize(("name", "norm", "given"), list(cases()))
def test_an_image_becomes_the_same_in_any_batch(name, norm, given):
    """Together; in sevens and another order; in sevens without the early ones; and alone: the same bytes, at the same cost."""
    plugin = registry.get("attacks", name)
    attack = changed(bound(plugin, norm, given), queries=60, epochs=1)
    (x, y), system = victims(), exact()
    others = np.random.default_rng(9).random((200, *SHAPE)).astype(np.float32)
    pool = others, system.predict(others).argmax(-1)
    whole = craft(system, attack, x, y, seed=3, batch_size=64, train=pool)
    learnt = whole.learnt[0] if whole.learnt else None
    order = np.random.default_rng(0).permutation(IMAGES)
    for rows, size in ((order, 7), (np.arange(IMAGES // 2, IMAGES), 7), (np.array([1, IMAGES // 2 + 1]), 1)):
        part = craft(system, attack, x[rows], y[rows], seed=3, batch_size=size, train=pool, learnt=learnt)
        for what in ("x_adv", "gradients", "queries"):
            apart = np.abs(getattr(part, what) - getattr(whole, what)[rows]).reshape(len(rows), -1).max(1)
            most = ROUNDING if what == "x_adv" and {name, f"{name}-{norm}"} & OTHERWISE else 0
            assert (apart <= most).all(), f"{what} of {np.count_nonzero(apart)} images in batches of {size}, by up to {apart.max():g}"
