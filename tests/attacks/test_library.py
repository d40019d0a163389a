"""What single attacks promise beyond the contract: the numbers in their papers, where libraries are known to differ."""

from __future__ import annotations

import logging
import math
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from advrun import L0, L1, L2, Classifier, Linf, attacks, engine, registry
from advrun.attack import Attack
from advrun.attacks import _apgd, _decision, _hyperplane, _momentum, _search
from advrun.attacks._best import Best
from advrun.config.entries import settings_of
from advrun.contract.distances import distances_found
from advrun.contract.victims import well_inside
from advrun.craft import _Work, craft
from advrun.engine import Rng, ops
from advrun.losses import cross_entropy, dlr, targeted_dlr

from ..conftest import IMAGE_SHAPE, boundary_distances, linear_classifier
from ..test_attacks import bound


def module(name: str):
    """The file of an attack; `attacks.NAME` is its Python form."""
    return registry.get("attacks", name).module


def test_autoattack_is_autoattack():
    """Members, order and budgets as in its section 5; others would be AutoAttack-like (Croce and Hein, 2020)."""
    stages = module("autoattack").VERSIONS["standard"]
    assert [stage.attack for stage in stages] == ["apgd", "apgd", "fab", "square"]
    assert [stage.settings.get("loss") for stage in stages[:2]] == ["ce", "targeted_dlr"]
    assert stages[1].settings["targets"] == stages[2].settings["targets"] == 9
    assert stages[2].settings["one_by_one"]
    assert dict(stages[3].settings) == {"queries": 5000, "rescale": False}
    assert registry.get("attacks", "apgd").settings["steps"].default == 100
    assert registry.get("attacks", "fab").settings["steps"].default == 100


def test_autoattack_in_l1_is_that_of_mind_the_box():
    """l1-APGD with 5 restarts, then towards 5 classes, FAB-T and Square (Croce and Hein, 2021, and their repository)."""
    stages = module("autoattack").autoattack(L1(12.0))
    assert [stage.attack for stage in stages] == ["apgd_l1", "apgd_l1", "fab", "square"]
    assert dict(stages[0].settings) == {"loss": "ce", "restarts": 5}
    assert dict(stages[1].settings) == {"loss": "targeted_dlr", "targets": 5}
    assert registry.get("attacks", "apgd_l1").settings["larger_first"].default
    for stage in module("autoattack").autoattack(L1(12.0), version="rand"):
        assert (stage.attack, stage.settings["eot"], stage.settings["larger_first"], stage.settings["early_stop"]) == (
            "apgd_l1",
            20,
            False,
            False,
        )


def test_every_stage_of_autoattack_sees_the_survivors_alone(network, images):
    y = network.predict(images).argmax(-1)
    crafted = craft(network, bound("autoattack", "linf"), images, y)
    first = craft(network, bound("apgd", "linf"), images, y)
    fooled = network.predict(first.x_adv).argmax(-1) != y
    assert fooled.any()
    np.testing.assert_array_equal(crafted.gradients[fooled], first.gradients[fooled])
    assert (crafted.gradients[~fooled] > first.gradients[~fooled]).all()


@pytest.mark.slow
def test_what_survives_autoattack_comes_back_as_its_first_stage_left_it(network, images):
    y = network.predict(images).argmax(-1)
    both = (bound(name, "linf") for name in ("autoattack", "apgd"))
    crafted, left = (craft(network, Attack(each.plugin, Linf(0.002), each.settings), images, y).x_adv for each in both)
    survivors = network.predict(crafted).argmax(-1) == y
    assert survivors.any()
    np.testing.assert_array_equal(crafted[survivors], left[survivors])
    assert (crafted[survivors] != images[survivors]).any((1, 2, 3)).all()


@pytest.mark.parametrize(("name", "target"), [("autoattack", None), ("bim", "all"), ("bim", None)])
def test_progress_counts_each_image_once(network, images, name, target):
    class Tally:
        done = 0

        def advance(self, count: int) -> None:
            self.done += count

    tally, y = Tally(), network.predict(images).argmax(-1)
    craft(network, bound(name, "linf"), images, y, target=target, bar=tally)
    assert tally.done == len(images)


def test_apgd_checkpoints():
    """w_j for 100 iterations, from the recursion of section 3.3 by hand."""
    checkpoint, since = module("apgd").schedule(100)
    assert np.flatnonzero(checkpoint).tolist() == [22, 41, 57, 70, 80, 87, 93, 99]
    assert since[[22, 41, 57]].tolist() == [22, 19, 16]


@pytest.fixture(scope="module")
def bowl(images) -> Classifier:
    """Class 0 wins everywhere; the loss is largest inside the ball, at the bottom of a long and narrow bowl: step sizes matter."""
    rng, size = np.random.default_rng(3), int(np.prod(IMAGE_SHAPE))
    axes, bottom = np.linalg.qr(rng.normal(size=(size, size)))[0], images[0].ravel() + 0.01 * rng.uniform(-1, 1, size)
    kernel = axes * np.geomspace(1, 30, size)
    inputs, layers = engine.keras.Input(IMAGE_SHAPE), engine.keras.layers
    across, summed = layers.Dense(size), layers.Dense(2)
    away = across(layers.Flatten()(inputs))
    model = engine.keras.Model(inputs, summed(layers.Multiply()([away, away])))
    across.set_weights([kernel, -bottom @ kernel])
    summed.set_weights([np.tile([0.0, -1.0], (size, 1)), np.array([5.0, 0.0])])
    return Classifier(model)


@pytest.mark.parametrize("ball", [Linf(0.02), L2(0.2)], ids=str)
def test_apgd_is_algorithm_1_step_by_step(bowl, images, ball):
    """60 steps of the algorithm in NumPy, run by run, from the same starts: the same best iterates."""
    x, y, eps, steps = np.repeat(images[:1], 3, axis=0), np.zeros(3, np.int32), ball.eps, 60
    apgd = registry.get("attacks", "apgd")
    found = craft(bowl, Attack(apgd, ball, settings_of(apgd, {"steps": steps})), x, y).x_adv
    starts = np.asarray(ball.sample(x, Rng.from_seed(0).of(x).fold(0)))
    gradient = engine.compiled(lambda x: bowl.value_and_gradient(cross_entropy, x, y[:1]))

    def look(x):
        f, _, slope = gradient(x.astype(np.float32))
        return float(f[0]), np.asarray(slope)

    def project(x):
        return np.asarray(ball.project(x, images[:1]))

    w, p = [0], [0.0, 0.22]
    while p[-1] <= 1:
        w.append(math.ceil(round(p[-1] * steps, 6)))
        p.append(p[-1] + max(p[-1] - p[-2] - 0.03, 0.06))
    causes = set()
    for start, result in zip(starts, found, strict=True):
        x = x_max = start[None]
        f, slope = f_max, slope_max = look(x)
        eta = eta_check = 2.0
        f_check, rises = -np.inf, 0
        x, before = project(x + eta * np.asarray(ball.steepest(slope))), x
        for k in range(1, steps + 1):
            f_last = f
            f, slope = look(x)
            rises += f > f_last
            if f > f_max:
                f_max, x_max, slope_max = f, x, slope
            if k in w:
                few, stalled = rises < 0.75 * (k - w[w.index(k) - 1]), eta == eta_check and f_max <= f_check
                eta_check, f_check, rises = eta, f_max, 0
                causes |= {("few rises", "no progress")[i] for i, cause in enumerate((few, stalled)) if cause}
                if few or stalled:
                    eta, x, slope, f = eta / 2, x_max, slope_max, f_max
            z = project(x + eta * np.asarray(ball.steepest(slope)))
            x, before = project(x + 0.75 * (z - x) + 0.25 * (x - before)), x
        np.testing.assert_allclose(result, x_max[0], atol=1e-4 * eps)
    assert "few rises" in causes


