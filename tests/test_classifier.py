"""Classifiers: the same numbers as Keras, always logits, never a silent guess."""

from __future__ import annotations

import numpy as np
import pytest

from advrun import Classifier
from advrun.engine import keras, tf
from advrun.errors import DataError, ModelError
from advrun.losses import cross_entropy, margin
from advrun.system.kerasmodel import fresh_copy, full_precision, save_model

from .conftest import CLASSES, IMAGE_SHAPE

layers = keras.layers


def body(ending) -> keras.Model:
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input(IMAGE_SHAPE), layers.Flatten(), layers.Dense(9, activation="tanh"), *ending()])


ENDINGS = {
    "logits": lambda: [layers.Dense(CLASSES)],
    "dense softmax": lambda: [layers.Dense(CLASSES, activation="softmax")],
    "softmax layer": lambda: [layers.Dense(CLASSES), layers.Softmax()],
    "activation layer": lambda: [layers.Dense(CLASSES), layers.Activation("softmax")],
    "softmax twice": lambda: [layers.Dense(CLASSES, activation="softmax"), layers.Softmax()],
    "softmax three times": lambda: [layers.Dense(CLASSES, activation="softmax"), layers.Activation("softmax"), layers.Softmax()],
    "dropout behind softmax": lambda: [layers.Dense(CLASSES, activation="softmax"), layers.Dropout(0.5)],
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_softmax_is_cut_off(ending, images):
    expected = body(ENDINGS["logits"]).predict(images, verbose=0)
    model = body(ENDINGS[ending])
    before = model.predict(images, verbose=0)
    np.testing.assert_allclose(Classifier(model).predict(images), expected, atol=1e-5)
    np.testing.assert_array_equal(model.predict(images, verbose=0), before)


def test_softmax_inside_a_nested_model(images):
    inner = keras.Sequential([keras.Input(IMAGE_SHAPE), layers.Flatten(), layers.Dense(CLASSES, activation="softmax")])
    inputs = keras.Input(IMAGE_SHAPE)
    model = keras.Model(inputs, inner(layers.Rescaling(1.0)(inputs)))
    logits = Classifier(model).predict(images)
    assert np.abs(logits.sum(1) - 1).max() > 0.01
    np.testing.assert_allclose(keras.ops.softmax(logits), model.predict(images, verbose=0), atol=1e-5)


class Normaliser(layers.Layer):
    """A home-made softmax, which nobody can see from outside."""

    def call(self, x):
        return keras.ops.softmax(x)


@pytest.mark.parametrize(
    ("ending", "reason"),
    [
        (lambda: [layers.Dense(CLASSES), Normaliser()], "probabilities"),
        (lambda: [layers.Dense(CLASSES, activation="sigmoid")], "sigmoid"),
        (lambda: [layers.Dense(1)], "at least 2 classes"),
        (lambda: [layers.Dense(4), layers.Reshape((2, 2))], "expected images"),
    ],
)
def test_what_has_no_logits_is_refused_with_the_reason(ending, reason):
    with pytest.raises(ModelError, match=reason):
        Classifier(body(ending))


def test_inference_mode(images):
    model = keras.Sequential(
        [keras.Input(IMAGE_SHAPE), layers.Dropout(0.9), layers.Flatten(), layers.BatchNormalization(), layers.Dense(3)]
    )
    classifier = Classifier(model)
    np.testing.assert_array_equal(classifier.predict(images), classifier.predict(images))
    np.testing.assert_allclose(classifier.predict(images), model.predict(images, verbose=0), atol=1e-5)


def test_ragged_batches_do_not_change_the_numbers(network, images):
    np.testing.assert_allclose(network.predict(images, batch_size=4), network.predict(images, batch_size=10), atol=1e-5)
    assert len(network.predict(images[:1])) == 1


def test_8_bit_images_are_the_same_images(network, images):
    grey = np.rint(images * 255).astype(np.uint8)
    np.testing.assert_allclose(network.predict(grey), network.predict(grey / np.float32(255)), atol=1e-6)


def test_the_targeted_view_negates_every_loss(network, images):
    y = np.arange(10, dtype=np.int32) % CLASSES
    toward = network.toward()
    for loss in (cross_entropy, margin):
        np.testing.assert_allclose(toward.gradient(loss, images, y), -np.asarray(network.gradient(loss, images, y)), atol=1e-6)
    logits = network.predict(images)
    np.testing.assert_array_equal(np.asarray(toward.lead(logits, y)) > 0, logits.argmax(-1) == y)
    np.testing.assert_array_equal(np.asarray(network.lead(logits, y)) > 0, logits.argmax(-1) != y)


def test_a_lead_that_rounding_may_take_is_none(network):
    """Neither towards the class nor away from it, and however small other logits are: some models hide a class so."""
    for hidden in (-3, -1e8):
        logits, y = np.float32([[9, 9.00001, hidden], [9, 9.001, hidden], [900, 900.001, hidden]]), np.int32([0, 0, 0])
        assert (np.asarray(network.lead(logits, y)) > 0).tolist() == [False, True, False]
        assert (np.asarray(network.toward().lead(logits, 1 - y)) > 0).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("x", "reason"),
    [
        (np.zeros((0, *IMAGE_SHAPE)), "no images"),
        (np.zeros((2, 5, 5, 3)), "the model takes"),
        (np.full((2, *IMAGE_SHAPE), 255.0), r"\[0, 1\]"),
        (np.full((2, *IMAGE_SHAPE), np.nan), "NaN"),
    ],
)
def test_bad_images_are_refused(network, x, reason):
    with pytest.raises(DataError, match=reason):
        network.predict(x)


