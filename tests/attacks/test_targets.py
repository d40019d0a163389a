"""Which classes Auto-PGD aims at: the most likely ones, or, by MALT, those that the linearised network reaches first."""

from __future__ import annotations

import numpy as np
import pytest

from advrun import L1, L2, Classifier, Linf, attacks, registry
from advrun.attack import Attack
from advrun.attacks._rivals import malt, rivals
from advrun.config.entries import settings_of
from advrun.craft import craft
from advrun.engine import keras
from advrun.errors import ConfigError

from ..conftest import boundary_distances

SIDE = 10
ALL = 100
FIRST = {Linf: [2, 4, 3, 1, 5], L2: [4, 2, 3, 1, 5], L1: [3, 4, 2, 1, 5]}


@pytest.fixture(scope="module")
def planes() -> Classifier:
    """Of 100 pixels. Class 0 leads by 1 over class 1, which hardly any change brings nearer, by 2 over the next three, and 5 is hidden.

    Class 2 rises with every pixel, class 4 with some and class 3 with one: they are nearest in Linf, L2 and L1.
    """
    weights = np.zeros((SIDE * SIDE, 6), np.float32)
    weights[0, 1] = 0.01
    weights[:, 2] = 0.5
    weights[1, 3] = 4.5
    weights[2:18, 4] = 1.5
    bias = np.array([0.0, -1.0, -2.0, -2.0, -2.0, -1e9], np.float32) - weights.sum(0) / 2
    inputs = keras.Input((SIDE, SIDE, 1))
    dense = keras.layers.Dense(6)
    network = keras.Model(inputs, dense(keras.layers.Flatten()(inputs)))
    dense.set_weights([weights, bias])
    return Classifier(network)


@pytest.fixture(scope="module")
def grey() -> tuple[np.ndarray, np.ndarray]:
    return np.full((3, SIDE, SIDE, 1), 0.5, np.float32), np.zeros(3, np.int32)


@pytest.mark.parametrize("norm", [Linf, L2, L1], ids=lambda norm: norm.name)
def test_malt_aims_at_the_nearest_hyperplane_in_the_norm_of_the_ball(planes, grey, norm):
    """Of 2, 3 and 4 the distances are 2 / 50, 2 / 4.5, 2 / 24 in Linf, 2 / 5, 2 / 4.5, 2 / 6 in L2, 2 / 0.5, 2 / 4.5, 2 / 1.5 in L1."""
    x, y = grey
    assert np.asarray(rivals(planes.logits(x), y, ALL))[:, 0].tolist() == [1, 2, 3, 4, 5]
    goals = np.asarray(malt(planes, x, y, norm(0.1), ALL, ALL))
    assert goals.dtype == np.int32
    assert goals.T.tolist() == [FIRST[norm]] * len(x)


def test_malt_chooses_among_the_candidates_alone(planes, grey):
    """Three candidates are the true class and the two most likely others."""
    x, y = grey
    assert np.asarray(malt(planes, x, y, Linf(0.1), ALL, 3))[:, 0].tolist() == [2, 1]
    assert np.asarray(malt(planes, x, y, Linf(0.1), 2, ALL))[:, 0].tolist() == [2, 4]


@pytest.mark.parametrize("norm", [Linf, L2], ids=lambda norm: norm.name)
def test_of_random_planes_too_the_first_is_the_nearest(linear, norm):
    """Beside `boundary_distances`, where likelihood is wrong about some."""
    images = np.random.default_rng(0).random((100, *linear.image_shape)).astype(np.float32)
    y, image = linear.predict(images).argmax(-1).astype(np.int32), np.arange(len(images))
    weights, bias = linear.model.layers[-1].get_weights()
    z = images.reshape(len(images), -1) @ weights + bias

    def distance(goal: np.ndarray) -> np.ndarray:
        return (z[image, y] - z[image, goal]) / np.linalg.norm(weights[:, y] - weights[:, goal], 1 if norm is Linf else 2, axis=0)

    nearest = boundary_distances(linear, images, norm.order)
    np.testing.assert_allclose(distance(np.asarray(malt(linear, images, y, norm(0.1), 1, ALL))[0]), nearest, rtol=1e-4)
    assert (distance(np.asarray(rivals(linear.logits(images), y, 1))[0]) > 1.01 * nearest).any()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "ball"), [("apgd", Linf(0.06)), ("apgd", L2(0.4)), ("apgd_l1", L1(0.7))], ids=str)
def test_one_target_is_enough_where_it_is_the_nearest(planes, grey, name, ball):
    """Towards class 1, the most likely, no change in the ball goes far."""
    x, y = grey
    settings = {"loss": "targeted_dlr", "targets": 1, "steps": 30}
    by_likelihood, by_malt = (getattr(attacks, name)(planes, x, y, ball, **settings, targets_by=by) for by in ("likelihood", "malt"))
    assert planes.accuracy(by_likelihood, y) == 1
    assert (planes.predict(by_malt).argmax(-1) == FIRST[type(ball)][0]).all()


@pytest.mark.parametrize(
    ("name", "ball"), [("apgd", Linf(1e-4)), pytest.param("apgd_l1", L1(1e-4), marks=pytest.mark.slow)], ids=["apgd", "apgd_l1"]
)
def test_malt_costs_a_gradient_for_each_candidate(network, images, name, ball):
    """Once for each image, however many runs, and no query more."""
    y, plugin = network.predict(images).argmax(-1), registry.get("attacks", name)
    plain = {"loss": "targeted_dlr", "steps": 5, "restarts": 2, "targets": 2}
    settings = settings_of(plugin, {**plain, "targets_by": "malt", "candidates": 4})
    crafted, cost = craft(network, Attack(plugin, ball, settings), images, y), plugin.cost(settings)
    assert (crafted.gradients == cost.gradients).all()
    assert (crafted.queries == cost.queries).all()
    assert cost.gradients == 2 * 2 * 5 + 4
    assert cost.queries == plugin.cost(settings_of(plugin, plain)).queries


@pytest.mark.parametrize("name", ["apgd", "apgd_l1"])
def test_targets_are_the_likeliest_where_nothing_is_said(name):
    """So AutoAttack's are, and what is said of candidates costs nothing."""
    plugin = registry.get("attacks", name)
    assert plugin.settings["targets_by"].default == "likelihood"
    for settings in ({"loss": "targeted_dlr"}, {"loss": "targeted_dlr", "candidates": 50}):
        assert plugin.cost(settings_of(plugin, settings)).gradients == 900
    stages = [stage for version in registry.get("attacks", "autoattack").module.VERSIONS.values() for stage in version]
    assert not any("targets_by" in stage.settings for stage in stages)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"targets_by": "malt"}, r"targets_by: got 'malt', but the loss ce has no targets; set loss to targeted_dlr"),
        ({"targets_by": "malt", "loss": "targeted_dlr", "targets": 10}, r"targets: got 10, but 10 candidates, .* leave 9 to choose from"),
    ],
)
def test_malt_with_nothing_to_choose_is_refused(given, said):
    for name in ("apgd", "apgd_l1"):
        with pytest.raises(ConfigError, match=said):
            settings_of(registry.get("attacks", name), given)
