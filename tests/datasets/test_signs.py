"""The drawn signs: the same bytes everywhere, tracks that are tracks, and photographs about as hard as GTSRB's."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from advrun.data import Dataset
from advrun.datasets._signs_artwork import SIGNS, artwork
from advrun.datasets._signs_camera import BRIGHTEST, WHITE, Camera, _resample, photograph
from advrun.datasets.signs import signs


@pytest.fixture(scope="module")
def data() -> Dataset:
    return signs(train=3 * 344, test=2 * 344)


def grey(x: np.ndarray) -> np.ndarray:
    """Grey images, each with mean 0 and length 1: (n, pixels)."""
    flat = x.mean(-1).reshape(len(x), -1)
    flat = flat - flat.mean(1, keepdims=True)
    return flat / (np.linalg.norm(flat, axis=1, keepdims=True) + 1e-9)


def nearest_mean_accuracy(x_train, y_train, x_test, y_test) -> float:
    means = grey(np.stack([x_train[y_train == label].mean(0) for label in range(43)]))
    return float((np.argmax(grey(x_test) @ means.T, 1) == y_test).mean())


def test_bytes_are_the_same_on_every_machine():
    # The digest changes when a drawing or a setting does, or when NumPy or Pillow change an algorithm.
    data = signs(train=400, test=50)
    digest = hashlib.sha256(data.x_train.tobytes() + data.x_test.tobytes() + data.y_train.tobytes() + data.group.tobytes())
    assert digest.hexdigest() == "77d8c4431d40b3ca063fe4bdd99372b8c08be8ff60dd549147ba61eb4bee3ac8"


def test_seed_decides_everything():
    first, again, other = signs(train=60, test=60, seed=5), signs(train=60, test=60, seed=5), signs(train=60, test=60, seed=6)
    assert first.fingerprint == again.fingerprint
    assert (first.x_train != other.x_train).mean() > 0.9
    assert (first.x_train != first.x_test).mean() > 0.9


@pytest.mark.parametrize(("train", "test"), [(1, 1), (43, 44), (345, 343)])
def test_small_sets_are_the_beginning_of_large_ones(data, train, test):
    small = signs(train=train, test=test)
    assert len(small.x_train) == len(small.y_train) == len(small.group) == train
    assert len(small.x_test) == len(small.y_test) == test
    for name in ("x_train", "y_train", "group"):
        np.testing.assert_array_equal(getattr(small, name), getattr(data, name)[:train])
    np.testing.assert_array_equal(small.x_test, data.x_test[:test])


def test_shapes_and_types(data):
    assert data.x_train.shape == (1032, 32, 32, 3)
    assert data.x_train.dtype == data.x_test.dtype == np.uint8
    assert data.y_train.dtype == data.y_test.dtype == data.group.dtype == np.int32
    assert signs(train=1, test=1, image_size=48).x_test.shape == (1, 48, 48, 3)


def test_any_43_images_from_the_start_show_every_class(data):
    for labels in (data.y_train, data.y_test):
        assert np.all(np.sort(labels.reshape(-1, 43), axis=1) == np.arange(43))


def test_classes_are_those_of_gtsrb(data, gtsrb_file):
    import h5py

    with h5py.File(gtsrb_file) as file:
        assert data.class_names == tuple(file.attrs["class_names"])


def test_tracks_show_one_sign(data):
    numbers, sizes = np.unique(data.group, return_counts=True)
    assert np.array_equal(numbers, np.arange(3 * 43))
    assert np.all(sizes == 8)
    for number in numbers:
        assert len(set(data.y_train[data.group == number])) == 1


def test_frames_of_a_track_are_more_alike_than_other_photographs_of_the_class(data):
    x = data.x_train.reshape(len(data.x_train), -1).astype(np.float32)
    within, between = [], []
    for label in range(43):
        rows = np.flatnonzero(data.y_train == label)
        distance = np.abs(x[rows, None] - x[None, rows]).mean(-1)
        same = data.group[rows, None] == data.group[None, rows]
        within.append(distance[same & ~np.eye(len(rows), dtype=bool)].mean())
        between.append(distance[~same].mean())
    assert np.mean(within) < 0.4 * np.mean(between)
    assert min(within) > 1


def test_a_track_grows_sharper():
    """The nearest frames of a track have more detail than the farthest."""
    x = signs(train=344, test=1).x_train.astype(np.float32).mean(-1)
    detail = np.abs(np.diff(x, axis=2)).mean((1, 2)).reshape(8, 43)
    assert np.median(detail.max(0) / detail.min(0)) > 1.15


def test_light_varies_as_in_gtsrb(data):
    """Ranges around the percentiles of GTSRB's test set, in brackets."""
    x = data.x_test.astype(np.float32).mean(-1)
    brightness, contrast = x.mean((1, 2)), x.std((1, 2))
    dark, median, bright = np.percentile(brightness, [5, 50, 95])
    assert 15 < dark < 32  # 23
    assert 65 < median < 95  # 79
    assert 160 < bright < 205  # 176
    low, middle, high = np.percentile(contrast, [5, 50, 95])
    assert 6 < low < 12  # 8
    assert 30 < middle < 46  # 40
    assert 65 < high < 85  # 77
    assert (data.x_test >= 254).mean() < 0.1