def test_files(network, images, tmp_path):
    for name in ("model.keras", "model.h5"):
        network.model.save(tmp_path / name)
        np.testing.assert_allclose(Classifier.from_file(tmp_path / name).predict(images), network.predict(images), atol=1e-6)
    with pytest.raises(ModelError, match="no such model file"):
        Classifier.from_file(tmp_path / "absent.keras")
    (tmp_path / "broken.keras").write_bytes(b"not a zip file")
    with pytest.raises(ModelError, match="damaged"):
        Classifier.from_file(tmp_path / "broken.keras")
    (tmp_path / "broken.h5").write_bytes(b"not an HDF5 file")
    with pytest.raises(ModelError, match="cannot load"):
        Classifier.from_file(tmp_path / "broken.h5")
    (tmp_path / "model.txt").write_text("")
    with pytest.raises(ModelError, match=r"\.keras or \.h5"):
        Classifier.from_file(tmp_path / "model.txt")


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_code_in_a_model_file_is_not_run(ending, tmp_path):
    model = keras.Sequential([keras.Input(IMAGE_SHAPE), layers.Lambda(lambda x: x * 2), layers.Flatten(), layers.Dense(3)])
    model.save(tmp_path / f"lambda{ending}")
    with pytest.raises(ModelError, match="cannot load"):
        Classifier.from_file(tmp_path / f"lambda{ending}")


def test_labels_of_another_shape_are_refused_instead_of_broadcast(network, images):
    for labels in (np.zeros((10, 2), int), np.full((10, CLASSES), 0.2), np.full(10, 0.5)):
        with pytest.raises(DataError, match="one class number per image"):
            network.accuracy(images, labels)


def test_targeted_views_count_on_the_same_counter(network):
    assert network.toward().counter is network.counter


def test_nested_sigmoid_is_refused():
    inner = keras.Sequential([keras.Input(IMAGE_SHAPE), layers.Flatten(), layers.Dense(CLASSES, activation="sigmoid")])
    inputs = keras.Input(IMAGE_SHAPE)
    with pytest.raises(ModelError, match="sigmoid"):
        Classifier(keras.Model(inputs, inner(inputs)))


def test_a_fresh_copy_keeps_what_is_not_trained(images):
    keras.utils.set_random_seed(1)
    normal = layers.Normalization()
    normal.adapt(images)
    frozen = layers.Conv2D(2, 3, trainable=False)
    model = keras.Sequential([keras.Input(IMAGE_SHAPE), normal, frozen, layers.Flatten(), layers.Dense(3)])
    copy = fresh_copy(model)
    for index in (0, 1):
        for old, new in zip(model.layers[index].get_weights(), copy.layers[index].get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)
    assert (model.layers[-1].get_weights()[0] != copy.layers[-1].get_weights()[0]).all()


def test_half_precision_models_are_attacked_in_full(images):
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        outer = keras.Sequential([keras.Input(IMAGE_SHAPE), layers.Flatten(), layers.Dense(CLASSES, dtype="float32")])
        inputs = keras.Input(IMAGE_SHAPE)
        model = keras.Model(inputs, outer(layers.Conv2D(3, 3, padding="same")(inputs)))
    finally:
        keras.mixed_precision.set_global_policy("float32")
    full = full_precision(model)
    assert {layer.compute_dtype for layer in full._flatten_layers(include_self=False)} == {"float32"}
    np.testing.assert_allclose(full.predict(images, verbose=0), model.predict(images, verbose=0), atol=0.02)


def test_saved_files_have_the_same_bytes_for_the_same_model(tmp_path):
    for name in ("a", "b"):
        keras.utils.clear_session()
        keras.utils.set_random_seed(0)
        save_model(body(lambda: [layers.Dense(CLASSES)]), tmp_path / f"{name}.keras")
    assert (tmp_path / "a.keras").read_bytes() == (tmp_path / "b.keras").read_bytes()
    Classifier.from_file(tmp_path / "a.keras")


@pytest.mark.parametrize("classes", [2, 5])
def test_cross_entropy_is_exact_where_a_model_is_sure(classes):
    """Also its gradient; scores that round to 0 would stop every attack that compares them."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (40, classes)).astype(np.float32)
    y = np.arange(40) % classes
    logits[np.arange(40), y] += np.linspace(-30, 60, 40).astype(np.float32)
    exact = logits.astype(np.float64)
    gaps = np.log(np.exp(exact - exact[np.arange(40), y][:, None])[np.arange(classes) != y[:, None]].reshape(40, -1).sum(-1))
    x = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = cross_entropy(x, tf.constant(y, tf.int32))
    np.testing.assert_allclose(loss, np.logaddexp(0, gaps), rtol=2e-5)
    slope = np.asarray(tape.gradient(loss, x))
    np.testing.assert_allclose(-slope[np.arange(40), y], 1 / (1 + np.exp(-gaps)), rtol=2e-5)
    np.testing.assert_allclose(slope.sum(-1), 0, atol=1e-6)
