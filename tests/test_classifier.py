"""Classifiers: the same numbers as Keras, always logits, never a silent guess."""

from __future__ import annotations

import numpy as np
import pytest

from advrun import Classifier
from advrun.engine import keras, tf
from advrun.errors import DataError
from advrun.losses import cross_entropy, margin

from .conftest import CLASSES, IMAGE_SHAPE

layers = keras.layers


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


def test_labels_of_another_shape_are_refused_instead_of_broadcast(network, images):
    for labels in (np.zeros((10, 2), int), np.full((10, CLASSES), 0.2), np.full(10, 0.5)):
        with pytest.raises(DataError, match="one class number per image"):
            network.accuracy(images, labels)


def test_targeted_views_count_on_the_same_counter(network):
    assert network.toward().counter is network.counter


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
