"""Rotation and translation against hand-turned images."""

from __future__ import annotations

import numpy as np
import pytest

from advrun import Classifier, attacks
from advrun.attacks._warp import positions, stretch, warp
from advrun.attacks.spatial import moved, transformations
from advrun.engine import keras


@pytest.fixture
def picture():
    return np.random.default_rng(0).uniform(size=(2, 5, 5, 3)).astype(np.float32)


def turn(x, degrees, down=0.0, right=0.0):
    n = len(x)
    return np.asarray(moved(x, np.full(n, degrees, np.float32), np.tile(np.array([down, right], np.float32), (n, 1))))


def test_quarter_turns_are_exact(picture):
    np.testing.assert_allclose(turn(picture, 90), np.rot90(picture, 1, (1, 2)), atol=1e-5)
    np.testing.assert_allclose(turn(picture, 180), np.rot90(picture, 2, (1, 2)), atol=1e-5)
    np.testing.assert_allclose(turn(picture, 0), picture, atol=1e-6)


def test_shifts_move_whole_pixels_and_leave_black(picture):
    moved_down = turn(picture, 0, down=0.2)
    np.testing.assert_allclose(moved_down[:, 1:], picture[:, :-1], atol=1e-5)
    assert not moved_down[:, 0].any()
    moved_left = turn(picture, 0, right=-0.4)
    np.testing.assert_allclose(moved_left[:, :, :-2], picture[:, :, 2:], atol=1e-5)


def test_half_a_pixel_is_the_mean_of_two(picture):
    rows, columns = positions(picture)
    between = np.asarray(warp(picture, np.asarray(rows).repeat(2, 0), np.asarray(columns).repeat(2, 0) + 0.5))
    np.testing.assert_allclose(between[:, :, :-1], (picture[:, :, 1:] + picture[:, :, :-1]) / 2, atol=1e-6)


def test_stretching_is_warping_where_the_places_are_a_grid(picture):
    rows, columns = np.linspace(-1.5, 5.2, 5, dtype=np.float32), np.linspace(4.0, 0.3, 5, dtype=np.float32)
    grid = [np.tile(part, (2, 1, 1)) for part in np.meshgrid(rows, columns, indexing="ij")]
    found = stretch(picture, np.tile(rows, (2, 1)), np.tile(columns, (2, 1)))
    np.testing.assert_allclose(found, warp(picture, *grid), atol=1e-6)


def test_the_papers_grid():
    grid = transformations(31, 5)
    assert len(grid) == 775
    assert (grid == 0).all(1).any()
    assert np.abs(grid).max() == 1


def test_it_finds_the_one_shift_that_works():
    """A model that looks at one corner pixel: only a shift of one pixel to the right and down brings light into it."""
    inputs = keras.Input((10, 10, 1))
    corner = keras.layers.Flatten()(inputs[:, 9:, 9:])
    dense = keras.layers.Dense(2)
    model = Classifier(keras.Model(inputs, dense(corner)))
    dense.set_weights([np.array([[0.0, 10.0]], np.float32), np.array([5.0, 0.0], np.float32)])
    x = np.zeros((1, 10, 10, 1), np.float32)
    x[0, 8, 8] = 1
    y = np.zeros(1, np.int32)
    x_adv = attacks.spatial(model, x, y, max_rotation=0, max_translation=0.1, rotations=1, translations=3)
    assert model.accuracy(x_adv, y) == 0
    np.testing.assert_allclose(x_adv[0, 9, 9], 1, atol=1e-5)
    np.testing.assert_allclose(attacks.spatial(model, x, y, max_rotation=0, max_translation=0.0), x, atol=1e-6)
