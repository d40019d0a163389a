"""Stickers on signs: views against the geometry they stand for, shapes within their limits, inks, and the attack as a person runs it."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from advrun import Classifier, attacks, registry
from advrun.attack import Attack
from advrun.attacks import _camera, _ink, _seen
from advrun.attacks._camera import FOCUS, Limits, View
from advrun.attacks._shapes import FINE, OUTLINES, Sign, read_mask, shrunk
from advrun.config import loads
from advrun.config.entries import settings_of
from advrun.craft import craft
from advrun.engine import Rng, ops
from advrun.errors import ConfigError, DataError
from advrun.survey import BARE, NO_CLASS, NOISE, STICKER, Survey, surveyed
from advrun.system import Detector
from advrun.system.detectors import Thresholded

LIMITS = Limits(3.0, 40.0, 0.3, 0.7)
FEW = {"mask": "bars", "steps": 25, "step_size": 0.1, "outline": "square", "cover": 0.5, "distance": 1.5, "angle": 20.0, "light": 0.1}


def view(n: int = 1, **given: float) -> View:
    still = dict.fromkeys(View._fields, 0.0) | {"distance": 1.0, "light": 1.0, "zoom": 1.0}
    return View(**{name: np.full(n, value, np.float32) for name, value in (still | given).items()})


# Views ----------------------------------------------------------------------------------------------------------------


def test_a_view_from_the_front_changes_nothing(images):
    np.testing.assert_allclose(np.asarray(_camera.photographed(images, view(10), LIMITS)), images, atol=1e-5)


@pytest.mark.parametrize("turn", [{"yaw": 30.0}, {"pitch": -20.0}, {"roll": 10.0}, {"yaw": 25.0, "pitch": 15.0, "roll": -8.0}])
def test_a_turned_plane_is_seen_where_projection_puts_it(turn):
    """Points of the plane, turned by rotation matrices and projected by a pinhole, are found at their own brightness."""
    side = 65
    grid = (np.arange(side) * 2 + 1) / side - 1
    x = np.broadcast_to(grid[None, None, :, None], (1, side, side, 1))
    x = (np.concatenate([x, np.swapaxes(x, 1, 2)], -1).astype(np.float32) + 1) / 2  # each pixel holds its own place
    seen = np.asarray(_camera.turned(x, view(**turn)))[0] * 2 - 1
    yaw, pitch, roll = (np.deg2rad(turn.get(name, 0.0)) for name in ("yaw", "pitch", "roll"))
    (cy, sy), (cp, sp), (cr, sr) = ((np.cos(angle), np.sin(angle)) for angle in (yaw, pitch, roll))
    about_y, about_x = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]]), np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    for place in ((0.0, 0.0), (0.4, -0.3), (-0.5, 0.45)):
        point = about_z @ about_y @ about_x @ np.array([*place, 0.0]) + np.array([0, 0, FOCUS])
        u, v = FOCUS * point[0] / point[2] / cy, FOCUS * point[1] / point[2] / cp
        column, row = (((each + 1) * side - 1) / 2 for each in (u, v))
        there = seen[round(row), round(column)]
        slope = 2 / side * 1.6
        assert np.abs(there - place).max() <= slope, (place, there)


@pytest.mark.parametrize("distance", [1.0, 2.0, 4.0])
def test_distance_averages_as_pillow_does(distance):
    x = np.random.default_rng(0).uniform(size=(1, 32, 32, 1)).astype(np.float32)
    few = round(32 / distance)
    small = Image.fromarray(x[0, ..., 0]).resize((few, few), Image.Resampling.BILINEAR)
    large = np.asarray(small.resize((32, 32), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(np.asarray(_camera.farther(x, np.float32([distance])))[0, ..., 0], large, atol=1e-4)


def test_drawn_views_keep_their_limits():
    drawn = [np.asarray(each) for each in _camera.drawn(Rng.from_seed(0), 500, LIMITS)]
    seen = View(*drawn)
    assert 1 <= seen.distance.min() < 1.1
    assert 2.9 < seen.distance.max() <= 3
    assert 35 < np.abs(seen.yaw).max() <= 40
    assert np.abs(seen.pitch).max() <= 40 / 3
    assert 0.7 <= seen.light.min() < seen.light.max() <= 1.3


# Shapes and inks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outline", OUTLINES)
@pytest.mark.parametrize("mask", ["bars", "graffiti", "border"])
def test_a_shape_covers_what_it_may_and_no_more(outline, mask):
    sign = Sign(outline, 0.9)
    cut = sign.grown(getattr(sign, mask), 0.3, markers=True)
    assert 0.27 <= sign.covered(cut) <= 0.3
    assert not (cut.covered & ~sign.outline).any()
    assert (cut.kinds > 0).sum() == cut.covered.sum()
    share, free, white = cut.planes(32, 32).transpose(2, 0, 1)
    assert (free + white <= share + 1e-6).all()


def test_the_octagon_is_regular():
    """Area 8 (sqrt 2 - 1) of a square of 4, over the whole image at fill 1."""
    assert Sign("octagon", 1.0).outline.mean() == pytest.approx(2 * (2**0.5 - 1), abs=5e-3)


def test_markers_alone_may_be_too_much():
    sign = Sign("octagon", 0.9)
    with pytest.raises(ConfigError, match="markers: false"):
        sign.grown(sign.bars, 0.03, markers=True)


def test_a_mask_is_read_from_a_picture(tmp_path):
    path = tmp_path / "mask.png"
    plain = np.zeros((100, 100), np.uint8)
    plain[:50] = 255
    Image.fromarray(plain).save(path)
    assert read_mask(str(path)).mean() == pytest.approx(0.5, abs=0.01)
    Image.merge("LA", [Image.new("L", (100, 100), 0), Image.fromarray(plain)]).save(path)
    assert read_mask(str(path))[: FINE // 2].all()
    for content in (b"", b"no picture", path.read_bytes()[:60]):
        path.write_bytes(content)
        with pytest.raises(DataError, match="give a PNG"):
            read_mask(str(path))
    Image.new("L", (4, 4)).save(path)
    with pytest.raises(DataError, match="black everywhere"):
        read_mask(str(path))


def test_inks_are_printable_and_what_lies_between_them_is_less():
    inks = np.array(_ink.INKS, np.float32)[None, None] / 255
    share = np.ones(inks.shape[1:3], np.float32)
    printed, between = (np.asarray(_ink.nonprintability(each, share))[0] for each in (inks, (inks + np.roll(inks, 1, 2)) / 2))
    assert printed < 2e-3
    assert between > 20 * printed


def test_a_sticker_is_as_bright_as_the_white_of_the_photograph():
    sign = Sign("square", 1.0)
    x = np.full((2, 8, 8, 3), 0.2, np.float32)
    x[0, :3], x[1, :3] = 0.9, 0.5
    sticker = np.zeros((1, 8, 8, 4), np.float32)
    sticker[:, 6, 6] = (1, 0.5, 0, 1)
    there = np.array(_ink.stuck(x, sticker, sign.outline))
    np.testing.assert_allclose(there[:, 6, 6], [[0.9, 0.45, 0], [0.5, 0.25, 0]], atol=1e-6)
    there[:, 6, 6] = x[:, 6, 6]
    np.testing.assert_array_equal(there, x)


# The attack -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def learnt(victim, toy_data):
    """The attack from class 0 to class 3, crafted on test images, and its survey."""
    attack = Attack(registry.get("attacks", "sticker"), None, settings_of(registry.get("attacks", "sticker"), FEW))
    own, test = toy_data.y_train == 0, toy_data.y_test == 0
    x, y = toy_data.x_test[test], toy_data.y_test[test]
    crafted = craft(victim, attack, x, y, target=3, train=(toy_data.x_train[own], toy_data.y_train[own]))
    return attack, crafted, x, surveyed(victim, attack, crafted, x, y, seed=0)


def test_it_makes_another_class_of_a_sign_and_noise_does_not(learnt, victim):
    _, crafted, _, survey = learnt
    assert (victim.predict(crafted.x_adv).argmax(-1) == 3)[crafted.attacked].mean() > 0.8
    for predictions in (survey.plain, survey.moved):
        share, low, high = survey.success(predictions[STICKER])
        assert low <= share <= high
        assert share > survey.success(predictions[NOISE])[0] + 0.3
        assert survey.success(predictions[BARE])[0] < 0.2


def test_only_the_sticker_changes_and_it_covers_what_it_may(learnt):
    attack, crafted, x, survey = learnt
    changed = (crafted.x_adv[crafted.attacked] != x[crafted.attacked] / np.float32(255)).any((0, 3))
    hidden = survey.stickers[0, ..., -1] > 0
    assert not (changed & ~hidden).any()
    sign = Sign("square", attack.settings["fill"])
    assert (survey.stickers[0, ..., -1] * shrunk(sign.outline, 8, 8)).sum() / shrunk(sign.outline, 8, 8).sum() <= 0.5 + 1e-3
    assert survey.cover[0] <= 0.5


def test_the_survey_is_what_the_stickers_do(learnt, victim):
    """Row 0 of `plain` are the predictions of the adversarial images themselves."""
    _, crafted, x, survey = learnt
    np.testing.assert_array_equal(survey.plain[STICKER], victim.predict(crafted.x_adv[crafted.attacked]).argmax(-1))
    np.testing.assert_array_equal(survey.plain[BARE], victim.predict(x[crafted.attacked]).argmax(-1))
    assert survey.grid.shape == (3, 5, 5, crafted.attacked.sum())
    assert survey.distances[[0, -1]] == pytest.approx([1, 1.5])
    assert survey.angles[[0, -1]] == pytest.approx([0, 20])


@pytest.mark.parametrize("target", [None, pytest.param(3, marks=pytest.mark.slow)])
def test_what_a_detector_rejects_reaches_nothing(learnt, victim, target):
    """A sticker that is rejected everywhere has left no class and reached none, with *rejected* written as such."""
    attack, crafted, x, _ = learnt
    pale = Detector(lambda x, logits: 0 * ops.mean(x, axis=(1, 2, 3)))
    y = np.zeros(len(x), np.int32)
    if target is None:  # the same sticker, as one that shall lead away from the class
        crafted = SimpleNamespace(target=None, fitted=crafted.fitted[3:4], attacked=crafted.attacked)
    for threshold, rejected in ((-1.0, True), (1.0, False)):
        guarded = Classifier(replace(victim.chain, detectors=(Thresholded(pale, threshold, 1.0, 0),)))
        survey = surveyed(guarded, attack, crafted, x, y, seed=0)
        assert (survey.plain == NO_CLASS).all() == rejected
        assert (survey.success(survey.plain[STICKER])[0] == 0) == rejected
        assert not survey.reached(survey.grid[survey.grid == NO_CLASS][:, None]).any()


def test_a_survey_survives_the_disk_and_damage_is_told(learnt, tmp_path):
    survey, path = learnt[-1], tmp_path / "survey.npz"
    survey.write(path)
    again = Survey.read(path)
    for name, value in vars(survey).items():
        np.testing.assert_array_equal(getattr(again, name), value)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"PK"):
        path.write_bytes(content)
        with pytest.raises(DataError, match="no survey"):
            Survey.read(path)


def test_noise_keeps_the_markers():
    sign = Sign("octagon", 0.92)
    planes = sign.grown(sign.bars, 0.2, markers=True).planes(32, 32)
    stickers = np.concatenate([planes[None, ..., 1:2] * np.float32([0.3, 0.3, 0.3]) + planes[None, ..., 2:], planes[None, ..., :1]], -1)
    noisy = _seen.noise(stickers, planes[None], Rng.from_seed(1))
    marked = planes[..., 1] == 0
    np.testing.assert_allclose(noisy[0, marked], stickers[0, marked], atol=1e-6)
    assert np.abs(noisy - stickers).max() > 0.3


@pytest.mark.slow
def test_the_mask_of_the_l1_step_lies_where_it_matters(victim, toy_data):
    """The victim tells classes by their bright quadrants; towards the last class something must become bright there, or dark in the own."""
    settings = FEW | {"mask": "l1", "markers": False, "cover": 0.25}
    own = toy_data.y_train == 0
    x, y = toy_data.x_train[own], toy_data.y_train[own]
    x_adv = attacks.sticker(victim, x[:8], y[:8], target=3, train=(x, y), **settings)
    assert (victim.predict(x_adv).argmax(-1) == 3).mean() > 0.8
    share = (x_adv != x[:8] / np.float32(255)).any((0, 3))
    quadrants = [share[:4, :4].mean(), share[4:, 4:].mean()]
    assert max(quadrants) > max(share[:4, 4:].mean(), share[4:, :4].mean())


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"distance": 0.5}, "distance is 0.5"), ({"angle": 85.0}, "angle is 85"), ({"mask": "stars"}, "mask"), ({"cover": 0.0}, "cover")],
)
def test_views_that_no_camera_has_are_refused(victim, toy_data, settings, said):
    with pytest.raises(ConfigError, match=said):
        attacks.sticker(victim, toy_data.x_test[:4], toy_data.y_test[:4], **FEW | settings)


def test_a_picture_that_covers_too_much_is_refused(victim, toy_data, tmp_path):
    Image.new("L", (8, 8), 255).save(tmp_path / "all.png")
    with pytest.raises(ConfigError, match=r"all\.png: it covers 100\.0% of the sign"):
        attacks.sticker(victim, toy_data.x_test[:4], toy_data.y_test[:4], picture=str(tmp_path / "all.png"), **FEW | {"markers": False})


# One class ------------------------------------------------------------------------------------------------------------

CONFIG = "name: one\ndata: {{name: signs}}\nmodels: [{{name: lnet}}]\nattacks: [{}]\n"


def test_an_attack_without_a_norm_may_concern_one_class():
    for entry in ("{name: sticker, source_class: 2, target: 1}", "{name: patch, source_class: 2}"):
        assert loads(CONFIG.format(entry)).attacks[0].source_class == 2
    assert loads(CONFIG.format("{name: sticker}")).attacks[0].source_class is None


def test_an_attack_in_a_norm_concerns_all():
    with pytest.raises(ConfigError, match="worst case is over the same images"):
        loads(CONFIG.format("{name: pgd, eps: 8/255, source_class: 2}"))
