"""Random stages: what is drawn, by what, and what attacks, answers and counts make of it."""

from __future__ import annotations

import numpy as np
import pytest

from advrun import Classifier, Linf, attacks, engine, registry
from advrun.attack import Attack
from advrun.contract import victims
from advrun.defenses.total_variation import smoothed
from advrun.engine import Rng, keras, ops
from advrun.evaluate import varied
from advrun.losses import cross_entropy
from advrun.runs import keys
from advrun.system import Chain, Purifier
from advrun.system.draws import DRAWS

KEY = np.array([1, 2], np.int32)


def scaled(x, rng):
    """Each image, times a number of its own between 0 and 1."""
    return x * rng.uniform((x.shape[0], 1, 1, 1))


def noisy(x, rng):
    return x + 0.1 * rng.normal(x.shape)


def behind(model, forward=noisy, **given) -> Classifier:
    return Classifier(Chain(model).behind(Purifier(forward, random=True)), **given)


def first_logit(logits, y):
    return logits[:, 0]


# Means over draws ----------------------------------------------------------------------------------------------------


def test_the_gradient_is_the_mean_over_draws(linear, images):
    """Behind x u, u uniform, every draw's gradient of a logit is u W: the mean has the direction of W and, over k draws, the length of
    their mean, which is 1/2 up to 4 standard errors. Additive noise leaves the gradient as it is, and the logits' mean."""
    y, k = victims.labels(), 100
    plain = np.asarray(linear.gradient(first_logit, images, y))

    classifiers = behind(linear.model, scaled), behind(linear.model, noisy)

    def ask(x):
        view, other = (classifier.drawing(k, Rng.from_seed(1)) for classifier in classifiers)
        classes = np.tile(np.arange(2, dtype=np.int32)[:, None], (1, len(images)))
        return view.value_and_gradient(first_logit, x, y), other.gradient(first_logit, x, y), other.logits(x), other.jacobian(x, classes)[1]

    (values, logits, gradient), slope, noisy_logits, jacobian = engine.compiled(ask)(images)
    ratio = np.asarray(gradient) / plain
    assert np.ptp(ratio, axis=(1, 2, 3)).max() < 1e-3
    np.testing.assert_allclose(ratio.mean((1, 2, 3)), 0.5, atol=4 * 12**-0.5 / k**0.5)
    np.testing.assert_allclose(values, np.asarray(logits)[:, 0], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(slope, plain, rtol=1e-3, atol=1e-6)
    spread = 0.1 * np.linalg.norm(plain[0]) / k**0.5
    np.testing.assert_allclose(np.asarray(noisy_logits)[:, 0], linear.predict(images)[:, 0], atol=4 * spread)
    np.testing.assert_allclose(jacobian[0], plain, rtol=1e-3, atol=1e-5)


def test_an_attacker_gets_new_draws_each_time_and_the_runner_the_same(network, images):
    classifier, y = behind(network.model), victims.labels()

    def twice(x):
        view = classifier.drawing(3, Rng.from_seed(5))
        return view.logits(x), view.logits(x), view.gradient(cross_entropy, x, y)

    one, other, slope = twice(images)
    assert np.abs(np.asarray(one) - np.asarray(other)).min() > 0
    for eager, compiled in zip((one, other, slope), engine.compiled(twice)(images), strict=True):
        np.testing.assert_allclose(eager, compiled, rtol=1e-4, atol=1e-5)
    assert not np.array_equal(classifier.drawing(3, Rng.from_seed(6)).logits(images), one)
    answers = classifier.predict(images)
    np.testing.assert_array_equal(classifier.predict(images), answers)
    np.testing.assert_allclose(classifier.predict(images[4:7], 2), answers[4:7], atol=1e-5)
    assert not np.array_equal(behind(network.model, seed=1).predict(images), answers)
    assert classifier.answers(images).shape == (len(images), DRAWS)


def test_a_loop_in_an_attack_draws_anew_in_each_step(network, images):
    """Also for images that do not move, whose numbers would be the same."""
    classifier = behind(network.model)

    def ask(x):
        view = classifier.drawing(1, Rng.from_seed(2))
        return engine.repeat(lambda i, known: ops.where(ops.equal(ops.arange(4), i), view.logits(x)[:, :1], known), 4, ops.zeros((10, 4)))

    found = np.asarray(engine.compiled(ask)(images))
    assert len(np.unique(found[0])) == 4
    np.testing.assert_allclose(found, ask(images), rtol=1e-4, atol=1e-5)


def test_what_is_counted_is_every_draw(network, images):
    """Of an attack by gradients; one that sees none asks about one draw at a time, and keeps within its budget."""
    classifier, y = behind(network.model), victims.labels()
    fgsm = Attack(registry.get("attacks", "fgsm"), Linf(0.1), {}, draws=7)
    fgsm(classifier, images, y, Rng.from_seed(0))
    assert classifier.counter.read()["gradients"].sum() == 7 * len(images)
    noise = Attack(registry.get("attacks", "noise"), Linf(0.1), {"queries": 5}, draws=7)
    classifier.counter.start()
    noise(classifier, images, y, Rng.from_seed(0))
    assert classifier.counter.read()["queries"].sum() <= 5 * len(images)


def test_a_system_that_draws_nothing_is_asked_once(network, images):
    classifier = Classifier(Chain(network.model).behind(Purifier(lambda x, rng: x * 0.5)))
    assert not classifier.random
    assert classifier.drawing(10, Rng.from_seed(0)) is classifier
    fgsm = Attack(registry.get("attacks", "fgsm"), Linf(0.1), {}, draws=7)
    fgsm(classifier, images, victims.labels(), Rng.from_seed(0))
    assert classifier.counter.read()["gradients"].sum() == len(images)


# As one model, and what is trained behind it --------------------------------------------------------------------------


def test_as_a_keras_model_it_is_still_random(network, images):
    """In plain Keras at one draw, always the same; under attack over draws, also where a new network was trained behind it."""
    chain = behind(network.model).chain
    model = chain.as_model()
    again = Classifier(keras.models.clone_model(model))
    assert Classifier(model).random
    assert again.random
    plain = model.predict_on_batch(images)
    np.testing.assert_array_equal(model.predict_on_batch(images), plain)
    np.testing.assert_allclose(Classifier(chain).plainly().predict(images), plain, atol=1e-5)
    assert len({tuple(row) for row in Classifier(model).drawing(1, Rng.from_seed(0)).logits(images).numpy().round(4)}) == len(images)
    with engine.drawing(Rng.from_seed(3)):
        one = np.asarray(model(images))
    with engine.drawing(Rng.from_seed(4)):
        other = np.asarray(model(images))
    assert np.abs(one - other).max() > 1e-3


def test_several_stages_draw_apart(network, images):
    """Two that add the same kind of noise to the same image add two noises: the variance doubles."""
    once, twice = behind(network.model).chain, behind(network.model).chain.behind(Purifier(lambda x, rng: noisy(x, rng), random=True))
    for chain in (twice, Chain(once.as_model()).behind(once.purifiers[0])):
        shown = np.asarray(Classifier(chain).purify(images)) - images
        assert shown.std() > 0.08
    assert np.asarray(twice.purify(images) - images).std() == pytest.approx(0.1 * 2**0.5, rel=0.1)


# What the answers say -------------------------------------------------------------------------------------------------


def test_how_answers_vary():
    """Two images, three draws: the mean's answers are 0 and 1."""
    answers, logits = np.array([[0, 0, 1], [1, 1, 1]]), np.array([[2.0, 1.0], [0.0, 1.0]])
    said = varied(answers, logits, np.array([0, 1]))
    assert said["accuracy_one_draw"] == pytest.approx(5 / 6)
    assert said["disagree_share"] == pytest.approx(1 / 6)
    assert said["accuracy_spread"] == pytest.approx(np.std([1, 1, 0.5], ddof=1))
    assert not any(varied(answers[:, :1], logits, np.array([0, 1]))[name] for name in ("accuracy_spread", "disagree_share"))


def test_which_defences_are_random_is_read_from_their_files():
    """For the keys, before any is called."""
    random = {name for name in registry.names("defenses") if keys.is_random(name)}
    assert {"random_resize_pad", "total_variation"} <= random
    assert not random & {"bit_depth", "jpeg", "median", "gaussian_blur", "percentile", "autoencoder", "hybrid", "adversarial_training"}


# The random defences --------------------------------------------------------------------------------------------------


def defended(victim, name: str, **settings) -> Classifier:
    plugin = registry.get("defenses", name)
    return Classifier(plugin.function(Chain(victim.model), **settings))


def test_resize_pad_shrinks_and_places(images):
    """White images: the white part is a square within the drawn sizes, anywhere; at `smallest` 1 nothing changes."""
    white = np.ones((200, 10, 10, 1), np.float32) - np.arange(200, dtype=np.float32)[:, None, None, None] * 2e-3
    resize = registry.get("defenses", "random_resize_pad").function
    (purifier,) = resize(Chain(victims.network().model), smallest=0.7).purifiers
    shown = np.asarray(purifier(white, Rng(KEY).of(white)))[..., 0] > 0.5
    heights, widths = shown.any(2).sum(1), shown.any(1).sum(1)
    assert set(heights) == {7, 8, 9, 10}
    np.testing.assert_array_equal(heights, widths)
    np.testing.assert_array_equal(shown.sum((1, 2)), heights * widths)
    assert len(np.unique(shown.any(2).argmax(1)[heights == 7])) == 4
    (whole,) = resize(Chain(victims.network().model), smallest=1.0).purifiers
    np.testing.assert_allclose(whole(images), images, atol=1e-6)


@pytest.mark.parametrize("name", ["random_resize_pad", "randomized_smoothing", "total_variation"])
def test_a_lone_image_is_attacked_behind_a_random_defence(victim, toy_data, name):
    """As the last one that an attack has left to fool: what is drawn for it in a graph keeps its number of images."""
    classifier = defended(victim, name)
    x, y = toy_data.x_test[:1] / np.float32(255), toy_data.y_test[:1]
    attack = Attack(registry.get("attacks", "fgsm"), Linf(0.1), {}, 2)
    x_adv = engine.compiled(lambda x: attack(classifier, x, y, Rng.from_seed(0)))(x)
    assert x_adv.shape == x.shape
    assert np.abs(np.asarray(x_adv) - x).max() == pytest.approx(0.1, abs=1e-6)


@pytest.mark.slow
def test_averaging_over_draws_breaks_resize_pad_further(victim, toy_data):
    """Expectation over transformation against one draw a step, at the same number of steps."""
    classifier = defended(victim, "random_resize_pad", smallest=0.6)
    x, y = toy_data.x_test, toy_data.y_test
    left = {}
    for draws in (1, 10):
        attack = Attack(registry.get("attacks", "pgd"), Linf(0.1), {"steps": 10, "restarts": 1, "step_size": 0.25}, draws)
        x_adv = np.asarray(
            classifier.compiled(attack.key, lambda attack=attack: lambda x: attack(classifier, x, y, Rng.from_seed(0)))(x / np.float32(255))
        )
        left[draws] = classifier.accuracy(x_adv, y)
    assert left[10] < left[1] - 0.02


def test_total_variation_has_the_closed_form_of_an_edge():
    """A vertical edge of height b - a between bands of 3 and 5 columns: each band moves by weight / columns towards the other."""
    x = np.full((1, 6, 8, 1), 0.2, np.float32)
    x[:, :, 3:] = 0.8
    found = np.asarray(engine.compiled(lambda x: smoothed(x, ops.ones_like(x), 0.3, 500))(x))[0, :, :, 0]
    np.testing.assert_allclose(found[:, :3], 0.2 + 0.3 / 3, atol=2e-3)
    np.testing.assert_allclose(found[:, 3:], 0.8 - 0.3 / 5, atol=2e-3)


def test_total_variation_paints_dropped_pixels_without_having_seen_them():
    """Two images that differ in dropped pixels alone come out alike."""
    rng = np.random.default_rng(3)
    x = rng.random((1, 8, 8, 3), np.float32)
    kept = (rng.random((1, 8, 8, 1)) > 0.4).astype(np.float32)
    other = np.where(kept > 0, x, 0.5).astype(np.float32)
    np.testing.assert_allclose(smoothed(x, kept, 0.1, 50), smoothed(other, kept, 0.1, 50), atol=1e-6)


def left_by_pgd(classifier: Classifier, data) -> float:
    return classifier.accuracy(attacks.pgd(classifier, data.x_test, data.y_test, Linf(0.1), steps=10), data.y_test)


def test_rounding_that_adds_nothing_is_broken_like_no_stage(victim, toy_data):
    """PGD through BPDA reaches the undefended number."""
    assert left_by_pgd(defended(victim, "bit_depth", bits=5), toy_data) <= left_by_pgd(victim, toy_data) + 0.02


@pytest.mark.slow
def test_jpeg_is_passed_by_its_own_steps_but_for_the_rounding(victim, toy_data):
    """Halving the colours takes most of what a change from pixel to pixel does: the identity does not see that, and the default does."""
    straight, identity = (defended(victim, "jpeg", quality=95, backward=each) for each in ("straight", "identity"))
    assert left_by_pgd(straight, toy_data) < left_by_pgd(identity, toy_data) - 0.2
