"""The attacks as functions of arrays: what a person may hand over, and what is refused."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from advrun import L2, Classifier, Linf, attacks
from advrun.api import as_classifier
from advrun.engine import keras
from advrun.errors import ConfigError, DataError, ModelError

from .conftest import CLASSES, IMAGE_SHAPE


@pytest.mark.parametrize(
    ("ball", "message"),
    [
        (L2(1e-4), r"cw takes no eps: it looks for the nearest image; give L2\(\)"),
        (Linf(), "cw works in L2, not in Linf"),
        (L2, r"cw got the class L2; give a ball, such as L2\(\)"),
    ],
)
def test_minimal_norm_attacks_take_a_norm(network, images, ball, message):
    with pytest.raises(ConfigError, match=message):
        attacks.cw(network, images, network.predict(images).argmax(-1), ball)


@pytest.mark.parametrize(
    ("ball", "message"),
    [
        (None, r"pgd needs a ball, for example Linf\(8/255\)"),
        (L2(np.inf), r"pgd needs an eps, for example L2\(0.5\)"),
        (Linf(np.full(10, 0.1)), r"eps has shape \(10,\)"),
    ],
)
def test_ball_attacks_take_a_ball(network, images, ball, message):
    with pytest.raises(ConfigError, match=message):
        attacks.pgd(network, images, network.predict(images).argmax(-1), ball)


def test_an_attack_learns_from_the_images_of_the_attacker(network, images, caplog):
    """Not from those under attack, where others are given; else it says so."""
    y, settings = network.predict(images).argmax(-1), {"steps": 2, "epochs": 1}
    own = attacks.universal(network, images[:4], y[:4], Linf(0.1), **settings)
    assert "those under attack" in caplog.text
    caplog.clear()
    given = attacks.universal(network, images[:4], y[:4], Linf(0.1), train=(images[4:], y[4:]), **settings)
    assert not caplog.text
    assert (own != given).any()
    with pytest.raises(DataError):
        attacks.universal(network, images, y, Linf(0.1), train=(images, y[:3]))


@pytest.mark.parametrize("eps", ["8/255", None, True, 0, -0.1, np.nan])
def test_eps_is_a_number_above_zero(eps):
    with pytest.raises(ConfigError, match="eps is"):
        Linf(eps)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, "seed is -1; expected a whole number >= 0"),
        ({"seed": 1.5}, "seed is 1.5"),
        ({"batch_size": 0}, "batch_size is 0; expected a whole number >= 1"),
        ({"target": True}, "target is True; expected one for all images"),
        ({"target": np.zeros(10, int)}, "expected one for all images"),
        ({"only_correct": "no"}, "only_correct is 'no'; expected True or False"),
        ({"steps": 3_000_000_000}, "a whole number from 1 to 10,000,000"),
    ],
)
def test_options_are_checked(network, images, options, message):
    with pytest.raises(ConfigError, match=message):
        attacks.pgd(network, images, network.predict(images).argmax(-1), Linf(0.1), **options)


def test_a_misspelt_attack_is_told_its_name():
    with pytest.raises(AttributeError, match="no attack named 'pdg'; did you mean 'pgd'"):
        attacks.pdg(None)


@pytest.mark.parametrize(("name", "value"), [("norm", "linf"), ("eps", 0.1), ("ball", Linf(0.1))])
def test_the_ball_is_the_fourth_argument(network, images, name, value):
    with pytest.raises(ConfigError, match=rf"pgd takes no {name}=; the fourth argument is the ball or norm: Linf\(8/255\) or L2\(0.5\)"):
        attacks.pgd(network, images, np.zeros(10, int), **{name: value})
    with pytest.raises(ConfigError, match=r"not in float: give Linf\(8/255\) or L2\(0.5\)"):
        attacks.pgd(network, images, np.zeros(10, int), 8 / 255)


def test_a_list_is_as_good_as_a_tuple(network, images, tmp_path):
    network.model.save(tmp_path / "surrogate.keras")
    y = network.predict(images).argmax(-1)
    x_adv = attacks.transfer(network, images, y, Linf(0.1), models=[str(tmp_path / "surrogate.keras")])
    assert network.accuracy(x_adv, y) < 1


def test_numpy_numbers_are_numbers(network, images):
    y = network.predict(images).argmax(-1)
    same = [attacks.pgd(network, images, y, Linf(0.1), target=kind(3), steps=kind(2), seed=kind(1)) for kind in (int, np.int64)]
    np.testing.assert_array_equal(*same)


def test_what_is_no_model_and_no_image(network, images, tmp_path):
    with pytest.raises(ModelError, match="got NoneType; expected a Keras model"):
        attacks.pgd(None, images, np.zeros(10, int), Linf(0.1))
    with pytest.raises(ModelError, match="a folder, not a model file"):
        Classifier.from_file(tmp_path)
    with pytest.raises(DataError, match="images are complex64"):
        network.predict(images.astype(np.complex64))


def test_the_signature_shows_the_settings_and_their_defaults():
    parameters = inspect.signature(attacks.pgd).parameters
    assert parameters["steps"].default == 40
    assert "settings" not in parameters
    assert list(parameters)[:4] == ["model", "x", "y", "geometry"]


def test_a_keras_model_passed_again_is_recognised(images):
    """What is compiled for it serves again; its weights are those of the moment, also where a softmax was cut off."""
    layers = [keras.Input(IMAGE_SHAPE), keras.layers.Flatten(), keras.layers.Dense(CLASSES, activation="softmax")]
    model = keras.Sequential(layers)
    first = as_classifier(model)
    assert as_classifier(model) is first
    weights, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([-weights, bias])
    logits = images.reshape(len(images), -1) @ -weights + bias
    np.testing.assert_allclose(as_classifier(model).predict(images), logits, rtol=1e-4, atol=1e-4)
    others = [keras.models.clone_model(model) for _ in range(2)]
    known = [as_classifier(each) for each in (*others, model)]
    assert len(set(map(id, known))) == 3
    assert as_classifier(model) is known[2]
    assert as_classifier(others[0]) is not known[0]  # the last two are remembered
