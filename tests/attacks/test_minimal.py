"""Minimal-norm attacks on a network that was really trained: independent roads to the boundary end at the same distance."""

from __future__ import annotations

import numpy as np
import pytest

from advrun import L0, L1, L2, Classifier, Linf, attacks, engine, registry
from advrun.attack import Attack
from advrun.config.entries import settings_of
from advrun.craft import craft

ROADS = [
    pytest.param(L2(), {"cw": 1.15, "ddn": 1.08, "fmn": 1.05, "brendel_bethge": 1.05}, marks=pytest.mark.slow),
    pytest.param(Linf(), {"fmn": 1.02, "cw_linf": 1.12, "brendel_bethge": 1.03}, marks=pytest.mark.slow),
    pytest.param(L1(), {"fmn": 1.05, "brendel_bethge": 1.08}, marks=pytest.mark.slow),
    pytest.param(L0(), {"fmn": 1.5, "sigma_zero": 1.1, "brendel_bethge": 1.1}, marks=pytest.mark.slow),
]
"""For each norm: by how much the median image may lie farther than the closest that any of these attacks finds."""


@pytest.mark.parametrize(("norm", "limits"), ROADS, ids=lambda value: value.name if hasattr(value, "name") else "")
def test_they_agree_on_the_distance(victim, toy_data, norm, limits):
    x = toy_data.x_test[:30] / np.float32(255)
    y = victim.predict(x).argmax(-1)
    found = {}
    for name in limits:
        x_adv = getattr(attacks, name)(victim, x, y, norm)
        assert (victim.predict(x_adv).argmax(-1) != y).all()
        found[name] = np.asarray(norm.distance(x_adv, x))
    nearest = np.min(list(found.values()), axis=0)
    medians = {name: np.median(distance / nearest) for name, distance in found.items()}
    assert all(medians[name] < limit for name, limit in limits.items()), medians


MINIMAL = [name for name in registry.names("attacks") if "norm" in registry.get("attacks", name).arguments]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in ("cw", "fmn", "boundary") else pytest.mark.slow) for name in MINIMAL]
)
def test_what_is_misclassified_already_stays_where_it_is(victim, toy_data, name):
    x = toy_data.x_test[:4] / np.float32(255)
    y = (victim.predict(x).argmax(-1) + 1) % victim.classes
    few = {setting: number for setting, number in (("queries", 60), ("steps", 5)) if setting in registry.get("attacks", name).settings}
    np.testing.assert_allclose(getattr(attacks, name)(victim, x, y, **few), x, atol=1e-5)


@pytest.mark.parametrize("kind", ["salt_and_pepper", "contrast", "blur"])
def test_what_is_misclassified_already_is_not_degraded(victim, toy_data, kind):
    x = toy_data.x_test[:4] / np.float32(255)
    y = (victim.predict(x).argmax(-1) + 1) % victim.classes
    np.testing.assert_array_equal(attacks.degradation(victim, x, y, kind=kind), x)


@pytest.mark.parametrize("name", ["boundary", "hopskipjump", "geoda", "sign_opt", "cw_l0"])
def test_what_is_misclassified_already_is_asked_about_once(victim, toy_data, name):
    x = toy_data.x_test[:4] / np.float32(255)
    y = victim.predict(x).argmax(-1).astype(np.int32)
    y[:2] = (y[:2] + 1) % victim.classes
    plugin = registry.get("attacks", name)
    few = {"steps": 60} if name == "cw_l0" else {"queries": 60}
    crafted = craft(victim, Attack(plugin, plugin.geometries[0](), settings_of(plugin, few)), x, y, only_correct=False)
    asked = crafted.queries + crafted.gradients
    assert asked[:2].tolist() == [1, 1]
    assert (asked[2:] > 30).all()


@pytest.mark.parametrize("ball", [L2(), Linf()], ids=str)
def test_what_lies_on_the_boundary_is_wrong_elsewhere_too(ball):
    """Other graphs merge other layers, and round in another way: what FAB found is still misclassified where it is measured."""
    keras = engine.keras
    keras.utils.set_random_seed(1)
    inputs = keras.Input((10, 8, 2))
    features = inputs
    for activation in ("swish", "relu"):
        features = keras.layers.Conv2D(16, 3, padding="same", use_bias=False)(features)
        features = keras.layers.Activation(activation)(keras.layers.BatchNormalization()(features))
    network = Classifier(keras.Model(inputs, keras.layers.Dense(5)(keras.layers.GlobalAveragePooling2D()(features))))
    x = np.random.default_rng(0).uniform(size=(64, 10, 8, 2)).astype(np.float32)
    y = network.predict(x).argmax(-1)
    found = attacks.fab(network, x, y, ball, steps=20, targets=4, one_by_one=True)
    moved = (found != x).any((1, 2, 3))
    assert moved.mean() > 0.9
    assert (network.predict(found).argmax(-1) != y)[moved].all()


@pytest.mark.parametrize("name", ["cw", *(pytest.param(name, marks=pytest.mark.slow) for name in ("deepfool", "fab", "apgd"))])
def test_a_hidden_class_changes_nothing(name):
    """Models hide a class by a logit that no other is below; the attacks find the others."""
    keras, rng = engine.keras, np.random.default_rng(0)
    inputs = keras.Input((6, 6, 1))
    logits = keras.layers.Dense(5)(keras.layers.Flatten()(inputs))
    shown = [Classifier(keras.Model(inputs, keras.ops.pad(logits, ((0, 0), (0, 1)), constant_values=value))) for value in (-50.0, -1e9)]
    logits_layer = shown[0].model.layers[2]
    logits_layer.set_weights([rng.normal(size=(36, 5)), np.zeros(5)])
    x = rng.uniform(0.3, 0.7, size=(8, 6, 6, 1)).astype(np.float32)
    y = shown[0].predict(x).argmax(-1)
    ball = [Linf(0.1)] if name == "apgd" else []
    found = [getattr(attacks, name)(each, x, y, *ball) for each in shown]
    assert all((each.predict(x_adv).argmax(-1) != y).all() for each, x_adv in zip(shown, found, strict=True))
    np.testing.assert_allclose(*([np.asarray((ball or [L2()])[0].distance(x_adv, x)) for x_adv in found]), rtol=0.02)