def test_apgd_halves_its_steps_where_nothing_has_changed():
    """Condition 2: f_max as at the last checkpoint, and eta not halved there; steps that rose do not help."""
    apgd, x, label, rises = module("apgd"), np.zeros((3, 1, 1, 1), np.float32), np.zeros(3, np.int32), np.full(3, 9, np.float32)
    now = apgd.Climb.start(x, label, label, x + 1, Best.nothing(x))._replace(
        x_max=x + 2, f_max=np.float32([1, 1, 2]), f_check=np.float32([1, 1, 1]), halved=np.array([False, True, False]), rises=rises
    )
    after, _ = apgd.check(now, x, np.float32(10))
    np.testing.assert_array_equal(after.eta, [1, 2, 2])
    np.testing.assert_array_equal(np.ravel(after.x_adv), [2, 1, 1])
    np.testing.assert_array_equal(after.halved, [True, False, False])


@pytest.mark.parametrize(("name", "norm"), [("apgd", "linf"), ("apgd_l1", "l1")])
def test_apgd_asks_for_all_draws_of_all_runs(network, images, name, norm):
    """Images that are never fooled cost what `cost` says: restarts x targets x steps x draws, and the last looks."""
    y, plugin = network.predict(images).argmax(-1), registry.get("attacks", name)
    settings = settings_of(plugin, {"loss": "targeted_dlr", "steps": 7, "restarts": 2, "targets": 3, "eot": 2})
    crafted = craft(network, Attack(plugin, {"linf": Linf, "l1": L1}[norm](1e-4), settings), images, y)
    assert (crafted.gradients == plugin.cost(settings).gradients).all()
    assert (crafted.gradients == 2 * 3 * 7 * 2).all()
    assert (crafted.queries == 2 * 3 * 2 + 1).all()


def test_apgd_averages_over_the_draws_of_a_random_model(images):
    """Three draws of a model whose draws take turns: the mean of what they give, not of fewer or more."""
    averaged, turn = _apgd.averaged, iter([1.0, 2.0, 6.0])
    assert [float(value) for value in averaged(lambda: (engine.tf.constant(next(turn)), engine.tf.constant(1.0)), 3)] == [3.0, 1.0]


def test_apgd_begins_with_steps_of_twice_the_radius(network, images):
    """eta^(0) = 2 eps and no momentum in the first step: whatever the start, it ends on the ball's corners (section 3.3)."""
    y = network.predict(images).argmax(-1)
    crafted = attacks.apgd(network, images, y, Linf(1e-3), steps=1, early_stop=False)
    ends = np.isclose(np.abs(crafted - images), 1e-3, atol=1e-5).mean((1, 2, 3))
    assert ((ends > 0.99) | (ends < 0.05)).all(), "a corner, or the start where that was more adversarial"
    assert (ends > 0.99).mean() >= 0.8


def test_dlr_losses_by_hand():
    z = np.array([[1.0, 4.0, 2.0, -1.0, 0.5]], np.float32)
    assert float(dlr(z, np.array([1]))[0]) == pytest.approx(-(4 - 2) / (4 - 1))
    assert float(targeted_dlr(z, np.array([1]), np.array([4]))[0]) == pytest.approx(-(4 - 0.5) / (4 - (1 + 0.5) / 2))
    np.testing.assert_allclose(dlr(7 * z + 3, np.array([1])), dlr(z, np.array([1])), rtol=1e-5)


def test_dlr_with_two_classes_says_what_it_does(images, caplog):
    two = linear_classifier(2, seed=8)
    y = two.predict(images).argmax(-1)
    with caplog.at_level(logging.WARNING, "advrun"):
        attacks.apgd(two, images, y, Linf(0.3), loss="dlr")
    assert "dlr loss needs 3 classes, the model has 2" in caplog.text


def test_deepfool_overshoots_by_two_percent_of_the_whole_change(images):
    """Two classes, one hyperplane: one step is exact (algorithm 2 of the paper with eta = 0.02)."""
    two = linear_classifier(2, seed=8)
    grey = well_inside(two, images)
    y = two.predict(grey).argmax(-1)
    for ball in (L2(), Linf()):
        distance = np.asarray(ball.distance(attacks.deepfool(two, grey, y, ball), grey))
        np.testing.assert_allclose(
            distance, 1.02 * (boundary_distances(two, grey, ball.order) + module("deepfool").BEYOND[ball.name]), rtol=1e-3
        )


def test_ead_with_much_l1_finds_the_l1_distance():
    found, true = distances_found(bound("ead", "l1"), linear_classifier(2, seed=8), beta=0.1)
    assert (found <= 1.05 * true).all()


@pytest.mark.parametrize(("abort_early", "asked"), [(True, 21), (False, 100)])
@pytest.mark.parametrize("name", ["cw", "ead"])
def test_a_search_step_that_gets_nowhere_is_aborted_early(network, images, name, abort_early, asked):
    """With hardly any c the clean image is the optimum: the second and the third of ten checks find no lower loss."""
    plugin = registry.get("attacks", name)
    settings = settings_of(plugin, {"search_steps": 1, "steps": 100, "initial_c": 1e-10, "abort_early": abort_early})
    crafted = craft(network, Attack(plugin, plugin.geometries[0](), settings), images, network.predict(images).argmax(-1))
    assert (crafted.gradients == asked).all()
    if name == "ead":  # whose loss is that of x^(k), not of y^(k), where the gradient is taken: three checks and a last look
        assert (crafted.queries == (4 if abort_early else 1)).all()


