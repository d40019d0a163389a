"""The capsule network: its formulas by hand, routing against the published procedure, its gradient numerically, its published sizes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from advrun import Classifier, engine, registry
from advrun.cli import main
from advrun.config.entries import settings_of
from advrun.engine import Rng, keras, ops, tf
from advrun.errors import ConfigError
from advrun.models.capsnet import PRESETS, TOTAL, capsnet, margin_loss, objective, routed, shifted, squash
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
    votes, weights = rng.normal(size=(1, 3, 4, 2)), rng.normal(size=(1, 3))

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
    network, losses = objective(model, shift=2, reconstruction=0.0, decoder=(16,))
    _, heavier = objective(model, shift=2, reconstruction=0.5, decoder=(16,))
    x, labels = ops.convert_to_tensor(digits), np.zeros(4, np.int32)
    restored = [np.asarray(network([x, ops.one_hot(labels + label, 10)])[1]) for label in (0, 1)]
    assert np.abs(restored[0] - restored[1]).max() > 1e-6
    assert restored[0].shape == digits.shape
    plain, added = (each(x, labels, Rng.from_seed(0), False) for each in (losses, heavier))
    np.testing.assert_allclose(plain["loss"], plain["margin_loss"])
    np.testing.assert_allclose(plain["reconstruction_loss"], np.square(restored[0] - digits).mean((1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(added["loss"], added["margin_loss"] + 0.5 * 784 * added["reconstruction_loss"], rtol=1e-5)


def test_moved_images_keep_their_pixels():
    """Each by its own number of pixels, at most two along each axis, the edge repeated; another key moves them otherwise."""
    x = np.random.default_rng(0).random((40, 5, 6, 2), np.float32)
    moved = np.asarray(shifted(ops.convert_to_tensor(x), 2, Rng.from_seed(1)))
    found = set()
    for before, after in zip(x, moved, strict=True):
        places = [
            (down, right)
            for down in range(-2, 3)
            for right in range(-2, 3)
            if np.array_equal(after, before[np.clip(np.arange(5) + down, 0, 4)][:, np.clip(np.arange(6) + right, 0, 5)])
        ]
        assert len(places) == 1
        found |= set(places)
    assert len(found) > 12
    assert {down for down, _ in found} == {right for _, right in found} == {-2, -1, 0, 1, 2}


@pytest.mark.slow
def test_it_is_trained_saved_and_attacked_like_any_other(toy_data, tmp_path):
    """From the command line, on half of the data. What is saved has no decoder, and plain Keras reads it."""
    arrays = {name: getattr(toy_data, name) for name in ("x_train", "y_train", "x_test", "y_test")}
    np.savez(tmp_path / "toy.npz", **arrays, group_train=toy_data.group)
    config = tmp_path / "toy.yaml"
    config.write_text(
        f"data: {{name: arrays, path: {tmp_path}/toy.npz, validation: 0.2}}\n"
        "models: [{name: capsnet, channels: 8, decoder: [16], shift: 0, train: {half: a}}]\n"
        "train: {epochs: 8, batch_size: 24, learning_rate: 0.01, patience: 12}\n"
        f"attacks: [{{name: fgsm, eps: 0.3}}]\nresults: {tmp_path}\n"
    )
    refused = CliRunner().invoke(main, ["train", str(config), "--set", "train.batch_size=100"])
    assert "train.batch_size is 100, but there are 96 training images" in refused.output, "of 240 a half, less the validation images"
    ran = CliRunner().invoke(main, ["attack", str(config)])
    assert ran.exit_code == 0, ran.output
    rows = [json.loads(row.read_text())["row"] for row in (tmp_path / "toy/rows").glob("*.json")]
    clean, attacked = (next(row for row in rows if row["attack"] == name) for name in ("clean", "fgsm"))
    assert clean["accuracy"] > 0.8
    assert attacked["accuracy"] < clean["accuracy"] - 0.2
    assert attacked["metrics"]["zero_gradients"] == 0
    (history,) = (tmp_path / "toy/models").glob("*.json")
    curves = json.loads(history.read_text())
    assert {"loss", "val_accuracy", "margin_loss", "reconstruction_loss"} <= set(curves)
    assert curves["reconstruction_loss"][-1] < curves["reconstruction_loss"][0]
    (file,) = (tmp_path / "toy/models").glob("*.keras")
    saved = keras.models.load_model(file, safe_mode=True)
    assert saved.count_params() == capsnet((8, 8, 3), 4, channels=8).count_params()
    assert np.mean(saved.predict(toy_data.x_test / np.float32(255), verbose=0).argmax(-1) == toy_data.y_test) == clean["accuracy"]
