"""The weakest degradation, on a model whose threshold is known."""

from __future__ import annotations

import numpy as np
import pytest

from advrun import L0, Classifier, attacks
from advrun.engine import keras


@pytest.fixture(scope="module")
def dark() -> Classifier:
    """Class 1 once the first of the pixels is darker than 0.7."""
    inputs = keras.Input((8, 8, 1))
    dense = keras.layers.Dense(2)
    model = keras.Model(inputs, dense(keras.layers.Flatten()(inputs[:, :1, :1])))
    dense.set_weights([np.array([[1.0, 0.0]], np.float32), np.array([0.0, 0.7], np.float32)])
    return Classifier(model)


def test_contrast_falls_just_far_enough(dark):
    x, y = np.full((3, 8, 8, 1), 0.9, np.float32), np.zeros(3, np.int32)
    x_adv = attacks.degradation(dark, x, y, kind="contrast")
    np.testing.assert_allclose(x_adv, 0.7, atol=1e-4)
    assert dark.accuracy(x_adv, y) == 0


def test_salt_and_pepper_is_black_and_white_and_nested(dark):
    x, y = np.full((3, 8, 8, 1), 0.9, np.float32), np.zeros(3, np.int32)
    x_adv = attacks.degradation(dark, x, y, L0(), kind="salt_and_pepper")
    fooled = dark.predict(x_adv).argmax(-1) == 1
    assert set(np.unique(x_adv[x_adv != x])) <= {0, 1}
    assert (x_adv[fooled][:, 0, 0] == 0).all()
    np.testing.assert_array_equal(x_adv[~fooled], x[~fooled])


def test_blur_brings_darkness_in_from_the_side(dark):
    x, y = np.full((1, 8, 8, 1), 0.9, np.float32), np.zeros(1, np.int32)
    x[:, :, 1:] = 0.0
    x_adv = attacks.degradation(dark, x, y, kind="blur")
    assert x_adv[0, 0, 0, 0] == pytest.approx(0.7, abs=1e-3)
