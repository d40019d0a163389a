"""FGSM, BIM, MI-FGSM, PGD and C&W against their papers, where libraries are known to differ from them."""

from __future__ import annotations

import numpy as np
import pytest

from advrun import L2, Classifier, Linf, attacks, registry
from advrun.attacks._best import Best
from advrun.attacks._search import NO_UPPER, Search
from advrun.config.entries import settings_of
from advrun.engine import Rng, keras, ops
from advrun.losses import cross_entropy, margin

from ..conftest import CLASSES, IMAGE_SHAPE

EPS = 8 / 255


@pytest.fixture
def labels(network, images):
    return network.predict(images).argmax(-1).astype(np.int32)


def gradient(network, x, y):
    return np.asarray(network.gradient(cross_entropy, ops.convert_to_tensor(x), y))


def lead(network, x, y):
    return np.asarray(network.lead(network.forward(x), y))


def test_fgsm_is_one_clipped_sign_step_from_the_given_label(network, images, labels):
    x = np.where(images > 0.6, 1, images).astype(np.float32)
    expected = np.clip(x + np.float32(EPS) * np.sign(gradient(network, x, labels)), 0, 1)
    np.testing.assert_allclose(attacks.fgsm(network, x, labels, Linf(EPS)), expected, atol=1e-7)
    wrong = (labels + 1) % CLASSES
    assert not np.allclose(attacks.fgsm(network, x, wrong, Linf(EPS)), expected)  # not from the predicted class


def test_bim_has_the_papers_defaults():
    settings = {name: setting.default for name, setting in attacks.bim.plugin.settings.items()}
    assert settings["step_size"] * EPS == pytest.approx(1 / 255)
    assert settings["steps"] == min(8 + 4, 1.25 * 8)


def test_mifgsm_is_the_papers_loop_with_each_image_on_its_own(network, images, labels):
    """Momentum over gradients divided by their L1 norm, image by image (not over the batch), and the sign only then."""
    x_adv, momentum = images.copy(), np.zeros_like(images)
    iterates = [x_adv]
    for _ in range(4):
        slope = gradient(network, x_adv, labels)
        momentum = 0.9 * momentum + slope / np.abs(slope).sum((1, 2, 3), keepdims=True)
        x_adv = np.clip(x_adv + np.float32(EPS / 4) * np.sign(momentum), images - np.float32(EPS), images + np.float32(EPS)).clip(0, 1)
        iterates.append(x_adv)
    leads = np.stack([lead(network, x, labels) for x in iterates])
    expected = np.stack(iterates)[leads.argmax(0), np.arange(len(images))]
    found = attacks.mifgsm(network, images, labels, Linf(EPS), steps=4, step_size=0.25, decay=0.9)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_pgd_starts_anywhere_in_the_ball_not_in_its_corners():
    x = np.full((20, 8, 8, 3), 0.5, np.float32)
    start = np.asarray(Linf(EPS).sample(x, Rng.from_seed(0))) - x
    assert (np.abs(start) > 0.98 * EPS).mean() < 0.03
    assert np.abs(start).mean() == pytest.approx(EPS / 2, rel=0.05)


def test_pgd_returns_the_best_iterate_not_the_last(network, images, labels):
    """Steps as long as the ball is wide jump about: more of them never make the result worse."""
    leads = [lead(network, attacks.pgd(network, images, labels, Linf(EPS), steps=steps, step_size=2.0), labels) for steps in (1, 4, 16)]
    assert (leads[1] >= leads[0] - 1e-5).all()
    assert (leads[2] >= leads[1] - 1e-5).all()


def test_each_image_keeps_its_own_best_restart(network, images, labels):
    one, four = (attacks.pgd(network, images, labels, Linf(EPS), steps=2, restarts=restarts) for restarts in (1, 4))
    assert (lead(network, four, labels) >= lead(network, one, labels) - 1e-5).all()
    assert (lead(network, four, labels) > lead(network, one, labels) + 1e-5).any()


def test_cw_loss_needs_no_filler_for_negative_logits():
    assert float(margin(np.array([[-1.0, -3.0, -5.0]], np.float32), np.array([0]))[0]) == -2


