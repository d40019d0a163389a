"""A trained L-net and 256 images on which ART, Foolbox and CleverHans were measured: we must agree, or be stronger.

Runs where ADVRUN_REFERENCE names the folder with `lnet.keras` and `images.npz` (x uint8, y uint8).
"""

from __future__ import annotations

import numpy as np
import pytest

from advrun import L1, L2, Classifier, Linf, attacks
from advrun.engine import keras


@pytest.fixture(scope="module")
def reference(reference_folder):
    with np.load(reference_folder / "images.npz") as arrays:
        x, y = arrays["x"] / np.float32(255), arrays["y"].astype(np.int32)
    return Classifier.from_file(reference_folder / "lnet.keras"), x, y


def test_clean_accuracy_is_that_of_plain_keras(reference, reference_folder):
    classifier, x, y = reference
    model = keras.models.load_model(reference_folder / "lnet.keras")
    assert classifier.accuracy(x, y) == (model.predict(x, verbose=0).argmax(-1) == y).mean() == 239 / 256


def test_fgsm_is_the_formula_on_every_image(reference):
    """x + eps sign(grad), computed here by plain Keras and TensorFlow; 81 of 256 images survive, as in all peers."""
    classifier, x, y = reference
    tf = pytest.importorskip("tensorflow")
    with tf.GradientTape() as tape:
        inputs = tf.Variable(x)
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(y, classifier.model(inputs))
    expected = np.clip(x + np.float32(8 / 255) * np.sign(tape.gradient(loss, inputs)), 0, 1)
    x_adv = attacks.fgsm(classifier, x, y, Linf(8 / 255))
    # A gradient within rounding of zero may have either sign; no image may differ in what it is taken for.
    assert (np.abs(x_adv - expected) > 1e-6).mean() < 1e-4
    np.testing.assert_array_equal(classifier.predict(x_adv).argmax(-1), classifier.predict(expected).argmax(-1))
    assert classifier.accuracy(x_adv, y) == 81 / 256


def test_pgd_is_as_strong_as_the_best_peer(reference):
    classifier, x, y = reference
    for seed in range(3):
        assert classifier.accuracy(attacks.pgd(classifier, x, y, Linf(8 / 255), steps=40, seed=seed), y) <= 0.20


@pytest.mark.slow
def test_apgd_in_l1_is_as_strong_as_the_authors(reference):
    """Their l1-APGD leaves 23.8 % in a ball of 8."""
    classifier, x, y = reference
    assert classifier.accuracy(attacks.apgd_l1(classifier, x, y, L1(8.0)), y) <= 0.2422


@pytest.mark.slow
def test_cw_leaves_no_survivor_at_the_best_peers_distance(reference):
    classifier, x, y = reference
    x_adv = attacks.cw(classifier, x, y, preset="fast")
    assert classifier.accuracy(x_adv, y) == 0
    assert np.sqrt(np.square(x_adv - x).sum((1, 2, 3))).mean() <= 0.650


@pytest.mark.slow
def test_fmn_crosses_every_boundary(reference):
    """With the paper's steps towards the linearised boundary three images stop a hair before it, here and in adv-lib."""
    classifier, x, y = reference
    x_adv = attacks.fmn(classifier, x, y, L2())
    assert classifier.accuracy(x_adv, y) == 0
    assert np.asarray(L2.distance(x_adv, x)).mean() < 0.60