def test_ead_asks_early_abort_about_the_iterate_not_the_slack_variable(network, images, monkeypatch):
    """In the first step y^(0) is the clean image still, and x^(1) is not."""
    asked = []

    def logits(x, **_):
        asked.append(np.asarray(x))
        return network.forward(x)

    monkeypatch.setattr(network, "logits", logits)
    y = network.predict(images).argmax(-1).astype(np.int32)
    settings = {"search_steps": 1, "steps": 1, "initial_c": 1e3, "abort_early": True}
    module("ead").ead(network, engine.tf.constant(images), engine.tf.constant(y), L1(), **settings)
    check, last_look = asked
    assert (np.abs(check - images).max((1, 2, 3)) > 1e-3).all()
    np.testing.assert_array_equal(check, last_look)


def test_early_abort_looks_at_the_loss_ten_times():
    """Not after every step; only a fall by a ten-thousandth is one; the second check in a row without one ends an image's search."""
    stalls = [5.0, 9, 9, 4.9, 9, 9, 4.8999, 1, 1, 4.89985, 1, 1, 4.0]
    falls = np.arange(20, 7, -1.0)
    overshoots = [5.0, 9, 9, 6.0, 9, 9, 4.0, 9, 9, 4.1, 9, 9, 3.0]
    progress, seen = _search.Progress.start(3), []
    for i, losses in enumerate(zip(stalls, falls, overshoots, strict=True)):
        progress = progress.check(i, 30, lambda losses=losses: np.float32(losses))
        seen.append(np.asarray(progress.stalled).tolist())
    assert seen == [[False] * 3] * 9 + [[True, False, False]] * 4


@pytest.mark.parametrize("name", ["cw", "ead"])
def test_early_abort_with_confidence(network, images, name):
    """The loss that is looked at is c (kappa - lead) or 0: less than 0 it could not stop falling by a share of itself."""
    plugin = registry.get("attacks", name)
    settings = settings_of(plugin, {"search_steps": 1, "steps": 400, "initial_c": 1e4, "confidence": 1.0, "abort_early": True})
    crafted = craft(network, Attack(plugin, plugin.geometries[0](), settings), images, network.predict(images).argmax(-1))
    assert (crafted.gradients < 400).all()


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("one_by_one", [True, False])
def test_fab_aims_where_a_success_begins(images, classes, one_by_one):
    """The linearised boundary is that of the lead, a hair beyond that of the logits; with large logits the hair shows."""
    fab, model = module("fab"), linear_classifier(classes, seed=8)
    model.model.set_weights([weight + np.float32(50) for weight in model.model.get_weights()])
    logits = model.predict(images)
    y, rival = logits.argmax(-1).astype(np.int32), logits.argsort(-1)[:, -2].astype(np.int32)
    boundary = fab.towards(model, y, rival) if one_by_one else fab.nearest(model, y, rival[None], L2())
    f, _ = boundary(engine.tf.constant(images))
    lead, plain = np.asarray(model.lead(logits, y)), np.sort(logits, -1)
    assert np.abs(lead - (plain[:, -2] - plain[:, -1])).min() > 1e-3
    np.testing.assert_allclose(f, lead, atol=1e-3 / 3)


def test_apgd_l1_comes_down_from_larger_balls():
    """30 % of the steps in 3 eps, 30 % in 2 eps, the rest in eps itself; the step size is looked at every 4 % of each."""
    radius, enters, checkpoint = module("apgd_l1").schedule(200, larger_first=True)
    np.testing.assert_array_equal(radius, np.repeat([3, 2, 1], [60, 60, 80]))
    np.testing.assert_array_equal(np.flatnonzero(enters), [0, 60, 120])
    np.testing.assert_array_equal(np.flatnonzero(checkpoint)[[0, 1, 28, 29, -1]], [2, 4, 58, 62, 198])
    radius, enters, checkpoint = module("apgd_l1").schedule(50, larger_first=False)
    assert (radius == 1).all()
    assert not enters.any()
    np.testing.assert_array_equal(np.flatnonzero(checkpoint)[:2], [2, 4])


def test_apgd_l1_takes_sparse_steps():
    """First a fifth of the values, those with the largest gradients, with equal shares of eps; then k follows the best iterate."""
    apgd_l1, x = module("apgd_l1"), np.full((1, 1, 10, 1), 0.5, np.float32)
    slope = np.arange(1, 11, dtype=np.float32).reshape(x.shape)
    label, one, eps = np.zeros(1, np.int32), np.ones(1, np.float32), engine.tf.constant(0.4)
    check, no_check = engine.tf.constant(True), engine.tf.constant(False)
    first = apgd_l1.move(apgd_l1.Climb.start(x, label, label, x, Best.nothing(x)), one, -slope, -one, no_check, eps)
    np.testing.assert_allclose(np.ravel(first.x_adv - x), [0] * 8 + [-0.2, -0.2], atol=1e-6)
    second = apgd_l1.move(first, 2 * one, slope, -one, check, eps)
    assert float(second.k[0]) == 2  # 2 / 1.5, rounded up: the best iterate changes two values, and could have changed ten
    np.testing.assert_allclose(np.ravel(second.x_adv - x), [0] * 10, atol=1e-6)  # back up from where the loss was largest
    third = apgd_l1.move(second, one, slope, -one, check, eps)
    assert float(second.eta[0]) == 1
    assert float(third.eta[0]) == pytest.approx(1 / 1.5)  # no sparser than at the last check: smaller steps


def test_apgd_l1_enters_a_smaller_ball_from_the_best_of_the_larger():
    apgd_l1, x = module("apgd_l1"), np.full((1, 1, 10, 1), 0.5, np.float32)
    label, best = np.zeros(1, np.int32), x + np.float32([0.3, -0.2] + [0] * 8).reshape(x.shape)
    there = apgd_l1.Climb.start(x, label, label, x + np.float32(0.1), Best.nothing(x))._replace(x_max=best)
    now = apgd_l1.enter(there, L1(0.3))
    np.testing.assert_allclose(np.ravel(now.x_adv - x), [0.2, -0.1] + [0] * 8, atol=1e-6)
    assert [float(value[0]) for value in (now.changed, now.k, now.eta, now.f_max)] == [2, 2, 1, -np.inf]


def test_square_in_l1_takes_mass_from_the_whole_image():
    """The new bump gets its share once for each channel (the authors' code): projected onto the ball, all other values shrink."""
    square, rng, x = module("square"), Rng.from_seed(1), np.full((6, 10, 10, 2), 0.5, np.float32)
    start, propose = square.bump_search(L1(1.0), x, np.full(3, 0.1), rng)
    trial = np.asarray(propose(0, start, x, rng.fold(5)))
    np.testing.assert_allclose([L1.distance(image, x) for image in (start, trial)], 1, rtol=1e-5)
    before, after = np.abs(start - x), np.abs(trial - x)
    assert ((after != before) | (before == 0)).all()  # no value that had changed stays as it was
    chance = rng.fold(5).uniform((6, 5 + 2))
    squares = [square.inside(x, *square.corner(x, corner, 3), 3) for corner in (chance[:, :2], chance[:, 2:4])]
    outside = ~np.logical_or(*squares).reshape(x.shape) & (after > 0)
    assert outside.sum() > 20
    for image in range(6):
        assert np.ptp((before - after)[image][outside[image]]) < 1e-6  # by one and the same amount