@pytest.mark.slow
def test_cw_moves_pixels_at_the_ends_of_the_box(network, images, labels):
    """They begin a hair inside it, where the gradient through tanh is small but not nothing."""
    x = np.where(images > 0.6, 1, np.where(images < 0.4, 0, images)).astype(np.float32)
    y = network.predict(x).argmax(-1)
    x_adv = attacks.cw(network, x, y, search_steps=9, steps=1000)
    assert network.accuracy(x_adv, y) == 0
    ends = (x == 0) | (x == 1)
    assert (np.abs(x_adv - x)[ends] > 1e-3).any()


def test_cw_searches_c_as_the_authors_do():
    """Times ten until something works, then bisection; the interval of each image is its own."""
    search = Search(np.array([1e-3, 1e-3], np.float32), np.zeros(2, np.float32), np.full(2, NO_UPPER, np.float32))
    search = search.narrow(np.array([False, True]))
    np.testing.assert_allclose(search.c, [1e-2, 5e-4])
    search = search.narrow(np.array([True, False]))
    np.testing.assert_allclose(search.c, [5.5e-3, 7.5e-4])


@pytest.mark.slow
def test_the_last_of_many_searches_of_cw_tries_the_largest_c_again(linear, images, monkeypatch):
    """From ten search steps on, as in the authors' code: 1e-9 moves nothing, 1000 everything."""
    module, n = registry.get("attacks", "cw").module, len(images)
    found = {}

    def search_c(minimise, x, steps, _):
        search = Search(*(ops.full((n,), value, dtype="float32") for value in (1e-9, 0.0, 1e3)))
        for number in (steps - 2, steps - 1):
            found[steps, number] = np.asarray(minimise(ops.convert_to_tensor(number), search, Best.nothing(x))[0]).mean()
        return x

    monkeypatch.setattr(module, "search_c", search_c)
    x, y = ops.convert_to_tensor(images), linear.predict(images).argmax(-1).astype(np.int32)
    for steps in (9, 10):
        module.cw(linear, x, y, L2(), search_steps=steps, steps=200)
    assert found == {(9, 7): 0, (9, 8): 0, (10, 8): 0, (10, 9): 1}


def test_defaults_and_presets_are_those_of_the_papers():
    def settings(name, preset=None):
        return settings_of(registry.get("attacks", name), {"preset": preset} if preset else {})

    ead = {"beta": 1e-3, "initial_c": 1e-3, "step_size": 0.01, "search_steps": 9, "steps": 1000}
    assert ead.items() <= settings("ead", "paper").items()
    assert {"search_steps": 9, "steps": 10_000, "initial_c": 1e-3, "step_size": 0.01}.items() <= settings("cw", "paper").items()
    assert {"steps": 40, "step_size": 1 / 30}.items() <= settings("pgd", "paper").items()
    assert {"steps": 50, "overshoot": 0.02}.items() <= settings("deepfool").items()


def test_cw_confidence_is_a_lead_in_logits(network, images, labels):
    x_adv = attacks.cw(network, images, labels, confidence=2.0, search_steps=9, steps=200)
    assert (lead(network, x_adv, labels) > 2).all()
    assert (L2.distance(x_adv, images) > L2.distance(attacks.cw(network, images, labels, search_steps=9, steps=200), images)).numpy().all()


def test_what_cannot_be_fooled_comes_back_clean(images):
    inputs = keras.Input(IMAGE_SHAPE)
    flat = keras.layers.Flatten()(inputs)
    stubborn = keras.Model(inputs, keras.layers.Dense(2)(flat))
    stubborn.layers[-1].set_weights([np.zeros((108, 2), np.float32), np.array([3, -2], np.float32)])
    y = np.zeros(len(images), np.int32)
    np.testing.assert_array_equal(attacks.cw(Classifier(stubborn), images, y), images)


def test_the_closest_success_is_kept(images):
    best = Best.nothing(images).closer(images + 0.1, np.arange(10) < 6, np.full(10, 2.0, np.float32))
    best = best.closer(images + 0.2, np.arange(10) < 8, np.full(10, 3.0, np.float32))
    np.testing.assert_array_equal(best.distance, [2] * 6 + [3] * 2 + [np.inf] * 2)
    np.testing.assert_array_equal(best.x[-2:], images[-2:])
