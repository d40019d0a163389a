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
    direction = np.asarray(draw.normal((10, 20, LATENT))).swapaxes(0, 1)
    radius = 0.5 * np.asarray(draw.uniform((10, 20))).T
    start = np.asarray(inverter(images.shape[1:], LATENT, WIDTH)(images))
    for image in range(5):
        z = start[image] + radius[:, image, None] * direction[:, image] / np.linalg.norm(direction[:, image], axis=-1, keepdims=True)
        made = np.asarray(painter(images.shape[1:], LATENT, WIDTH)(z.astype(np.float32)))
        wrong = network.predict(made).argmax(-1) != y[image]
        nearest = np.where(wrong, radius[:, image], np.inf).argmin()
        np.testing.assert_allclose(x_adv[image], made[nearest], atol=1e-5)


@pytest.mark.parametrize("search", ["iterative", "shrinking"])
def test_the_distance_is_that_of_the_noise_that_was_painted(network, images, fitted, y, search):
    """G(z*) with |z* - I(x)| as it is told; nothing is told of images for which nothing was found."""
    attack = searching(search=search, step_size=0.5, queries=200, radius=1e-2 if search == "shrinking" else 1.0)
    x_adv, said = attack.telling(network, images, y, Rng.from_seed(3), fitted=fitted)
    distance = np.asarray(said["latent_distance"])
    wrong = network.predict(np.asarray(x_adv)).argmax(-1) != y
    np.testing.assert_array_equal(np.isfinite(distance), wrong & (np.asarray(x_adv) != images).any((1, 2, 3)))
    assert wrong[:5].all()
    assert (distance[:5] > 0).all()
    centre = painter(images.shape[1:], LATENT, WIDTH)(inverter(images.shape[1:], LATENT, WIDTH)(images))
    moved = np.abs(np.asarray(x_adv) - np.asarray(centre)).max((1, 2, 3))[:5]
    assert (moved <= 5 * distance[:5]).all()
    if search == "shrinking":
        assert (distance[:5] <= 1e-2).all()


def test_shrinking_asks_as_the_algorithm_says(network, images, fitted, y):
    """Without success: halvings until less than dr is left, then B shells inward; with success at once: until z' is reached."""
    attack = searching(search="shrinking", radius=0.001, step_size=0.0003, patience=2, queries=400)
    queries = found(network, images, y, fitted, attack)[1]
    # r - l is 1, 1/2, 1/4 of 0.001: two shells are wider than dr, and two more have no success.
    np.testing.assert_array_equal(queries[5:], 20 * (2 + 2))
    assert (queries[:5] % 20 == 0).all()
    assert queries.max() <= 400


def test_shrinking_is_algorithm_2(network, images, fitted):
    """Image by image in plain Python, on the same places: the same distances, and as many questions."""
    shape, radius, step, patience, rounds = images.shape[1:], 4.0, 0.3, 3, 60
    start = np.asarray(inverter(shape, LATENT, WIDTH)(images))
    y = network.predict(np.asarray(painter(shape, LATENT, WIDTH)(start))).argmax(-1).astype(np.int32)
    draws = []
    for i in range(rounds):
        draw = Rng.from_seed(3).fold(i)
        draws.append((np.asarray(draw.normal((len(y), 1, LATENT))).swapaxes(0, 1), np.asarray(draw.uniform((len(y), 1))).T))

    def nearest(number, i, low, high):
        direction, share = (each[:, number] for each in draws[i])
        distance = low + (high - low) * share
        z = start[number] + (distance / np.linalg.norm(direction, axis=-1))[:, None] * direction
        wrong = network.predict(np.asarray(painter(shape, LATENT, WIDTH)(z.astype(np.float32)))).argmax(-1) != y[number]
        return distance[wrong].min(initial=np.inf)

    distances, queries, again = [], [], 0
    for number in range(len(y)):
        best, low, high, missed, i = np.inf, 0.0, radius, 0, 0
        while high - low >= step and i < rounds:
            found = nearest(number, i, low, high)
            low, high, best = (0.0, found, found) if np.isfinite(found) else ((low + high) / 2, high, best)
            i += 1
        while missed < patience and high > 0 and i < rounds:
            found = nearest(number, i, max(high - step, 0.0), high)
            again += missed > 0 and np.isfinite(found)
            missed = 0 if np.isfinite(found) else missed + 1
            high, best = (found, found) if np.isfinite(found) else (max(high - step, 0.0), best)
            i += 1
        distances.append(best)
        queries.append(i)
    attack = searching(search="shrinking", radius=radius, step_size=step, patience=patience, queries=rounds, samples=1)
    network.counter.start(len(y))
    told = np.asarray(attack.telling(network, images, y, Rng.from_seed(3), fitted=fitted)[1]["latent_distance"])
    np.testing.assert_array_equal(network.counter.read()["queries"], queries)
    np.testing.assert_allclose(told, np.where(np.isfinite(distances), distances, np.nan), rtol=1e-4)
    assert again  # a success after a failure
    assert len(set(queries)) > 2


def test_shrinking_finds_what_many_places_find(network, images, fitted):
    """Its distance is near the least of thousands of places around, and less than the first success of a shell."""
    start = np.asarray(inverter(images.shape[1:], LATENT, WIDTH)(images))
    y = network.predict(np.asarray(painter(images.shape[1:], LATENT, WIDTH)(start))).argmax(-1).astype(np.int32)
    draw = np.random.default_rng(0)
    direction = draw.normal(size=(4000, LATENT))
    distance = draw.uniform(0, 6, 4000)
    around = (distance / np.linalg.norm(direction, axis=-1))[:, None] * direction
    least = []
    for z, label in zip(start, y, strict=True):
        painted = np.asarray(painter(images.shape[1:], LATENT, WIDTH)((z + around).astype(np.float32)))
        least.append(distance[network.predict(painted).argmax(-1) != label].min(initial=np.inf))
    attack = searching(search="shrinking", radius=6.0, queries=2000, samples=50, step_size=0.1)
    told = np.asarray(attack.telling(network, images, y, Rng.from_seed(3), fitted=fitted)[1]["latent_distance"])
    reached = np.isfinite(least)
    assert reached.sum() >= 3
    assert (told[reached] <= 1.25 * np.array(least)[reached]).all()


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
    assert np.isfinite(result.said["latent_distance"][result.attacked]).mean() > 0.5
