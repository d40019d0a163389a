"""What looks for reasons to doubt a number: watched attacks, probes, metrics with known values, and the flags that they raise."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from advrun import Classifier, Linf, Oracle, meanings, registry
from advrun.attack import Attack
from advrun.config.entries import settings_of
from advrun.engine import keras, ops
from advrun.flags import flagged
from advrun.losses import log_odds
from advrun.meanings import NOISE_WINS, PROBABILITIES, RANDOMISED, SATURATED, SILENT, TRANSFER_WINS, UNBOUNDED, UNCONVERGED, UNPROVEN
from advrun.metrics import Outcome, columns
from advrun.metrics.calibration import error
from advrun.metrics.visibility import ssim
from advrun.probed import Probed
from advrun.registry import Plugin
from advrun.results import Result
from advrun.retry import is_iterated, retrying
from advrun.runs.work.worker import Worker
from advrun.system import BlackBox
from advrun.system.witness import Witness
from advrun.worst import worst_cases
from tests._rows import result

from .conftest import IMAGE_SHAPE
from .test_flags import alone

BALL = Linf(0.1)


def bound(name: str, **settings) -> Attack:
    plugin = registry.get("attacks", name)
    return Attack(plugin, BALL, settings_of(plugin, settings))


def forgetful(model, x, y, ball, *, steps, step_size):
    """Finds, and then goes home: asks about a step of gradient ascent, and returns the clean image."""
    x_adv = x
    for _ in range(steps):
        x_adv = ball.project(x_adv + step_size * ball.steepest(model.gradient(log_odds, x_adv, y)), x)
    return x + 0 * x_adv


def home_made(function, **settings) -> Attack:
    real = registry.get("attacks", "bim")
    return Attack(Plugin("attacks", function.__name__, function, real.settings, real.arguments, {}), BALL, settings_of(real, settings))


@pytest.fixture(scope="module")
def near(network):
    """Images of which a step of 0.1 fools most, and what the network says of them."""
    x = np.random.default_rng(5).uniform(0.3, 0.7, (32, *IMAGE_SHAPE)).astype(np.float32)
    return x, network.predict(x).argmax(-1)


def test_what_an_attack_found_and_lost_is_seen(network, near):
    x, y = near
    lost = retrying(Witness(network), home_made(forgetful, steps=4, step_size=0.5), seed=0, batch_size=32)(x, y)
    assert lost.right.all()
    kept = retrying(Witness(network), bound("bim", steps=4), seed=0, batch_size=32)(x, y)
    assert lost.seen.mean() > 0.3
    assert not (kept.right & kept.seen).any()
    assert (kept.seen == ~kept.right).all()


def test_what_lies_outside_of_the_ball_is_no_success(network, near):
    def strays(model, x, y, ball, *, steps, step_size):
        return x + 0 * model.gradient(log_odds, ops.clip(x + 0.5, 0.0, 1.0), y)

    x, y = near
    assert not retrying(Witness(network), home_made(strays, steps=1), seed=0, batch_size=32)(x, y).seen.any()


def probe(network, x, y, attack, x_adv) -> Probed:
    outcome = Outcome(network, x, x_adv, y, network.predict(x), network.predict(x_adv), batch_size=32)
    parts = {field.name: getattr(outcome, field.name) for field in fields(outcome)}
    again = retrying(Witness(network), attack, seed=0, batch_size=32)
    return Probed(**parts, ball=attack.geometry, again=again, iterated=is_iterated(attack), widest=True)


def test_an_attack_that_does_nothing_is_told_by_noise_and_by_more_steps(network, near):
    x, y = near
    idle = probe(network, x, y, bound("bim", steps=4), x)
    assert columns("random_noise", idle)["noise_tried"] == 32
    assert columns("convergence", idle)["more_steps_fooled"] > 16
    assert columns("silent_success", idle) == {"silent_tried": 32, "silent": 0}
    assert columns("unbounded", idle) == {"unbounded_tried": 32, "unbounded_right": 0}
    assert columns("unbounded", replace(idle, widest=False)) == {"unbounded_tried": None, "unbounded_right": None}


COUNTS = {
    NOISE_WINS: ("noise_fooled", "noise_tried", 5),
    UNCONVERGED: ("more_steps_fooled", "more_steps_tried", 7),
    SILENT: ("silent", "silent_tried", 5),
    UNBOUNDED: ("unbounded_right", "unbounded_tried", 5),
}


@pytest.mark.parametrize("flag", COUNTS)
def test_counts_raise_a_flag_where_chance_does_not_explain_them(flag):
    """Of 32 images; two tests share one per cent."""
    found, tried, enough = COUNTS[flag]
    assert alone(result("pgd", "1" * 50, metrics={found: enough, tried: 32})) == (flag,)
    assert alone(result("pgd", "1" * 50, metrics={found: enough - 2, tried: 32})) == ()
    assert alone(result("pgd", "1" * 50, metrics={found: None, tried: None})) == ()


def test_what_is_certain_needs_no_test():
    for flag, metrics in ((PROBABILITIES, {"probabilities": 1}), (SATURATED, {"saturated": 0.5}), (RANDOMISED, {"unsteady": 0.1})):
        assert alone(result("clean", "1" * 9 + "0", "none", eps=None, norm="", metrics=metrics)) == (flag,)
        assert alone(result("clean", "1" * 9 + "0", "none", eps=None, norm="", metrics=dict.fromkeys(metrics, 0.0))) == ()
    assert alone(result("pgd", "10", metrics={"planted_score": 0.94})) == (UNPROVEN,)
    assert alone(result("pgd", "10", metrics={"planted_score": 0.95})) == ()


def test_examples_of_another_model_must_not_be_stronger():
    other = result("pgd", "0" * 30 + "1" * 10, "transfer", source="other")
    assert alone(other, result("pgd", "1" * 40)) == (TRANSFER_WINS,)


def test_clean_accuracy_far_below_that_of_the_validation_images():
    clean = result("clean", "1" * 60 + "0" * 40, "none", eps=None, norm="")
    for promised, flags in ((0.95, ("clean-not-reproduced",)), (0.7, ())):
        (found,) = flagged([clean], {("m", "d", 0): promised})
        assert found.row.flags == flags


def test_a_weak_attack_beside_a_strong_one_does_not_spoil_the_worst_case():
    weak, strong = result("fgsm", "1100", flags=(UNPROVEN,)), result("pgd", "1000")
    assert worst_cases([weak, strong])[0].row.flags == ()
    assert worst_cases([weak, result("pgd", "1000", flags=(UNCONVERGED,))])[0].row.flags == (UNCONVERGED, UNPROVEN)


def clean_columns(name: str, classifier, x, y=None) -> dict:
    before = classifier.predict(x)
    return columns(name, Outcome(classifier, x, None, before.argmax(-1) if y is None else y, before, before))


class Noisy(keras.layers.Layer):
    """Adds noise to logits, also when nothing is trained."""

    def __init__(self, **options):
        super().__init__(**options)
        self.seeds = keras.random.SeedGenerator(1)

    def call(self, z):
        return z + 0.1 * keras.random.normal(ops.shape(z), seed=self.seeds)


def test_a_system_that_draws_is_told(network, images):
    inputs = keras.Input(IMAGE_SHAPE)
    assert clean_columns("steadiness", Classifier(keras.Model(inputs, Noisy()(network.model(inputs)))), images)["unsteady"] > 0.5
    assert clean_columns("steadiness", network, images) == {"unsteady": 0.0}


def test_logits_that_are_probabilities_and_logits_without_gradient_are_told(network, images):
    def shares(x):
        z = network.predict(x)
        z = np.exp(z - z.max(-1, keepdims=True))
        return z / z.sum(-1, keepdims=True)

    grey = np.rint(images * 255).astype(np.uint8)
    told = BlackBox(Oracle(IMAGE_SHAPE, network.classes, shares, meaning="logits"))
    assert clean_columns("logit_scale", told, grey) == {"probabilities": 1, "saturated": 0.0}
    inputs = keras.Input(IMAGE_SHAPE)
    sure = Classifier(keras.Model(inputs, 1e4 * network.model(inputs)))
    assert clean_columns("logit_scale", sure, images)["saturated"] > 0.5
    assert clean_columns("logit_scale", network, images) == {"probabilities": 0, "saturated": 0.0}


def attacked(network, x, x_adv, y) -> Outcome:
    return Outcome(network, x, x_adv, y, network.predict(x), network.predict(x_adv))


def test_metrics_have_their_closed_forms(linear, images):
    """A uniform change of 0.1, towards another class for some."""
    x_adv = images + np.float32(0.1)
    y = linear.predict(images).argmax(-1)
    outcome = attacked(linear, images, x_adv, y)
    wrong = outcome.fooled
    assert wrong.any()
    length = np.linalg.norm(images.reshape(len(images), -1), axis=1)[wrong]
    moved = 0.1 * np.sqrt(images[0].size)
    assert columns("robustness", outcome)["empirical_robustness"] == pytest.approx((moved / length).mean(), rel=1e-4)
    assert columns("visibility", outcome)["psnr"] == pytest.approx(20, abs=1e-3)
    assert columns("quantiles", outcome)["l2_q75"] == pytest.approx(moved, rel=1e-4)
    assert columns("quantiles", outcome)["linf_q25"] == pytest.approx(0.1, rel=1e-4)
    z = linear.predict(images).astype(np.float64)
    p = np.exp(z - z.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    weights = linear.model.layers[-1].get_weights()[0]
    expected = np.abs((p - np.eye(linear.classes)[y]) @ weights.T).sum(-1).mean()
    assert clean_columns("loss_sensitivity", linear, images)["loss_sensitivity"] == pytest.approx(expected, rel=1e-3)


def test_ssim_window_by_window():
    """By its formula, in every window of 11 x 11 that lies within the image."""
    one, other = np.random.default_rng(0).random((2, 1, 13, 12, 1))
    offsets = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    weights = np.outer(offsets, offsets) / offsets.sum() ** 2
    found = []
    for row in range(3):
        for column in range(2):
            a, b = (image[0, row : row + 11, column : column + 11, 0] for image in (one, other))
            means = [(weights * each).sum() for each in (a, b)]
            variances = [(weights * (each - mean) ** 2).sum() for each, mean in zip((a, b), means, strict=True)]
            shared = (weights * (a - means[0]) * (b - means[1])).sum()
            luminance = (2 * means[0] * means[1] + 1e-4) / (means[0] ** 2 + means[1] ** 2 + 1e-4)
            found.append(luminance * (2 * shared + 9e-4) / (sum(variances) + 9e-4))
    assert ssim(one, other)[0] == pytest.approx(np.mean(found), rel=1e-9)


def test_ssim_of_constant_images_is_its_luminance_term():
    """2ab + C1 over a^2 + b^2 + C1, and 1 of an image with itself, and nothing where the structure is turned round."""
    one, other = np.full((1, 16, 16, 1), 0.4), np.full((1, 16, 16, 1), 0.6)
    assert ssim(one, other)[0] == pytest.approx((2 * 0.24 + 1e-4) / (0.16 + 0.36 + 1e-4))
    noise = np.random.default_rng(0).random((1, 16, 16, 3))
    assert ssim(noise, noise)[0] == pytest.approx(1)
    assert ssim(noise, 1 - noise)[0] < -0.5


def test_calibration_error_by_hand():
    """Two classes: sure by 0.8 and right in half of the cases, a gap of 0.3; sure by 1 and right."""
    z = np.log([[0.8, 0.2], [0.8, 0.2]])
    assert error(z, np.array([0, 1])) == pytest.approx(0.3)
    assert error(np.array([[50.0, 0.0]]), np.array([0])) == pytest.approx(0, abs=1e-6)
    assert error(np.concatenate([z, [[50.0, 0.0]]]), np.array([0, 1, 0])) == pytest.approx(0.2, abs=1e-6)


def test_wrong_labels_by_hand(linear, images):
    y = np.array([0] * 4 + [1] * 6)
    before, after = np.eye(5)[y], np.eye(5)[[1, 1, 2, 0, 2, 2, 2, 3, 3, 1]]
    said = columns("wrong_labels", Outcome(linear, images, images, y, before, after))
    assert said == {"same_wrong_share": (2 + 3) / 8, "commonest_wrong_share": 4 / 8}


def test_every_flag_names_its_limit_and_paper_and_stands_in_the_readme():
    from pathlib import Path

    text = (Path(__file__).parents[1] / "README.md").read_text()
    for name, meaning in meanings.MEANINGS.items():
        assert meaning.limit.endswith("."), name
        assert meaning.paper or name == meanings.SEEDS_MISSING, name
        assert f"`{name}` {meaning.mark} " in text, name


def test_a_result_is_left_alone_where_nothing_was_looked_for():
    plain = result("pgd", "10")
    assert isinstance(plain, Result)
    assert alone(plain) == ()


def test_a_worker_keeps_one_thing_in_each_slot():
    """Under another key it is made anew; a row's does not push out an attack's."""
    worker = Worker.__new__(Worker)
    worker._last = {}
    made = []

    def make(name):
        return lambda: made.append(name) or name

    assert [
        worker.last(key, make(key), slot) for key, slot in (("a", "row"), ("b", "attack"), ("a", "row"), ("c", "row"), ("b", "attack"))
    ] == [*("a", "b", "a", "c", "b")]
    assert made == ["a", "b", "c"]
