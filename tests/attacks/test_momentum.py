"""The transfer family: each of its attacks is its paper's loop, and MI-FGSM where what it adds is nothing."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from advrun import L2, Classifier, Linf, attacks, registry
from advrun.attacks import _momentum
from advrun.engine import keras, ops, tf

from ..conftest import CLASSES, IMAGE_SHAPE

EPS, STEPS, DECAY = 0.05, 6, 0.9
SETTINGS = {"steps": STEPS, "step_size": 1 / STEPS, "decay": DECAY}


def slope(network: Classifier, x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The gradient of Keras's own cross-entropy."""
    x = tf.constant(x, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = keras.losses.sparse_categorical_crossentropy(labels, network.model(x), from_logits=True)
    return tape.gradient(loss, x).numpy()


def by_hand(network, images, labels, gradient, *, ahead: float = 0.0) -> np.ndarray:
    """g <- mu g + grad / mean |grad|, x <- clip(x + alpha sgn(g)); the gradient at x + ahead * alpha mu g."""
    x_adv, g, alpha = images.copy(), np.zeros_like(images), np.float32(EPS / STEPS)
    for _ in range(STEPS):
        found = gradient(x_adv + np.float32(ahead) * alpha * np.float32(DECAY) * g)
        g = np.float32(DECAY) * g + found / np.abs(found).mean((1, 2, 3), keepdims=True)
        x_adv = np.clip(x_adv + alpha * np.sign(g), images - np.float32(EPS), images + np.float32(EPS)).clip(0, 1)
    return x_adv


@pytest.fixture
def labels(network, images) -> np.ndarray:
    return network.predict(images).argmax(-1)


def mifgsm_last(network, images, labels) -> np.ndarray:
    return by_hand(network, images, labels, lambda x: slope(network, x, labels))


def same(found: np.ndarray, expected: np.ndarray) -> None:
    """Up to the few values whose gradient is so near to 0 that rounding decides its sign."""
    assert np.isclose(found, expected, atol=1e-5).mean() > 0.995


def test_nifgsm_is_the_papers_loop(network, images, labels):
    expected = by_hand(network, images, labels, lambda x: slope(network, x, labels), ahead=1)
    same(attacks.nifgsm(network, images, labels, Linf(EPS), **SETTINGS), expected)
    assert not np.isclose(expected, mifgsm_last(network, images, labels), atol=1e-5).all()


def test_sifgsm_is_the_papers_loop(network, images, labels):
    """The gradient is that of sum_i J(x / 2^i) in x: each copy's is halved as often as the copy."""

    def over_copies(x: np.ndarray) -> np.ndarray:
        return sum(slope(network, x / 2**i, labels) / 2**i for i in range(3))

    expected = by_hand(network, images, labels, over_copies, ahead=1)
    same(attacks.sifgsm(network, images, labels, Linf(EPS), scales=3, **SETTINGS), expected)


def test_tifgsm_is_the_papers_loop(network, images, labels):
    weights = registry.get("attacks", "tifgsm").module.gaussian(5)

    def smooth(x: np.ndarray) -> np.ndarray:
        kernel = np.outer(weights, weights)[None, :, :, None]
        return ndimage.convolve(slope(network, x, labels), kernel, mode="constant")

    same(attacks.tifgsm(network, images, labels, Linf(EPS), kernel=5, **SETTINGS), by_hand(network, images, labels, smooth))


@pytest.mark.parametrize(
    ("name", "nothing"),
    [("difgsm", {"probability": 0.0}), ("tifgsm", {"kernel": 1}), ("vmifgsm", {"neighbourhood": 1e-6, "neighbours": 2})],
)
def test_what_adds_nothing_is_mifgsm(network, images, labels, name, nothing):
    found = getattr(attacks, name)(network, images, labels, Linf(EPS), **SETTINGS, **nothing)
    same(found, mifgsm_last(network, images, labels))


def test_vmifgsm_on_a_linear_model_is_mifgsm(images):
    """There the margin's gradient is the same everywhere, so its variance is 0; cross-entropy with two far classes behaves so."""
    inputs = keras.Input(IMAGE_SHAPE)
    flat = keras.layers.Flatten()(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2, kernel_initializer="random_normal")(flat))
    model.layers[-1].set_weights([weight * 1e-3 for weight in model.layers[-1].get_weights()])
    nearly_linear = Classifier(model)
    y = np.zeros(len(images), np.int32)
    found = attacks.vmifgsm(nearly_linear, images, y, Linf(EPS), neighbours=3, **SETTINGS)
    same(found, mifgsm_last(nearly_linear, images, y))


def test_difgsm_sees_the_image_shrunken_on_black():
    """A model that only looks at the border sees black there half the time; the gradient then comes from inside.

    Each image has a size and a place of its own: here they hardly differ otherwise.
    """
    inputs = keras.Input((8, 8, 1))
    logits = keras.layers.Dense(CLASSES, kernel_initializer="random_normal")(keras.layers.Flatten()(inputs))
    classifier = Classifier(keras.Model(inputs, logits))
    x, y = np.tile(0.5 + np.arange(4, dtype=np.float32)[:, None, None, None] / 2048, (1, 8, 8, 1)), np.zeros(4, np.int32)
    plain = attacks.difgsm(classifier, x, y, L2(0.1), probability=0.0, **SETTINGS) - x
    diverse = attacks.difgsm(classifier, x, y, L2(0.1), probability=1.0, smallest=0.5, **SETTINGS) - x
    assert np.abs(plain - plain[:1]).max() < 1e-4
    assert np.abs(diverse - diverse[:1]).max() > 1e-3, "every image is shrunken on its own"


def test_tifgsm_kernel():
    """A normalised Gaussian, with zeros outside; one pixel wide it changes nothing."""
    tifgsm = registry.get("attacks", "tifgsm").module
    image = np.random.default_rng(0).normal(size=(1, 9, 9, 2)).astype(np.float32)
    weights = tifgsm.gaussian(5)
    assert weights.sum() == pytest.approx(1)
    expected = ndimage.convolve(image[0, :, :, 1], np.outer(weights, weights), mode="constant")
    found = tifgsm.convolved(ops.convert_to_tensor(image), ops.convert_to_tensor(weights))
    np.testing.assert_allclose(found[0, :, :, 1], expected, atol=1e-5)
    np.testing.assert_array_equal(tifgsm.gaussian(1), [1.0])


def test_momentum_normalises_image_by_image():
    """Mean-absolute normalisation over a whole batch was a bug of more than one library."""
    gradient = np.stack([np.full(IMAGE_SHAPE, 5.0), np.full(IMAGE_SHAPE, 0.01)]).astype(np.float32)
    g = np.asarray(_momentum.accumulate(0 * gradient, gradient, 1.0))
    np.testing.assert_allclose(np.abs(g).mean((1, 2, 3)), [1, 1], rtol=1e-5)
