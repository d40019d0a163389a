"""Chains of stages: what attacks see of a purifier forward and backward, whatever view they ask."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from advrun import Classifier, Linf, attacks, engine, registry
from advrun.contract import victims
from advrun.defenses._windows import blurred, mean_of, percentile_of
from advrun.engine import keras, ops
from advrun.errors import AdvrunWarning, ModelError
from advrun.losses import cross_entropy
from advrun.system import Chain, Purifier

LEVELS = 7


def rounded(x, rng=None):
    return ops.round(x * LEVELS) / LEVELS


def behind(*purifiers: Purifier) -> Classifier:
    chain = Chain(victims.network().model)
    for purifier in purifiers:
        chain = chain.behind(purifier)
    return Classifier(chain)


def gradient(classifier: Classifier, x, y) -> np.ndarray:
    return np.asarray(classifier.gradient(cross_entropy, x, y))


def test_forward_the_purifier_is_met_as_it_is(network, images):
    shown = np.asarray(rounded(images))
    for backward in ("exact", "identity", ops.square):
        classifier = behind(Purifier(rounded, backward))
        np.testing.assert_allclose(classifier.predict(images), network.predict(shown), atol=2e-6)
        np.testing.assert_allclose(classifier.purify(images), shown, atol=1e-7)


def test_bpda_is_the_networks_gradient_at_the_purified_image(network, images):
    """Times the derivative of what stands in for the purifier: 1 for the identity, 2 x for the square (Athalye et al., section 4.1)."""
    y = victims.labels()
    at_shown = gradient(network, np.asarray(rounded(images)), y)
    assert np.abs(at_shown).max() > 0
    np.testing.assert_array_equal(gradient(behind(Purifier(rounded, "identity")), images, y), at_shown)
    np.testing.assert_allclose(gradient(behind(Purifier(rounded, ops.square)), images, y), at_shown * 2 * images, rtol=1e-5)
    assert not gradient(behind(Purifier(rounded, "exact")), images, y).any()


def test_every_view_goes_through_the_stages(network, images):
    """The jacobian, a part, targets, and images made of something else."""
    classifier, y = behind(Purifier(rounded, "identity")), victims.labels()
    shown = np.asarray(rounded(images))
    classes = np.zeros((2, len(images)), np.int32)
    classes[1] = 3
    for ours, theirs in zip(classifier.jacobian(images, classes), network.jacobian(shown, classes), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(gradient(classifier.toward(), images, y), -gradient(classifier, images, y))
    np.testing.assert_array_equal(
        gradient(classifier.part(np.arange(3, dtype=np.int32)), images[:3], y[:3]), gradient(classifier, images, y)[:3]
    )
    half = classifier.value_and_gradient(cross_entropy, 2 * images, y, through=lambda x: x / 2)
    np.testing.assert_allclose(half[2], gradient(classifier, images, y) / 2, rtol=1e-6)


def test_an_attack_passes_a_rounding_purifier(images):
    """PGD through BPDA fools what it cannot fool by the gradient itself, which is zero; compiled as it is eagerly."""
    exact, identity = behind(Purifier(rounded)), behind(Purifier(rounded, "identity"))
    y = exact.predict(images).argmax(-1)
    with pytest.warns(AdvrunWarning, match="the gradient of 100.0 % of the images is zero"):
        blind = attacks.pgd(exact, images, y, Linf(0.15), steps=10)
    seeing = attacks.pgd(identity, images, y, Linf(0.15), steps=10)
    assert exact.accuracy(seeing, y) < exact.accuracy(blind, y) - 0.2
    passed = identity.compiled("test", lambda: lambda x: identity.gradient(cross_entropy, x, y))
    np.testing.assert_allclose(passed(images), gradient(identity, images, y), atol=1e-6)


def test_the_last_purifier_put_in_front_is_passed_first(network, images):
    chain = Chain(network.model).behind(Purifier(lambda x, rng: x * 0.5)).behind(Purifier(lambda x, rng: x + 0.1))
    np.testing.assert_allclose(Classifier(chain).purify(images), (images + np.float32(0.1)) * np.float32(0.5), rtol=1e-6)


def test_as_a_keras_model_it_is_the_same_system(images):
    classifier, y = behind(Purifier(rounded, "identity")), victims.labels()
    model = Classifier(classifier.chain.as_model())
    np.testing.assert_array_equal(model.predict(images), classifier.predict(images))
    np.testing.assert_allclose(gradient(model, images, y), gradient(classifier, images, y), rtol=1e-6)
    copy = Classifier(keras.models.clone_model(model.model))
    np.testing.assert_allclose(copy.purify(images), rounded(images), atol=1e-7)


@pytest.mark.parametrize(
    ("purifier", "said"),
    [
        (lambda: Purifier(rounded, "straight"), "backward is 'straight'; expected 'exact', 'identity', or a function"),
        (lambda: Purifier(lambda x, rng: x[:, 1:]), r"images of \(5, 6, 3\) out of \(6, 6, 3\); it must keep their shape"),
        (
            lambda: Purifier(lambda x, rng: x + rng.normal(x.shape)),
            r"asks for rng.normal and does not say that it draws; write Purifier\(\.\.\., random=True\)",
        ),
    ],
)
def test_what_cannot_be_attacked_as_it_should_be_is_refused(images, purifier, said):
    with pytest.raises(ModelError, match=said):
        behind(purifier()).predict(images)


# The filters ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """Three colour images that are higher than wide."""
    return np.random.default_rng(5).random((3, 9, 7, 3), np.float32)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.6])
def test_the_gaussian_blur_is_scipys(pictures, sigma):
    expected = ndimage.gaussian_filter(pictures, (0, sigma, sigma, 0), mode="reflect", truncate=4)
    np.testing.assert_allclose(blurred(pictures, sigma), expected, atol=2e-6)


@pytest.mark.parametrize(("size", "percentile"), [(1, 50.0), (2, 50.0), (3, 0.0), (3, 30.0), (3, 50.0), (4, 75.0), (5, 100.0)])
def test_the_percentile_filter_is_scipys(pictures, size, percentile):
    expected = ndimage.percentile_filter(pictures, percentile, size=(1, size, size, 1), mode="reflect")
    np.testing.assert_array_equal(percentile_of(pictures, size, percentile), expected)


@pytest.mark.parametrize("size", [2, 3])
def test_the_percentile_filter_is_passed_backward_as_the_mean_of_its_window(network, pictures, size):
    """Which is SciPy's uniform filter, of the same window for even sizes too: the gradient is its adjoint of that at the filtered image."""
    expected = ndimage.uniform_filter(pictures, (0, size, size, 0), mode="reflect")
    np.testing.assert_allclose(mean_of(pictures, size), expected, atol=1e-6)
    chain = registry.get("defenses", "percentile").function(Chain(network.model), size=size)
    (purifier,) = chain.purifiers
    x, w = pictures, np.random.default_rng(8).normal(size=pictures.shape).astype(np.float32)
    _, shown, back = engine.value_and_gradient(lambda x: (ops.sum(purifier(x) * w, axis=(1, 2, 3)), purifier(x)), x)
    np.testing.assert_array_equal(shown, percentile_of(x, size, 50.0))
    np.testing.assert_allclose(np.sum(np.asarray(back) * x, (1, 2, 3)), np.sum(expected * w, (1, 2, 3)), rtol=1e-3)


def test_the_gradient_of_the_blur_is_its_adjoint(pictures):
    """<w, B v> = <B' w, v> for every w and v: the exact backward pass of a linear map."""
    v, w = pictures, np.random.default_rng(6).normal(size=pictures.shape).astype(np.float32)

    def inner(x):
        return ops.sum(blurred(x, 1.2) * w, axis=(1, 2, 3)), None

    value, _, back = engine.value_and_gradient(inner, v)
    np.testing.assert_allclose(np.sum(np.asarray(back) * v, (1, 2, 3)), value, rtol=1e-4)