def test_signs_are_neither_noise_nor_trivial(data):
    accuracy = nearest_mean_accuracy(data.x_train, data.y_train, data.x_test, data.y_test)
    assert 0.15 < accuracy < 0.85


def test_what_is_learnt_here_helps_on_real_signs(data, gtsrb_file):
    import h5py

    with h5py.File(gtsrb_file) as file:
        x, y = file["test/images"][::4], file["test/labels"][::4]
    assert nearest_mean_accuracy(data.x_train, data.y_train, x, y) > 0.25


def test_artwork_tells_all_signs_apart():
    art = artwork(64)[:, 0].astype(np.float32).reshape(43, -1)
    distance = np.abs(art[:, None] - art[None]).mean(-1) + 1e3 * np.eye(43)
    assert distance.min() > 1


@pytest.mark.parametrize(("left", "right"), [("Turn left ahead", "Turn right ahead"), ("Keep left", "Keep right")])
def test_left_is_right_in_a_mirror(left, right):
    art = dict(zip(SIGNS, artwork(64).astype(np.float32), strict=True))
    mirrored = np.abs(art[left] - art[right][..., ::-1, :]).mean()
    assert mirrored < 0.2 * np.abs(art[left] - art[right]).mean()


def test_artwork_is_transparent_outside_and_opaque_inside():
    alpha = artwork(64)[..., 3]
    assert alpha[..., :3, :3].max() == 0
    assert alpha[..., 28:36, 28:36].min() == 255


def camera(count: int, **settings: float) -> Camera:
    values = {"pixel": 0.5, "defocus": 0.0, "motion_x": 0.0, "motion_y": 0.0, "noise": 0.0, **settings}
    return Camera(**{name: np.full(count, value, np.float32) for name, value in values.items()})


def test_sharp_and_quiet_camera_copies_the_scene():
    rng = np.random.default_rng(0)
    picture = rng.integers(256, size=(3, 20, 20, 3), dtype=np.uint8)
    radiance = (picture.transpose(0, 3, 1, 2) / np.float32(255)).astype(np.float32)
    np.testing.assert_array_equal(photograph(radiance, camera(3), rng), picture)


@pytest.mark.parametrize("settings", [{"pixel": 1.7}, {"motion_x": 3.0}, {"motion_y": 2.0, "defocus": 1.5}, {"pixel": 1.3, "defocus": 0.4}])
def test_blur_keeps_flat_scenes_and_takes_detail_from_others(settings):
    rng = np.random.default_rng(0)
    flat = photograph(np.full((2, 3, 24, 24), 0.4, np.float32), camera(2, **settings), rng)
    assert np.all(flat == 102)
    scene = rng.random((2, 3, 24, 24), np.float32)
    assert photograph(scene, camera(2, **settings), rng).std() < 0.75 * 255 * np.sqrt(1 / 12)


def test_motion_smears_along_its_own_axis_only():
    stripes = np.zeros((1, 3, 24, 24), np.float32)
    stripes[..., ::6, :] = 1  # horizontal lines
    along = photograph(stripes.copy(), camera(1, motion_x=4.0), np.random.default_rng(0))
    across = photograph(stripes.copy(), camera(1, motion_y=4.0), np.random.default_rng(0))
    assert along.max() == 255
    assert across.max() < 100


def test_sensor_saturates_and_its_noise_has_the_stated_size():
    rng = np.random.default_rng(0)
    assert np.all(photograph(np.full((1, 3, 16, 16), 3.0, np.float32), camera(1), rng) == 255)
    noisy = photograph(np.full((4, 3, 32, 32), 0.5, np.float32), camera(4, noise=0.05), rng) / 255
    assert noisy.std() == pytest.approx(0.05, rel=0.03)
    assert noisy.mean() == pytest.approx(0.5, abs=0.003)


def test_resampling_is_exact_integer_arithmetic():
    """The claim on which identical bytes rest: float32 sums equal those of 64-bit integers, even at the extremes."""
    rng = np.random.default_rng(1)
    image = rng.integers(BRIGHTEST - 9, BRIGHTEST + 1, (2, 3, 64, 64)).astype(np.float32)
    rows, columns = (rng.integers(30, 33, (2, 3, 64, 64)).astype(np.float32) for _ in range(2))
    assert np.array_equal(rows @ image, (rows.astype(np.int64) @ image.astype(np.int64)))
    assert np.abs(_resample(image, rows, columns) - image.mean((2, 3), keepdims=True)).max() <= 2
    assert WHITE < BRIGHTEST