def test_bumps_fade_as_the_norm_wants():
    """Nested rectangles that add 1 / k^2 in L2 and 1 / k^4 in L1, of length 1."""
    expected = np.array([[1, 1, 1], [1, 17, 1], [1, 1, 1]])
    np.testing.assert_allclose(module("square").faded(3, 3, 1), expected / expected.sum())
    expected = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]])
    np.testing.assert_allclose(module("square").faded(3, 3, 2), expected / np.linalg.norm(expected))


def test_pgd_that_stops_early_fools_the_same_images_with_fewer_gradients(network, images):
    pgd, y = registry.get("attacks", "pgd"), network.predict(images).argmax(-1)
    whole, early = (
        craft(network, Attack(pgd, Linf(0.01), settings_of(pgd, {"restarts": 2, "early_stop": stops})), images, y)
        for stops in (False, True)
    )
    fooled = network.predict(whole.x_adv).argmax(-1) != y
    assert 0 < fooled.sum() < len(y)
    np.testing.assert_array_equal(network.predict(early.x_adv).argmax(-1) != y, fooled)
    np.testing.assert_array_equal(early.x_adv[~fooled], whole.x_adv[~fooled])
    assert (early.gradients[fooled] < whole.gradients[fooled]).all()
    assert (early.queries[fooled] < 2).all()
    assert (early.queries[~fooled] == 2).all()
    short, longer = (
        craft(network, Attack(pgd, Linf(0.02), settings_of(pgd, {"early_stop": True, "step_size": 0.02, "steps": steps})), images, y)
        for steps in (40, 48)
    )
    done = short.queries == 0
    assert 0 < done.sum() < len(y)  # or the loop would end
    np.testing.assert_array_equal(longer.x_adv[done], short.x_adv[done])  # the first success is kept


def test_square_schedule():
    """p is halved at 10, 50, 200, ... of 10,000 iterations (section 5); AutoAttack does not stretch this to shorter runs."""
    share = module("square").share_of_step
    np.testing.assert_allclose(share(5000, 0.8, rescale=False)[[10, 11, 51, 201]], [0.8, 0.4, 0.2, 0.1])
    np.testing.assert_allclose(share(5000, 0.8, rescale=True)[[5, 6, 26, 101]], [0.8, 0.4, 0.2, 0.1])


def test_square_draws_a_square_for_each_image(network, images):
    """Another for shades of an image, and the same for copies."""
    shades = (0.9 * images[:1] + np.arange(6, dtype=np.float32)[:, None, None, None] / 255).clip(0, 1)
    moved = []
    for x in (shades, np.repeat(shades[:1], 6, axis=0)):
        x_adv = attacks.square(network, x, network.predict(x).argmax(-1), Linf(1e-4), queries=3)
        moved.append({image.tobytes() for image in np.rint((x_adv - x) / 1e-4).astype(np.int8)})
    assert [len(each) for each in moved] == [6, 1]


def test_square_moves_mass_from_one_square_to_another():
    """In L2 a proposal empties one square, fills another, and is as long as before (algorithm 3)."""
    rng, x = Rng.from_seed(1), np.full((6, 10, 10, 2), 0.5, np.float32)
    start, propose = module("square").bump_search(L2(1.0), x, np.full(3, 0.1), rng)
    trial = propose(0, start, x, rng.fold(5))
    np.testing.assert_allclose([L2.distance(image, x) for image in (start, trial)], 1, rtol=1e-5)
    emptied, filled = ((np.asarray(a) == x).any(-1) & (np.asarray(b) != x).any(-1) for a, b in ((trial, start), (start, trial)))
    assert emptied.any((1, 2)).sum() >= 5, "but where the two squares are one"
    assert not filled.any(), "the first image has its mass everywhere"


def test_square_uses_what_is_left_of_eps():
    """An image that has not gone all the way is at eps after one proposal."""
    rng, x = Rng.from_seed(1), np.full((6, 10, 10, 2), 0.5, np.float32)
    start, propose = module("square").bump_search(L2(0.3), x, np.full(3, 0.1), rng)
    np.testing.assert_allclose(L2.distance(propose(0, x + 0.3 * (start - x), x, rng.fold(5)), x), 0.3, rtol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(4, 4), (5, 4), (3, 5)])
def test_square_puts_its_bump_where_it_says_and_turns_it(height, width):
    square, x = module("square"), np.zeros((2, height, width, 3), np.float32)
    bump = square.padded(np.float32([[1, 2], [3, 4]]), max(height, width))
    there = square.placed(bump, x, np.array([1, 1]), np.array([2, 2]), np.array([False, True]), np.ones((2, 1, 1, 3), np.float32))
    there = np.asarray(there)[..., 0]
    np.testing.assert_array_equal(there[:, 1:3, 2:4], [[[1, 2], [3, 4]], [[1, 3], [2, 4]]])
    assert there.shape == (2, height, width)
    assert there.sum() == 20


def test_an_image_without_queries_does_not_stop_the_others(linear, images):
    """The estimate of the boundary's normal goes on as long as one image may ask."""
    x, y = images[:2], linear.predict(images[:2]).argmax(-1)
    ask = _decision.Ask(linear, y)
    walk = _decision.Walk(x, y, x, np.array([True, True]), np.array([1, 30], np.int32), Best.nothing(x))
    draw = Rng.from_seed(0)
    _, left = _decision.normal_direction(ask, walk, lambda b: draw.fold(b).normal(x.shape), np.full(2, 0.1, np.float32), 20)
    np.testing.assert_array_equal(left, [0, 10])
    _, left = _decision.normal_direction(ask, walk, lambda b: draw.fold(b).normal(x.shape), np.full(2, 0.1, np.float32), 5000)
    np.testing.assert_array_equal(left, [0, 0])


@pytest.mark.parametrize("basis", ["pixel", "dct"])
def test_simba_stays_within_its_bound(network, images, basis):
    y = network.predict(images).argmax(-1)
    crafted = craft(network, bound("simba", "l2"), images, y)
    length = np.asarray(L2.distance(attacks.simba(network, images, y, basis=basis, queries=100, step_size=0.01), images))
    assert (length <= np.sqrt(100) * 0.01 + 1e-6).all()
    assert crafted.queries.max() <= 400


