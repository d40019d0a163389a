"""Natural adversaries: the search in the noise of a GAN, and the GAN that is trained for it."""

from __future__ import annotations

import numpy as np
import pytest

from advrun import registry
from advrun.attack import Attack
from advrun.attacks._generative import inverter, painter
from advrun.attacks._surrogate import reset
from advrun.config.entries import settings_of
from advrun.craft import craft
from advrun.engine import Rng

LATENT, WIDTH = 3, 2


def searching(**settings) -> Attack:
    plugin = registry.get("attacks", "natural")
    return Attack(plugin, None, settings_of(plugin, {"latent": LATENT, "width": WIDTH, "queries": 60, "samples": 20, **settings}))


@pytest.fixture(scope="module")
def fitted(images):
    """Weights that nothing was learnt by: the search does not ask."""
    networks = painter(images.shape[1:], LATENT, WIDTH), inverter(images.shape[1:], LATENT, WIDTH)
    for i, each in enumerate(networks):
        reset(each, [5, i])
    return dict(zip(("painter", "inverter"), (each.get_weights() for each in networks), strict=True))


@pytest.fixture(scope="module")
def y(network, images):
    """Half of the images' classes are what the GAN paints around them; the other half are found in the first shell."""
    painted = painter(images.shape[1:], LATENT, WIDTH)(inverter(images.shape[1:], LATENT, WIDTH)(images))
    own = network.predict(np.asarray(painted)).argmax(-1).astype(np.int32)
    return np.where(np.arange(len(own)) < 5, (own + 1) % 5, own).astype(np.int32)


def found(network, images, y, fitted, attack):
    network.counter.start(len(images))
    x_adv = np.asarray(attack(network, images, y, Rng.from_seed(3), fitted=fitted))
    return x_adv, network.counter.read()["queries"]


def test_what_is_found_is_painted_and_wrong_and_nothing_is_asked_after_it(network, images, fitted, y):
    x_adv, queries = found(network, images, y, fitted, searching(step_size=1e-3))
    centre = np.asarray(painter(images.shape[1:], LATENT, WIDTH)(inverter(images.shape[1:], LATENT, WIDTH)(images)))
    np.testing.assert_array_equal(queries, np.where(np.arange(10) < 5, 20, 60))
    np.testing.assert_array_equal(x_adv[5:], images[5:])  # never: the noise stays where it was
    assert (network.predict(x_adv[:5]).argmax(-1) != y[:5]).all()
    np.testing.assert_allclose(x_adv[:5], centre[:5], atol=1e-2)


def test_the_nearest_of_the_first_shell_is_taken(network, images, fitted, y):
    """Where every place is a success, that is the place with the smallest of the radii, which are drawn by the shell's number."""
    attack = searching(step_size=0.5)
    x_adv, _ = found(network, images, y, fitted, attack)
    draw = Rng.from_seed(3).fold(0)
    direction = np.asarray(draw.normal((20, 10, LATENT)))
    radius = 0.5 * np.asarray(draw.uniform((20, 10)))
    start = np.asarray(inverter(images.shape[1:], LATENT, WIDTH)(images))
    for image in range(5):
        z = start[image] + radius[:, image, None] * direction[:, image] / np.linalg.norm(direction[:, image], axis=-1, keepdims=True)
        made = np.asarray(painter(images.shape[1:], LATENT, WIDTH)(z.astype(np.float32)))
        wrong = network.predict(made).argmax(-1) != y[image]
        nearest = np.where(wrong, radius[:, image], np.inf).argmin()
        np.testing.assert_allclose(x_adv[image], made[nearest], atol=1e-5)


def test_it_asks_for_decisions_though_it_learns_from_images_alone():
    assert registry.get("attacks", "natural").access == "decisions"
    assert registry.get("attacks", "advgan_blackbox").access == "scores"
    assert registry.get("attacks", "substitute").access == "decisions"
    assert registry.get("attacks", "transfer").access == "blind"


@pytest.mark.slow
def test_the_gan_learns_what_the_data_look_like(victim, toy_data):
    plugin = registry.get("attacks", "natural")
    attack = Attack(plugin, None, settings_of(plugin, {"latent": 8, "width": 8, "epochs": 40, "queries": 200}))
    result = craft(victim, attack, toy_data.x_test, toy_data.y_test, train=(toy_data.x_train, toy_data.y_train))
    (learnt,) = result.learnt
    assert learnt.asked == {"gradients": 0, "queries": 0}
    assert learnt.pictures["gan"].shape == (40, 8, 8, 8, 3)
    last = learnt.pictures["gan"][-1] / 255
    real = toy_data.x_train / 255
    assert abs(last.mean() - real.mean()) < 0.1
    assert learnt.histories["inverter"]["val_image_loss"][-1] < learnt.histories["inverter"]["val_image_loss"][0]
    assert victim.accuracy(result.x_adv, toy_data.y_test) < victim.accuracy(toy_data.x_test, toy_data.y_test)
    assert result.queries.max() <= 200
