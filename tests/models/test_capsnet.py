"""The capsule network: its formulas by hand, routing against the published procedure, its gradient numerically, its published sizes."""

from __future__ import annotations

import numpy as np
import pytest

from advrun import Classifier, engine, registry
from advrun.config.entries import settings_of
from advrun.engine import Rng, keras, ops, tf
from advrun.errors import ConfigError
from advrun.models.capsnet import PRESETS, TOTAL, capsnet, margin_loss, objective, routed, squash
from advrun.system.copies import fresh_copy, full_precision
from advrun.system.ends import ending, logits_model


@pytest.fixture(scope="module")
def model():
    """The small form for 28 x 28 grey images, with its first weights."""
    engine.start(3)
    return capsnet((28, 28, 1), 10)


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    return np.random.default_rng(0).random((4, 28, 28, 1), np.float32)


def test_squash_is_the_formula():
    s = np.random.default_rng(0).normal(size=(5, 3)) * [[0.01], [0.3], [1], [3], [100]]
    norm = np.linalg.norm(s, axis=-1, keepdims=True)
    np.testing.assert_allclose(squash(ops.convert_to_tensor(s)), norm**2 / (1 + norm**2) * s / norm, rtol=1e-4)
    assert not np.asarray(squash(ops.zeros((1, 3)))).any()


def procedure_1(votes: np.ndarray, iterations: int) -> np.ndarray:
    """Line by line, for one image: votes u_j|i as [j][i], each a vector."""
    classes, below, _ = votes.shape
    b = np.zeros((below, classes))
    for _ in range(iterations):
        c = np.exp(b) / np.exp(b).sum(1, keepdims=True)
        s = np.stack([sum(c[i, j] * votes[j, i] for i in range(below)) for j in range(classes)])
        length = np.linalg.norm(s, axis=1, keepdims=True)
        v = length**2 / (1 + length**2) * s / length
        for i in range(below):
            for j in range(classes):
                b[i, j] += votes[j, i] @ v[j]
    return s


@pytest.mark.parametrize("iterations", range(1, 6))
def test_routing_is_the_published_procedure(iterations):
    votes = np.random.default_rng(iterations).normal(size=(3, 4, 6, 5))
    expected = np.stack([procedure_1(image, iterations) for image in votes])
    np.testing.assert_allclose(routed(ops.convert_to_tensor(votes), iterations), expected, rtol=1e-6)


@pytest.mark.parametrize("iterations", [1, 3, 5])
def test_the_gradient_goes_through_all_of_the_routing(iterations):
    """In float64, against central differences of the logits; with the coupling coefficients held it would be another."""
    rng = np.random.default_rng(7)
    votes, weights = rng.normal(size=(1, 4, 5, 3)), rng.normal(size=(1, 4))

    def value(votes):
        return ops.sum(weights * ops.log(ops.sum(ops.square(routed(votes, iterations)), axis=-1)))

    with tf.GradientTape() as tape:
        variable = tf.Variable(votes)
        total = value(variable)
    exact = np.asarray(tape.gradient(total, variable)).ravel()
    steps = 1e-6 * np.eye(votes.size).reshape(-1, *votes.shape)
    numeric = [float(value(votes + step) - value(votes - step)) / 2e-6 for step in steps]
    np.testing.assert_allclose(exact, numeric, rtol=1e-5, atol=1e-7)


def test_the_gradient_of_a_whole_model_is_its_slope(model, digits):
    """Along a line through the images, from the pixels to the cross-entropy."""
    classifier, y = Classifier(model), np.array([0, 3, 5, 9], np.int32)
    from advrun.losses import cross_entropy

    direction = np.random.default_rng(1).normal(size=digits.shape).astype(np.float32)
    slope = (np.asarray(classifier.gradient(cross_entropy, ops.convert_to_tensor(digits), y)) * direction).sum((1, 2, 3))
    ahead, behind = (np.asarray(cross_entropy(classifier.forward(digits + h * direction), y)) for h in (1e-3, -1e-3))
    np.testing.assert_allclose((ahead - behind) / 2e-3, slope, rtol=0.05, atol=0.05 * np.abs(slope).max())


def test_logits_are_the_log_odds_of_the_lengths(model, digits):
    """sigmoid(logits) are the lengths of the class capsules, so the longest capsule is the answer."""
    probe = keras.Model(model.inputs[0], [model.outputs[0], squash(model.get_layer(TOTAL).output)])
    logits, capsules = (np.asarray(each) for each in probe(digits))
    lengths = np.linalg.norm(capsules, axis=-1)
    np.testing.assert_allclose(ops.sigmoid(logits), lengths, rtol=1e-3)
    np.testing.assert_array_equal(logits.argmax(-1), lengths.argmax(-1))


def test_nothing_of_it_is_cut_off(model):
    """Its end, a logarithm of a sum, is neither taken for a squashing one nor refused; copies are built of plain Keras layers."""
    assert logits_model(model) is model
    assert ending(model) == "logits"
    assert fresh_copy(model).count_params() == full_precision(model).count_params() == model.count_params()
    assert all(type(layer).__module__.startswith("keras.") for layer in model.layers)


def test_margin_loss_by_hand():
    lengths, y = np.array([[0.95, 0.05, 0.1], [0.5, 0.4, 0.0], [0.0, 1.0, 1.0]], np.float32), np.array([0, 0, 0], np.int32)
    expected = [0, 0.4**2 + 0.5 * 0.3**2, 0.9**2 + 0.5 * 2 * 0.9**2]
    np.testing.assert_allclose(margin_loss(ops.convert_to_tensor(lengths), y), expected, atol=1e-6)


def test_the_papers_form_has_the_papers_sizes():
    """1,152 primary capsules; 8.2 million weights, 6.8 million of them in the classifier (section 4)."""
    plugin = registry.get("models", "capsnet")
    settings = settings_of(plugin, {"preset": "paper"})
    paper = plugin.function((28, 28, 1), 10, **settings)
    network, _ = plugin.objective(paper, settings)
    assert paper.get_layer("votes").input.shape == (None, 1152, 8)
    assert (round(paper.count_params() / 1e6, 1), round(network.count_params() / 1e6, 1)) == (6.8, 8.2)
    assert set(PRESETS["paper"]) <= set(plugin.settings)


def test_images_too_small_for_the_papers_form_are_refused():
    with pytest.raises(ConfigError, match="16 x 20 are too small for stem: paper, which needs 17 x 17"):
        capsnet((16, 20, 3), 4, stem="paper")


def test_the_image_is_reconstructed_from_the_capsule_of_its_class(model, digits):
    """Other labels give other images; with all else equal a larger error is a larger loss, by its weight."""
    network, losses = objective(model, reconstruction=0.0, decoder=(16,))
    _, heavier = objective(model, reconstruction=0.5, decoder=(16,))
    x, labels = ops.convert_to_tensor(digits), np.zeros(4, np.int32)
    restored = [np.asarray(network([x, ops.one_hot(labels + label, 10)])[1]) for label in (0, 1)]
    assert np.abs(restored[0] - restored[1]).max() > 1e-6
    assert restored[0].shape == digits.shape
    plain, added = (each(x, labels, Rng.from_seed(0), False) for each in (losses, heavier))
    np.testing.assert_allclose(plain["loss"], plain["margin_loss"])
    np.testing.assert_allclose(plain["reconstruction_loss"], np.square(restored[0] - digits).mean((1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(added["loss"], added["margin_loss"] + 0.5 * 784 * added["reconstruction_loss"], rtol=1e-5)