def test_simba_against_a_loop(network, images):
    """Image by image, direction by direction, as algorithm 1 has it."""
    y = network.predict(images).argmax(-1)
    dimension, step_size, queries, n = images[0].size, 0.05, 60, 3
    order = np.asarray(ops.argsort(Rng.from_seed(0).of(images[:n]).uniform((n, dimension)), axis=1))

    def ask(x, label):
        logits = network.predict(x[None])[0].astype(np.float64)
        return np.log(np.exp(logits - logits[label]).sum()), logits.argmax() != label

    def after(x_adv, d, sign):
        q = np.zeros(dimension, np.float32)
        q[d] = sign * step_size
        return np.clip(x_adv + q.reshape(x_adv.shape), 0, 1)

    expected = []
    for x_adv, label, directions in zip(images[:n], y[:n], order, strict=True):
        loss, fooled = ask(x_adv, label)
        asked, d = 1, 0
        while asked < queries and not fooled:
            for sign in (-1, 1):
                if asked == queries:
                    break
                trial = after(x_adv, directions[d], sign)
                new_loss, new_fooled = ask(trial, label)
                asked += 1
                if new_loss > loss or new_fooled:
                    x_adv, loss, fooled = trial, new_loss, new_fooled
                    break
            d += 1
        expected.append(x_adv)
    found = attacks.simba(network, images[:n], y[:n], queries=queries, step_size=step_size)
    np.testing.assert_allclose(np.asarray(found), np.stack(expected), atol=1e-5)


def test_simba_goes_from_low_to_high_frequencies():
    simba = module("simba")
    np.testing.assert_array_equal(simba.rings(4, 4, 0.5).reshape(4, 4), [[0, 0, 1, 2], [0, 0, 1, 2], [1, 1, 1, 2], [2, 2, 2, 2]])
    np.testing.assert_array_equal(simba.rings(2, 4, 0.5).reshape(2, 4), [[0, 0, 1, 2], [1, 1, 1, 2]])
    assert not simba.rings(3, 5, 1.0).any()


def test_simba_moves_along_the_lowest_cosines_first(network, images):
    x = 0.3 + 0.4 * images
    y = network.predict(x).argmax(-1)
    settings = {"basis": "dct", "frequencies": 0.5, "queries": 10, "step_size": 0.01}
    change = np.asarray(attacks.simba(network, x, y, **settings)) - x
    waves = module("simba").cosines(IMAGE_SHAPE[0])
    share = np.einsum("ui,vj,nijc->nuvc", waves, waves, change)
    assert np.abs(share[:, :3, :3]).max() > 0.009
    assert max(np.abs(share[:, 3:]).max(), np.abs(share[:, :, 3:]).max()) < 1e-5


def test_geoda_adds_up_its_normals(monkeypatch):
    """Each round finds one of the two values that the boundary depends on; the nearest point of the boundary changes both."""
    size = math.prod(IMAGE_SHAPE)
    weights = np.zeros((size, 2), np.float32)
    weights[:2, 1] = 1.0
    model = linear_classifier(2, seed=1)
    model.model.layers[-1].set_weights([weights, np.float32([0.4, 0.0])])
    x = np.zeros((1, *IMAGE_SHAPE), np.float32)
    found = [np.eye(size, dtype=np.float32)[i].reshape(x.shape) for i in range(2)]
    monkeypatch.setattr(
        module("geoda"), "normal_direction", lambda ask, walk, draw, radius, samples: (float(samples) * found.pop(0), walk.left)
    )
    plugin = registry.get("attacks", "geoda")
    attack = Attack(plugin, L2(), settings_of(plugin, {"queries": 1000, "rounds": 2}))
    start = engine.tf.ones(x.shape)
    x_adv = attack(model, engine.tf.constant(x), engine.tf.constant([0]), Rng.from_seed(0), starts=start[None])
    np.testing.assert_allclose(np.asarray(L2.distance(x_adv, x)), 0.4 / np.sqrt(2), rtol=0.01)


def test_cosines_are_orthonormal():
    waves = module("simba").cosines(9)
    np.testing.assert_allclose(waves @ waves.T, np.eye(9), atol=1e-6)


@pytest.mark.parametrize("ball", [Linf(), L2(), L1()], ids=str)
def test_projection_onto_a_hyperplane_inside_the_box(ball):
    """On the plane, in the box, and no feasible change found at random is smaller."""
    rng = np.random.default_rng(5)
    x, w = rng.uniform(0, 1, (4, *IMAGE_SHAPE)).astype(np.float32), rng.normal(size=(4, *IMAGE_SHAPE)).astype(np.float32)
    gap = np.array([3.0, -3.0, 8.0, 0.1], np.float32)
    change = np.asarray(_hyperplane.to_hyperplane(ball, x, w, gap))
    assert (x + change).min() >= -1e-6
    assert (x + change).max() <= 1 + 1e-6
    np.testing.assert_allclose((w * change).sum((1, 2, 3)), gap, rtol=1e-3)
    length = np.asarray(ball.distance(x + change, x))
    for _ in range(200):
        along = change + 0.05 * rng.normal(size=x.shape) * np.abs(change).max((1, 2, 3), keepdims=True)
        along = np.clip(x + along, 0, 1) - x
        short = np.abs((w * along).sum((1, 2, 3))) < np.abs(gap)
        smaller = np.asarray(ball.distance(x + along.astype(np.float32), x)) < 0.999 * length
        assert (short | ~smaller).all()


def test_brendel_and_bethge_follow_a_sphere_from_both_sides():
    """From outside every step along the tangent misses: what is inside must be won back. The distances are known."""
    inputs = engine.keras.Input(IMAGE_SHAPE)
    centred = engine.keras.layers.Rescaling(1.0, offset=-0.5)(inputs)
    squares = engine.keras.layers.Flatten()(engine.keras.layers.Multiply()([centred, centred]))
    model = engine.keras.Model(inputs, engine.keras.layers.Dense(2)(squares))
    model.layers[-1].set_weights([np.repeat([[0.0, -4.0]], 108, axis=0).astype(np.float32), np.array([0.0, 4.0], np.float32)])
    away = np.array([1.5, 2.0, 1.2, 0.3, 0.9, 0.6], np.float32)  # from the centre; the sphere has radius 1
    direction = np.random.default_rng(0).normal(size=(6, *IMAGE_SHAPE)).astype(np.float32)
    x = np.stack([0.5 + length * along / np.linalg.norm(along) for length, along in zip(away, direction, strict=True)]).astype(np.float32)
    x_adv = attacks.brendel_bethge(Classifier(model), x, (away < 1).astype(np.int32), L2(), steps=100)
    np.testing.assert_allclose(L2.distance(x_adv, x), np.abs(away - 1), rtol=0.01)


@pytest.mark.slow
def test_fab_leaves_a_misclassified_image_alone(network, images):
    wrong = (network.predict(images).argmax(-1) + 1) % 5
    for one_by_one in (False, True):
        np.testing.assert_array_equal(attacks.fab(network, images, wrong, L2(), one_by_one=one_by_one, steps=5), images)


@pytest.mark.parametrize("ball", [Linf(), L2(), L1(), L0()], ids=str)
@pytest.mark.parametrize("side", ["inwards", "outwards"])
def test_a_step_of_brendel_and_bethge(ball, side):
    """Eagerly as compiled; in the box, within r, and on the hyperplane where the box leaves room: also where that is farther from x."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0.3, 0.7, (20, *IMAGE_SHAPE)).astype(np.float32)
    b = rng.normal(size=x.shape).astype(np.float32)
    r = rng.uniform(0.05, 1, 20).astype(np.float32)
    if side == "inwards":
        x_adv = rng.uniform(0.1, 0.9, x.shape).astype(np.float32)
        c = r * rng.uniform(-0.5, 0.5, 20).astype(np.float32)
    else:  # a walk that has come near, in Linf with every value as far from x as it may be, and is on the wrong side
        x_adv = x + 0.1 * (np.sign(b) if ball.order > 2 else b / np.abs(b).max((1, 2, 3), keepdims=True))
        c = 0.9 * r

    def step(*tensors):
        return module("brendel_bethge").inwards(ball, *tensors)

    moved = np.asarray(step(x_adv, b, c, r, x))
    change = (moved - x_adv).reshape(20, -1)
    assert (np.linalg.norm(change, axis=1) <= 1.01 * r).all()
    assert moved.min() >= 0
    assert moved.max() <= 1
    unit = b.reshape(20, -1) / np.linalg.norm(b.reshape(20, -1), axis=1, keepdims=True)
    gap = np.abs((change * unit).sum(1) - c) / r
    assert np.median(gap) < (0.02 if ball.order > 0 else 0.1)  # L0 has thresholds, and jumps there
    compiled = engine.compiled(lambda *tensors: engine.fused(step)(*tensors))(x_adv, b, c, r, x)
    np.testing.assert_allclose(ball.distance(compiled, x), ball.distance(moved, x), rtol=0.1)
    if side == "inwards":
        assert (np.asarray(ball.distance(moved, x)) < np.asarray(ball.distance(x_adv, x))).mean() > 0.8
    else:  # to where it began to be adversarial the way out is one of the best
        straight = np.clip(x_adv + c[:, None, None, None] * unit.reshape(x.shape), 0, 1)
        assert (np.asarray(ball.distance(moved, x)) <= 1.01 * np.asarray(ball.distance(straight, x))).mean() > 0.8


@pytest.mark.parametrize("ball", [L1(), L0()], ids=str)
def test_proximal_maps_of_brendel_and_bethge(ball):
    """No other change within the box has a smaller t |z|_1, or t^2 / 2 |z|_0, plus |z - v|^2 / 2: value by value, against a fine grid."""
    rng = np.random.default_rng(0)
    x, v = rng.uniform(size=(1, 500)).astype(np.float32), rng.normal(size=(1, 500)).astype(np.float32)
    level, largest = np.float32([0.4]), np.float32([1.5])
    z = np.asarray(module("brendel_bethge").proximal(ball, v, level, largest, x))

    def objective(z):
        weight = 0.6 * np.abs(z) if ball.order else 0.18 * (z != 0)
        return weight + (z - v) ** 2 / 2

    others = np.concatenate([np.linspace(-x, 1 - x, 1001), np.zeros((1, *x.shape))])
    assert (z >= -x).all()
    assert (z <= 1 - x).all()
    assert (objective(z) <= objective(others).min(0) + 1e-5).all()


def test_universal_perturbation_is_one_for_all(network, images):
    y = network.predict(images).argmax(-1)
    ball = Linf(0.2)
    x_adv = attacks.universal(network, images, y, ball)
    change = x_adv - images
    inside = (x_adv > 0) & (x_adv < 1)
    for other in range(1, len(images)):
        both = inside[0] & inside[other]
        np.testing.assert_allclose(change[0][both], change[other][both], atol=1e-6)
    assert network.accuracy(x_adv, y) <= 0.5


def test_all_that_fitting_asks_is_counted(network, images, caplog):
    """Labels of all training images first, then after each pass; a query and DeepFool's gradients for each image of a pass."""
    y = network.predict(images).argmax(-1)
    with caplog.at_level(logging.INFO, "advrun"):
        craft(
            network,
            Attack(registry.get("attacks", "universal"), Linf(1e-6), settings_of(registry.get("attacks", "universal"), {"epochs": 2})),
            images,
            y,
        )
    asked = re.search(r"universal: fitting asked for ([0-9]+) gradients and ([0-9]+) queries", caplog.text)
    assert asked
    assert int(asked[2]) >= len(images) * (1 + 2 * (1 + 1))


def test_patch_covers_no_more_than_its_share(network, images):
    y = network.predict(images).argmax(-1)
    x_adv = attacks.patch(network, images, y, share=0.2, steps=20)
    touched = (x_adv != images).any(-1).mean((1, 2))
    assert touched.max() <= 0.3  # of 36 pixels a disc covers a few more or less
    assert touched.min() > 0


def test_fitting_sees_images_of_all_classes_first(network, images, monkeypatch):
    """Data sets come class by class."""
    pool = np.repeat(images[:4], 50, axis=0), np.repeat(np.arange(4), 50)
    seen = []

    def fit(model, x, y, ball, rng, **settings):
        seen.append((x, y))
        return np.zeros((1, *IMAGE_SHAPE), np.float32)

    plugin = registry.get("attacks", "universal")
    monkeypatch.setattr(plugin.module, "fit", fit)
    attack = Attack(plugin, Linf(0.1), settings_of(plugin, {}))
    for seed in (0, 0, 1):
        craft(network, attack, images, network.predict(images).argmax(-1), train=pool, seed=seed)
    (x, y), again, other = seen
    assert set(y[:20]) == {0, 1, 2, 3}
    np.testing.assert_array_equal(x, images[y])
    np.testing.assert_array_equal(y, again[1])
    assert (y != other[1]).any()


@pytest.mark.parametrize("targeted", [False, True])
def test_a_walk_starts_where_the_system_sees_the_class(network, images, targeted):
    """Of the attacker's images, two in five carry a label that is not what the system takes them for; it is not asked beforehand."""
    rng = np.random.default_rng(3)
    y, classes = network.predict(images).argmax(-1), network.classes
    pool = rng.permutation(np.concatenate([images + 0.001 * i for i in range(8)])).clip(0, 1)
    seen = network.predict(pool).argmax(-1)
    labels = np.where(rng.uniform(size=len(pool)) < 0.4, (seen + rng.integers(1, classes, len(pool))) % classes, seen)
    goal = rng.choice(np.unique(seen), len(y)) if targeted else None
    found = seen[_Work(None, 0, 256, (pool, labels), None, None)._starts(images, y, goal, np.arange(len(y)))]
    assert (found == goal if targeted else found != y).any(0).mean() >= 0.9


def test_a_class_without_an_image_to_start_from_is_named(network, images, caplog):
    y = np.zeros(len(images), np.int32)
    attacks.boundary(network, images, y, target=3, queries=5)
    assert "no image to start from shows class 3:" in caplog.text


@pytest.mark.parametrize("name", ["boundary", "hopskipjump", "geoda", "sign_opt"])
def test_of_the_images_to_start_from_the_first_that_succeeds_is_taken(network, images, name):
    """The first ones show the image's own class: each costs a query, and the third is the way in."""
    y = network.predict(images).argmax(-1)
    others = np.stack([images[np.flatnonzero(y != label)[0]] for label in y])
    plugin = registry.get("attacks", name)
    for queries, succeeds in ((3, False), (4, True)):
        attack = Attack(plugin, L2(), settings_of(plugin, {"queries": queries}))
        x_adv = attack(network, images, np.int32(y), Rng.from_seed(0), starts=np.stack([images, images, others]))
        assert (network.predict(np.asarray(x_adv)).argmax(-1) != y).all() == succeeds


@pytest.mark.parametrize("factor", [30.0, 1000.0])
@pytest.mark.parametrize(
    ("name", "ball"),
    [("fgsm", Linf(0.05)), ("pgd", L2(0.3)), ("mifgsm", Linf(0.05)), ("apgd", Linf(0.05)), ("ddn", L2()), ("newtonfool", L2())],
)
def test_a_sure_model_does_not_blind_an_attack(network, images, name, ball, factor):
    """Logits times a number: the same decisions, and the same way to others, but the cross-entropy and its gradient round to 0."""
    sure = Classifier(engine.keras.Sequential([network.model, engine.keras.layers.Rescaling(factor)]))
    y = network.predict(images).argmax(-1)
    plain, scaled = (model.predict(getattr(attacks, name)(model, images, y, ball)).argmax(-1) == y for model in (network, sure))
    assert plain.mean() < 1
    assert scaled.mean() <= plain.mean() + 0.1 + 1e-9  # an image of ten falls from one random start and not from another


@pytest.mark.parametrize("ball", [L2(0.5), Linf(0.05)], ids=str)
def test_the_look_ahead_is_a_step(images, ball):
    """Of the length of mu alpha, in the direction of the momentum; in Linf x + alpha mu g, whatever g."""
    g = np.random.default_rng(0).normal(0, 30, images.shape).astype(np.float32)
    there = np.asarray(_momentum.ahead(images, g, ball, 0.1)) - images
    if ball.name == "Linf":
        np.testing.assert_allclose(there, 0.1 * 0.05 * g, atol=1e-5)
    else:
        np.testing.assert_allclose(np.linalg.norm(there.reshape(len(there), -1), axis=1), 0.1 * 0.5, rtol=1e-4)
        np.testing.assert_allclose(there / 0.05, g / np.linalg.norm(g.reshape(len(g), -1), axis=1)[:, None, None, None], atol=1e-4)


def test_variance_tuning_looks_around_in_any_ball(network, images):
    """beta eps is more than 1 here; eagerly too, where eps is a plain number."""
    plugin = registry.get("attacks", "vmifgsm")
    attack = Attack(plugin, Linf(0.7), settings_of(plugin, {"steps": 1, "neighbours": 2}))
    x, y = engine.tf.constant(images[:2]), engine.tf.constant([0, 1])
    assert np.abs(np.asarray(attack(network, x, y, Rng.from_seed(0))) - images[:2]).max() <= 0.7 + 1e-6


def test_stadv_gives_up_smoothness_where_it_stands_in_the_way(network, images):
    """A model with small logits: the paper's tau says to change nothing."""
    small = Classifier(engine.keras.Sequential([network.model, engine.keras.layers.Rescaling(0.05)]))
    y = network.predict(images).argmax(-1)
    plain, scaled = (model.predict(attacks.stadv(model, images, y, steps=300)).argmax(-1) == y for model in (network, small))
    assert scaled.mean() <= plain.mean() + 0.1


def test_cw_l0_ends_where_one_value_is_enough():
    """The logit of the other class is one value of the image."""
    weights = np.zeros((math.prod(IMAGE_SHAPE), 2), np.float32)
    weights[5, 1] = 10.0
    one = linear_classifier(2, seed=1)
    one.model.layers[-1].set_weights([weights, np.float32([1.0, 0.0])])
    x = np.zeros((3, *IMAGE_SHAPE), np.float32)
    plugin = registry.get("attacks", "cw_l0")
    crafted = craft(one, Attack(plugin, L0(), settings_of(plugin, {"steps": 1000})), x, np.zeros(3, int))
    np.testing.assert_array_equal(L0.distance(crafted.x_adv, x), 1)
    assert crafted.gradients.max() < 200


def test_jsma_changes_no_more_than_gamma(linear, images):
    y = linear.predict(images).argmax(-1)
    size = math.prod(IMAGE_SHAPE)
    for gamma, most in ((0.0, 0), (2.5 / size, 2), (4 / size, 4)):
        changed = np.asarray(L0.distance(attacks.jsma(linear, images, y, gamma=gamma), images))
        assert changed.max() <= most


@pytest.mark.parametrize("targeted", [False, True])
def test_jsma_changes_the_pair_whose_probability_moves_most(linear, images, targeted):
    """One step up: dF_t / dx of the softmax, by hand, towards the second class or away from the first."""
    kernel, logits = linear.model.get_weights()[0], linear.predict(images)
    aimed = logits.argsort(-1)[:, -2 if targeted else -1]
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    slope = (kernel[:, aimed].T - p @ kernel.T) * (1 if targeted else -1)
    room = images.reshape(len(images), -1) < 1
    best = np.argsort(np.where(room, slope, -np.inf))[:, -2:]
    x_adv = module("jsma").jsma(linear.toward() if targeted else linear, images, np.int32(aimed), L0(), steps=1, direction="increase")
    changed = np.asarray(x_adv).reshape(len(images), -1) != images.reshape(len(images), -1)
    assert changed.any(), "what one step does not fool comes back clean"
    for row in np.flatnonzero(changed.any(1)):
        assert set(np.flatnonzero(changed[row])) == set(best[row])


def test_the_papers_lbfgs_comes_as_near_as_the_default(linear, images):
    """Both penalties lead to the same boundary, in other ways."""
    y = linear.predict(images).argmax(-1)
    square, norm = (attacks.lbfgs(linear, images, y, **preset) for preset in ({}, {"preset": "paper"}))
    assert (linear.predict(norm).argmax(-1) != y).all()
    near, nearer = (np.asarray(L2.distance(each, images)) for each in (norm, square))
    np.testing.assert_allclose(near, nearer, rtol=0.05)
    assert np.abs(square - norm).max() > 1e-5


@pytest.mark.slow
def test_lbfgs_runs_on_one_core():
    """TensorFlow has as many threads for calls as the machine has cores; one of them waits for Python, which waits for another."""
    script = """
import numpy as np
from advrun import attacks
from tests.conftest import IMAGE_SHAPE, linear_classifier
model, x = linear_classifier(3, seed=1), np.random.default_rng(0).uniform(0, 1, (2, *IMAGE_SHAPE)).astype("float32")
y = model.predict(x).argmax(-1)
print((model.predict(attacks.lbfgs(model, x, y, search_steps=3, steps=5)).argmax(-1) != y).sum())
"""
    environment = {**os.environ, "TF_NUM_INTEROP_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip().isdigit(), done.stderr[-500:]


def test_few_queries_are_spent_all_the_same(network, images):
    """Settings that were made for thousands shrink with the budget: an attack that does not move would look like a robust model."""
    y = network.predict(images).argmax(-1)
    for name, ball, settings in (
        ("nes", Linf(0.05), {"queries": 20}),
        ("spsa", Linf(0.05), {"queries": 20}),
        ("zoo", L2(), {"queries": 60, "step_size": 0.3, "initial_c": 100.0}),
    ):
        plugin = registry.get("attacks", name)
        crafted = craft(network, Attack(plugin, ball, settings_of(plugin, settings)), images, y)
        assert crafted.queries.max() <= settings["queries"], name
        assert crafted.queries[network.predict(crafted.x_adv).argmax(-1) == y].min(initial=settings["queries"]) > settings["queries"] / 2, (
            name
        )
        assert (crafted.x_adv != images).any(), name


@pytest.mark.parametrize(("initial", "most"), [(100, 10_000), (20, 20), (200, 20)])
def test_hopskipjump_spends_its_queries(network, images, initial, most):
    y = network.predict(images).argmax(-1)
    plugin = registry.get("attacks", "hopskipjump")
    settings = settings_of(plugin, {"queries": 700, "initial_samples": initial, "max_samples": most})
    assert craft(network, Attack(plugin, L2(), settings), images[:4], y[:4]).queries.min() == 700


def test_geoda_has_fewer_rounds_for_few_queries():
    geoda = module("geoda")
    assert len(geoda.share_out(5000, 6)) == 6
    assert len(geoda.share_out(150, 6)) == 1
    for queries in (300, 500, 1000):
        shares = geoda.share_out(queries, 6)
        assert shares[0] >= geoda.LEAST
        np.testing.assert_array_equal(geoda.share_out(queries, 10_000_000), shares)


def test_decisions_alone_move_a_decision_based_attack(network, images):
    """The same class far ahead of the others, whose logits are others: the same images."""
    from advrun.engine import keras

    inputs = keras.Input(IMAGE_SHAPE)
    logits = network.model(inputs)
    winner = 1000 * ops.one_hot(ops.argmax(logits, axis=-1), network.classes)
    clear, clouded = (Classifier(keras.Model(inputs, winner + scores)) for scores in (logits, -ops.tanh(logits / 50)))
    y = network.predict(images).argmax(-1)
    np.testing.assert_array_equal(*(attacks.hopskipjump(model, images, y, queries=200) for model in (clear, clouded)))


def test_one_pixel_breeds_ten_generations_of_few_queries(network, images):
    y = network.predict(images).argmax(-1)
    large, small = (attacks.one_pixel(network, images, y, queries=120, population=population) for population in (400, 12))
    np.testing.assert_array_equal(large, small)


@pytest.mark.parametrize(("shape", "n"), [((5, 9, 3), 3), ((7, 5, 1), 1)])
@pytest.mark.parametrize(("base", "generations"), [pytest.param("random", 10, marks=pytest.mark.slow), ("best", 3)])
def test_one_pixel_is_differential_evolution(shape, n, base, generations):
    """Candidate by candidate in NumPy, with the same random numbers: the same images. (Later, rounding decides between equal bests.)"""
    sure = linear_classifier(4, seed=2, shape=shape)
    kernel, bias = sure.model.get_weights()
    sure.model.set_weights([0.1 * kernel, bias + np.float32([5, 0, 0, 0])])
    x, y = np.random.default_rng(0).uniform(size=(n, *shape)).astype(np.float32), np.zeros(n, np.int32)
    members, plugin = 10, registry.get("attacks", "one_pixel")
    settings = {"queries": members * generations, "population": members, "base": base}
    found = craft(sure, Attack(plugin, None, settings_of(plugin, settings)), x, y)
    assert (sure.predict(found.x_adv).argmax(-1) == y).all(), "no success ends the search"
    rng = Rng.from_seed(0).of(x)

    def painted(image, candidate):
        image, place = image.copy(), np.minimum(np.floor(candidate[:2] * np.array(shape[:2], np.float32)), np.array(shape[:2]) - 1)
        image[tuple(place.astype(int))] = candidate[2:]
        return image

    population, losses = np.zeros((n, members, 2 + shape[2]), np.float32), np.zeros((n, members))
    best, best_loss = x.copy(), np.full(n, -np.inf)
    for i in range(generations):
        draw = rng.fold(i)
        a, b, c = (np.asarray(draw.integers((n, members), 0, members)) for _ in range(3))
        place, colour = np.asarray(draw.uniform((n, members, 1, 2))), np.asarray(draw.normal((n, members, 1, shape[2])))
        parents, fittest = population.copy(), losses.argmax(1)
        for image in range(n):
            for k in range(members):
                first = fittest[image] if base == "best" else a[image, k]
                child = np.clip(parents[image, first] + 0.5 * (parents[image, b[image, k]] - parents[image, c[image, k]]), 0, 1)
                if i == 0:
                    child = np.concatenate([place[image, k, 0], np.clip(0.5 + colour[image, k, 0] / 2, 0, 1)])
                trial = painted(x[image], child)
                loss = float(np.asarray(cross_entropy(sure.predict(trial[None]), y[image : image + 1]))[0])
                if i == 0 or loss >= losses[image, k]:
                    population[image, k], losses[image, k] = child, loss
                if loss > best_loss[image]:
                    best[image], best_loss[image] = trial, loss
    np.testing.assert_allclose(found.x_adv, best, atol=1e-5)
