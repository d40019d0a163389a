"""How far no attack can reach: closed forms, independent computations, soundness against attacks, and that a killed run goes on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from advrun import L1, L2, Classifier, Linf, engine, registry
from advrun.attack import Attack
from advrun.bounds import _intervals as intervals
from advrun.bounds._weibull import location
from advrun.bounds.smoothing import certified
from advrun.certify import Bound, Certified, certify
from advrun.checkpoints import Checkpoints
from advrun.config import loads
from advrun.config.entries import settings_of
from advrun.contract import victims
from advrun.craft import craft
from advrun.engine import keras, ops
from advrun.errors import ConfigError, PluginError, UnboundedError
from advrun.runs import keys
from advrun.runs.plan import make_plan
from advrun.system import Chain, Detector, Purifier
from advrun.system.detectors import Thresholded

CALM = Thresholded(Detector(lambda x, logits: ops.mean(x, axis=(1, 2, 3))), 2.0, 1.0, 0)
"""A detector that rejects nothing."""


def bound(name: str, norm, **given) -> Bound:
    plugin = registry.get("bounds", name)
    return Bound(plugin, norm, settings_of(plugin, given))


@pytest.fixture(scope="module")
def inside(linear, images):
    """Images well within their class of the linear classifier, whose boundaries lie far inside the box, and that class."""
    x = victims.well_inside(linear, images)
    return x, linear.predict(x).argmax(-1).astype(np.int32)


def gaps_and_slopes(linear, x):
    """Differences of logits (n, k) to the own class, and the weights (n, k, d) behind them; the own class itself is left out."""
    weights, bias = linear.model.layers[-1].get_weights()
    logits = x.reshape(len(x), -1) @ weights + bias
    own = logits.argmax(-1)
    others = np.array([[j for j in range(logits.shape[1]) if j != label] for label in own])
    gaps = np.take_along_axis(logits, own[:, None], 1) - np.take_along_axis(logits, others, 1)
    return others, gaps, weights.T[own][:, None] - weights.T[others]


# Interval bound propagation ------------------------------------------------------------------------------------------


def test_ibp_is_exact_on_one_layer(linear, inside):
    """The true distance in Linf, short of it by less than the last bisection."""
    x, y = inside
    true = victims.boundary_distances(linear, x, np.inf)
    found = certify(linear, bound("ibp", Linf(), bisections=20, largest=0.25), x, y).radius
    assert (found <= true).all()
    np.testing.assert_allclose(found, true, rtol=2e-4)


@cache
def zoo():
    """Small networks with every kind of layer that intervals pass, weights of batch normalisation such as training leaves them."""
    layers = keras.layers
    keras.utils.set_random_seed(5)
    inputs = keras.Input((8, 8, 3))
    inner = keras.Sequential([keras.Input((4, 4, 4)), layers.Conv2D(4, 3, padding="same", activation="tanh"), layers.LeakyReLU()])
    x = layers.Normalization(mean=[0.5, 0.4, 0.3], variance=[0.1, 0.2, 0.3])(layers.Rescaling(-1.0, offset=1.0)(inputs))
    x = layers.BatchNormalization()(layers.Conv2D(4, 3, strides=2, padding="same")(x))
    x = layers.Add()([layers.ReLU()(x), inner(x)])
    x = layers.Concatenate()([layers.MaxPooling2D(2)(x), layers.AveragePooling2D(2)(x)])
    x = layers.Dropout(0.5)(layers.Flatten()(x))
    x = layers.Dense(16, activation="sigmoid")(x)
    mixed = keras.Model(inputs, layers.Dense(5)(x), name="mixed")
    squashed = keras.Model(inputs, layers.Activation("tanh")(mixed.output), name="ends_otherwise")
    nested = keras.Sequential([keras.Input((8, 8, 3)), mixed], name="nested")
    made = [mixed, squashed, nested]
    for name, given in (("lnet", {}), ("cnn", {"width": 4, "blocks": 2}), ("mlp", {"width": 16}), ("resnet", {"depth": 8, "width": 4})):
        shape = (32, 32, 3) if name == "lnet" else (8, 8, 3)
        made.append(registry.get("models", name).function(shape, 5, **given))
    rng = np.random.default_rng(1)
    for model in made:
        for layer in model._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.set_weights(
                    [rng.normal(0, 1, w.shape) if i != 3 else rng.uniform(0.5, 2, w.shape) for i, w in enumerate(layer.get_weights())]
                )
    return made


NAMES = ("mixed", "ends_otherwise", "nested", "lnet", "cnn", "mlp", "resnet")
SLOW = ("ends_otherwise", "lnet", "cnn", "resnet")


@pytest.mark.parametrize("index", [pytest.param(i, id=name, marks=[pytest.mark.slow] * (name in SLOW)) for i, name in enumerate(NAMES)])
def test_intervals_hold_what_images_give(index):
    """Every image of the ball keeps its differences of logits above the lower ends; without a ball they are the differences."""
    model = zoo()[index]
    rng = np.random.default_rng(index)
    x = rng.uniform(0, 1, (4, *model.input_shape[1:])).astype(np.float32)
    y = np.array([0, 1, 2, 3], np.int32)

    def differences(images):
        """Of images (k * 4, ...), four by four: (k, 4, 5)."""
        logits = model.predict_on_batch(images).reshape(-1, 4, 5)
        return np.take_along_axis(logits, np.broadcast_to(y[:, None], (len(logits), 4, 1)), 2) - logits

    exact = np.asarray(intervals.margins(model, intervals.around(x, 0.0), y).lower)
    np.testing.assert_allclose(exact, differences(x)[0], atol=1e-4)
    previous = exact
    for eps in (0.005, 0.05):
        lower = np.asarray(intervals.margins(model, intervals.around(x, eps), y).lower)
        assert (lower <= previous + 1e-5).all()  # a larger ball bounds less
        previous = lower
        corners = x + np.sign(rng.normal(size=(30, *x.shape))).astype(np.float32) * np.float32(eps)
        assert (differences(corners.clip(0, 1).reshape(-1, *x.shape[1:])) >= lower - 1e-4).all()


def test_the_box_makes_intervals_smaller():
    around = intervals.around(np.array([0.0, 0.5, 0.99], np.float32).reshape(3, 1, 1, 1), 0.1)
    np.testing.assert_allclose(np.asarray(around.lower).ravel(), [0, 0.4, 0.89], atol=1e-6)
    np.testing.assert_allclose(np.asarray(around.upper).ravel(), [0.1, 0.6, 1.0], atol=1e-6)


def test_what_intervals_do_not_pass_is_named_in_one_line(images):
    layers = keras.layers
    normal = keras.Sequential([keras.Input((6, 6, 3)), layers.Flatten(), layers.LayerNormalization(name="odd_one"), layers.Dense(5)])
    falling = keras.Sequential([keras.Input((6, 6, 3)), layers.Flatten(), layers.Dense(8, activation="gelu", name="bent"), layers.Dense(5)])
    mine = keras.Sequential([keras.Input((6, 6, 3)), layers.Flatten(), layers.Dense(5, activation=lambda x: -x, name="own")])
    capsules = registry.get("models", "capsnet").function((16, 16, 1), 5)
    y = np.zeros(10, np.int32)
    cases = [
        (Classifier(normal), images, "layer 'odd_one' is a LayerNormalization, which"),
        (Classifier(falling), images, "layer 'bent' is a Dense with activation 'gelu', which"),
        (Classifier(mine), images, "layer 'own' is a Dense with activation '<lambda>', which"),
        (Classifier(capsules), np.full((10, 16, 16, 1), 0.5, np.float32), "which interval bounds do not pass"),
        (Classifier(Chain(victims.network().model).behind(Purifier(lambda x, rng: x))), images, "a purifier stands in front"),
        (Classifier(replace(Chain(victims.network().model), detectors=(CALM,))), images, "a detector stands beside the network"),
    ]
    for classifier, x, said in cases:
        y = classifier.predict(x).argmax(-1)
        with pytest.raises(UnboundedError, match=said) as raised:
            certify(classifier, bound("ibp", Linf()), x, y)
        assert "\n" not in str(raised.value)


@pytest.fixture(scope="module")
def dense(toy_data) -> Classifier:
    """A small dense network, trained on the toy data."""
    keras.utils.set_random_seed(2)
    model = registry.get("models", "mlp").function((8, 8, 3), 4, width=16, depth=1)
    model.compile(keras.optimizers.Adam(1e-2), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(toy_data.x_train / np.float32(255), toy_data.y_train, batch_size=32, epochs=6, verbose=0)
    return Classifier(model)


def test_ten_thousand_attacks_stay_outside_of_what_ibp_certifies(dense, toy_data):
    """Noise at the corners, and PGD from random starts, just within each image's radius."""
    victim = dense
    x, y = toy_data.x_test[::8] / np.float32(255), toy_data.y_test[::8]
    radius = certify(victim, bound("ibp", Linf()), x, y).radius
    assert (radius > 0).sum() >= 8
    x, y, radius = x[radius > 0], y[radius > 0], radius[radius > 0] * np.float32(0.9999)
    tried = 0
    rng = np.random.default_rng(3)
    for image, label, reach in zip(x, y, radius, strict=True):
        corners = image + reach * np.sign(rng.normal(size=(1000, *image.shape))).astype(np.float32)
        assert (victim.predict(corners.clip(0, 1)).argmax(-1) == label).all()
        attack = Attack(registry.get("attacks", "pgd"), Linf(float(reach)), settings_of(registry.get("attacks", "pgd"), {"steps": 10}))
        starts = np.repeat(image[None], 250, 0)
        x_adv = craft(victim, attack, starts, np.full(250, label), seed=1).x_adv
        assert (victim.predict(x_adv).argmax(-1) == label).all()
        tried += 1250
    assert tried >= 10_000


# Randomised smoothing ------------------------------------------------------------------------------------------------


def test_smoothing_is_an_independent_computation():
    """From counts to radii, by SciPy's exact interval of a binomial proportion."""
    rng = np.random.default_rng(0)
    first, second = rng.multinomial(100, [0.2, 0.5, 0.3], 200), rng.multinomial(1000, [0.1, 0.6, 0.3], 200)
    second[:3] = [[0, 1000, 0], [500, 500, 0], [0, 0, 1000]]
    first[:3] = [[0, 100, 0]] * 3
    y = rng.integers(0, 3, 200)
    y[:3] = 1
    radius, abstained = certified(first, second, y, sigma=0.5, alpha=0.001)
    for i in range(200):
        guess = first[i].argmax()
        low = stats.binomtest(int(second[i, guess]), 1000).proportion_ci(confidence_level=1 - 2 * 0.001, method="exact").low
        expected = 0.5 * stats.norm.ppf(low) if low > 0.5 and guess == y[i] else 0.0
        assert radius[i] == pytest.approx(expected, rel=1e-6)
        assert radius[i] <= expected  # rounded down
        assert abstained[i] == (low <= 0.5)
    assert 0 < abstained.sum() < 200
    assert radius[0] == pytest.approx(0.5 * stats.norm.ppf(0.001 ** (1 / 1000)), rel=1e-6)


def test_smoothing_on_a_linear_classifier_comes_up_to_the_true_distance():
    """Of two classes: the smoothed classifier is the classifier itself, and each radius its distance, short of what n samples can tell."""
    classifier = victims.linear_classifier(2, seed=4)
    rng = np.random.default_rng(2)
    x = (0.5 + 0.05 * rng.normal(size=(8, *victims.IMAGE_SHAPE))).astype(np.float32)
    y = classifier.predict(x).argmax(-1)
    true = victims.boundary_distances(classifier, x, 2)
    found = certify(classifier, bound("smoothing", L2(), sigma=float(np.median(true)), n=4000), x, y)
    near = true < 2 * np.median(true)
    assert (found.radius <= true).all()
    np.testing.assert_allclose(
        found.radius[near & (found.details["abstained"] == 0)], true[near & (found.details["abstained"] == 0)], rtol=0.2
    )
    assert (near & (found.radius > 0)).sum() >= 4


def test_smoothing_may_be_right_where_the_system_is_wrong(linear, inside):
    """It is about another system: it is asked about every image, and a wrong answer has no radius."""
    x, y = inside
    found = certify(linear, bound("smoothing", L2(), n=200), x, (y + (np.arange(10) < 3)) % 5)
    assert found.asked.all()
    assert (found.queries == 300).all()
    assert (found.radius[:3] == 0).all()
    assert (found.radius[3:] > 0).all()


@pytest.fixture(scope="module")
def smoothed(dense) -> Classifier:
    """The smoothed classifier of the dense network, which can be attacked."""
    return Classifier(registry.get("defenses", "randomized_smoothing").function(Chain(dense.model), sigma=SIGMA), draws=60)


SIGMA, DRAWS = 0.25, 200


def no_majority(logits, x, y, seed: int) -> np.ndarray:
    """How probable it is that so few of 200 noisy copies of each image are of class y, if half of all are, (n,)."""
    rng, votes = np.random.default_rng(seed), np.zeros(len(x), int)
    for _ in range(DRAWS):
        votes += np.asarray(logits(x + SIGMA * rng.standard_normal(x.shape, np.float32))).argmax(-1) == y
    return stats.binom.cdf(votes, DRAWS, 0.5)


@pytest.mark.slow
def test_ten_thousand_attacks_stay_outside_of_what_smoothing_certifies(dense, smoothed, toy_data):
    """Changes at random, and PGD up the mean softmax of the smoothed classifier from random starts, just within each image's radius.

    None takes the majority of votes from the class that is certified, by more than chance in 10,000 tries; three times as far some do.
    """
    x, y = toy_data.x_test[::8] / np.float32(255), toy_data.y_test[::8]
    found = certify(smoothed, bound("smoothing", L2(), sigma=SIGMA, n=2000), x, y)
    assert found.about == ""
    few = np.flatnonzero(found.radius > 0)[:10]
    assert len(few) == 10
    x, y, radius = x[few], y[few], found.radius[few] * np.float32(0.9999)
    rng, logits = np.random.default_rng(0), engine.compiled(dense.forward)
    each, aimed = 1000, 25
    plugin, tried, fooled = registry.get("attacks", "pgd"), 0, 0
    for image, label, reach in zip(x, y, radius, strict=True):
        changes = rng.standard_normal((each - aimed, *image.shape), np.float32)
        changes *= reach / np.sqrt(np.square(changes).sum((1, 2, 3), keepdims=True))
        for times in (1, 3):
            attack = Attack(plugin, L2(float(times * reach)), settings_of(plugin, {"steps": 10, "step_size": 0.25}), draws=4)
            crafted = craft(smoothed, attack, np.repeat(image[None], aimed, 0), np.full(aimed, label), seed=1).x_adv
            shown = np.concatenate([crafted, image + changes]) if times == 1 else crafted
            chance = no_majority(logits, shown, label, seed=times)
            if times == 1:
                assert chance.min() > 0.01 / 10_000
                tried += len(shown)
            fooled += int((chance < 1e-6).sum()) * (times > 1)
    assert tried >= 10_000
    assert fooled > 0.2 * aimed * len(x)


def test_smoothing_of_the_smoothed_classifier_is_about_itself_and_asks_what_is_behind_the_noise(dense, smoothed, toy_data):
    """The same radii as of the network alone, but for the draw; about it, no other; at another sigma, or behind a detector, none."""
    x, y = toy_data.x_test[::10] / np.float32(255), toy_data.y_test[::10]
    alone, itself = (certify(each, bound("smoothing", L2(), sigma=SIGMA, n=400), x, y) for each in (dense, smoothed))
    assert (alone.about, itself.about) == ("the smoothed classifier", "")
    np.testing.assert_array_equal(alone.radius, itself.radius)  # the same seed, and the noise is the bound's own
    assert (itself.queries == 500).all()  # one answer for each noisy image, whatever the number of draws
    assert (itself.radius > 0).any()
    with pytest.raises(UnboundedError, match=r"smoothed already, with sigma 0\.25, and this bound is about sigma 0\.5"):
        certify(smoothed, bound("smoothing", L2(), sigma=0.5), x, y)
    for classifier in (smoothed, dense):  # under noise the system may say "rejected", which no vote counts
        with pytest.raises(UnboundedError, match="a detector stands beside the network"):
            certify(Classifier(replace(classifier.chain, detectors=(CALM,))), bound("smoothing", L2(), sigma=SIGMA), x, y)
    with pytest.raises(UnboundedError, match="votes have no slope"):
        certify(smoothed, bound("clever", L2()), x, y)


@pytest.mark.parametrize(("alpha", "least"), [(0.001, 10), (0.05, 5), (0.49, 2)])
def test_so_few_samples_that_all_of_them_say_nothing_are_refused(alpha, least):
    """alpha^(1/n) is the lower end for n of n; with one sample more it is above 1/2."""
    loads(f"models: [{{name: mlp}}]\nbounds: [{{name: smoothing, n: {least}, alpha: {alpha}}}]\n")
    with pytest.raises(ConfigError, match=rf"bounds\[0\].n: got {least - 1}; at alpha {alpha} every image .* fewer than {least} samples"):
        loads(f"models: [{{name: mlp}}]\nbounds: [{{name: smoothing, n: {least - 1}, alpha: {alpha}}}]\n")
    every = np.array([[least, 0]])
    assert certified(every, every, np.zeros(1, int), 1.0, alpha)[0, 0] > 0
    assert certified(every - [[1, 0]], every - [[1, 0]], np.zeros(1, int), 1.0, alpha)[1, 0] == 1


# CLEVER --------------------------------------------------------------------------------------------------------------


def test_the_end_of_a_reverse_weibull_distribution_is_found():
    rng = np.random.default_rng(0)
    maxima = 3 - 0.5 * rng.weibull(3.0, (2000, 6))
    found, p = location(maxima)
    np.testing.assert_allclose(found, 3, rtol=0.03)
    assert (p > 0.001).all()
    assert (found >= maxima.max(0)).all()


def test_the_fit_is_that_of_scipy_where_that_finds_an_end():
    """SciPy's own, which ART calls, from one start: it may also end at the largest maximum with a shape below 1, or run away."""
    rng = np.random.default_rng(1)
    compared = 0
    for shape in 4 * (1.5, 2.0, 2.5, 3.0, 3.5):
        maxima = 3 - 0.5 * rng.weibull(shape, 60)
        ((end,), _) = location(maxima[:, None])
        c, loc, _ = stats.weibull_min.fit(-maxima, 1)
        if c > 1 and -loc < maxima.max() + np.ptp(maxima):
            assert end == pytest.approx(-loc, rel=2e-3)
            compared += 1
    assert compared >= 5


def test_maxima_without_an_end_give_the_largest_of_them():
    """Gumbel's distribution has none: any location far away fits as well."""
    maxima = 5 + np.random.default_rng(2).gumbel(size=(200, 20))
    found, _ = location(maxima)
    assert (found == maxima.max(0)).mean() >= 0.8
    assert (found < maxima.max(0) + np.ptp(maxima, axis=0)).all()  # now and then 200 of them look as if they had one


def test_maxima_that_are_one_number_end_there():
    (end,), (p,) = location(np.full((20, 1), 0.7, np.float32) * (1 + 1e-7 * np.arange(20)[:, None]))
    assert (end, p) == (pytest.approx(0.7, rel=1e-5), 1.0)


@pytest.mark.parametrize(
    ("norm", "dual"),
    [(L2(), 2), pytest.param(Linf(), 1, marks=pytest.mark.slow), pytest.param(L1(), np.inf, marks=pytest.mark.slow)],
    ids=["l2", "linf", "l1"],
)
def test_clever_on_a_linear_classifier_is_the_distance(linear, inside, norm, dual):
    """The gap over the dual norm of the slope, within 2 %: untargeted over all classes, targeted to one; never more than the radius."""
    x, y = inside
    others, gaps, slopes = gaps_and_slopes(linear, x)
    true = gaps / np.linalg.norm(slopes, ord=dual, axis=-1)
    given = {"batches": 5, "samples": 2, "radius": 0.9 if norm.name == "Linf" else 90.0, "classes": None}
    found = certify(linear, bound("clever", norm, **given), x, y)
    np.testing.assert_allclose(found.radius, true.min(-1), rtol=0.02)
    assert (found.details["ks_p"] == 1).all()
    aimed = certify(linear, bound("clever", norm, **given), x, y, target=3)
    wanted = np.where((others == 3).any(-1), np.where(others == 3, true, np.inf).min(-1), 0)
    np.testing.assert_allclose(aimed.radius, wanted, rtol=0.02)


def test_clever_says_no_more_than_its_ball(linear, inside):
    """And that it would."""
    found = certify(linear, bound("clever", L2(), batches=3, samples=1, radius=0.01, classes=1), *inside)
    assert (found.radius == np.float32(0.01)).all()
    assert (found.details["capped"] == 1).all()
    assert (found.details["no_gradient"] == 0).all()


def test_clever_says_where_it_saw_no_gradient(images):
    """Behind rounding that is passed as it is every score is the radius of the ball: gradient masking (Goodfellow, 2018)."""
    given = bound("clever", L2(), batches=3, samples=1, radius=0.5, classes=1)
    masked = certify(victims.blind(), given, images, victims.blind().predict(images).argmax(-1))
    assert (masked.details["no_gradient"] == 1).all()
    assert (masked.radius == np.float32(0.5)).all()


def test_clever_is_never_called_a_bound():
    assert not registry.get("bounds", "clever").sound
    assert registry.get("bounds", "ibp").sound


@pytest.mark.slow
@pytest.mark.parametrize(
    ("purifier", "given"), [("gaussian_blur", {"sigma": 0.4}), ("percentile", {"size": 2}), ("bit_depth", {}), ("jpeg", {})]
)
def test_clever_behind_a_purifier_is_about_what_it_is_without(reference_folder, purifier, given):
    """As its authors found of transformations with no useful gradient, passed by BPDA (Weng et al., 2018, arXiv:1810.08640, section 4)."""
    with np.load(reference_folder / "images.npz") as arrays:
        x, y = arrays["x"][:24] / np.float32(255), arrays["y"][:24].astype(np.int32)
    plain = Classifier.from_file(reference_folder / "lnet.keras")
    plugin = registry.get("defenses", purifier)
    behind = Classifier(plugin.function(Chain(plain.model), **settings_of(plugin, given)))
    score = [certify(each, bound("clever", L2(), batches=20, samples=16, classes=3), x, y) for each in (plain, behind)]
    both = (score[0].radius > 0) & (score[1].radius > 0)
    assert both.sum() > 15
    median = np.median(score[1].radius[both] / score[0].radius[both])
    assert 0.9 < median < 1.15 if purifier in ("bit_depth", "jpeg") else 0.6 < median < 1.7


# Cells ---------------------------------------------------------------------------------------------------------------


CONFIG = """
data: {{name: arrays, path: {folder}/toy.npz, validation: 0.2}}
models: [{{name: mlp, width: 16, depth: 1}}]
train: {{epochs: 3, batch_size: 32, learning_rate: 1e-2}}
attacks: [{{name: pgd, eps: [4/255, 32/255], steps: 5, examples: 40}}]
defenses: [{{name: gaussian_blur, sigma: 1}}]
bounds:
  - {{name: ibp}}
  - {{name: smoothing, n: 200, examples: 60}}
  - {{name: clever, norm: l2, batches: 10, samples: 4, examples: 40}}
results: {folder}/results
compute: {{batch_size: 16}}
"""


def written(folder: Path, toy_data) -> Path:
    arrays = {name: getattr(toy_data, name) for name in ("x_train", "y_train", "x_test", "y_test")}
    np.savez(folder / "toy.npz", group_train=toy_data.group, class_names=np.array(toy_data.class_names), **arrays)
    (folder / "toy.yaml").write_text(CONFIG.format(folder=folder))
    return folder / "toy.yaml"


class Dying(Checkpoints):
    """The process dies after some checkpoints, each written at once."""

    def __init__(self, folder: Path, lives: int) -> None:
        super().__init__(folder)
        self.lives = lives

    def put(self, name, arrays) -> None:
        super().put(name, arrays)
        self.flush()
        self.lives -= 1
        if self.lives == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["ibp", "smoothing", "clever"])
def test_killed_and_resumed_by_batch_it_says_the_same(linear, inside, tmp_path, name):
    x, y = inside
    wanted = bound(
        name, registry.get("bounds", name).geometries[0](), **{"smoothing": {"n": 50}, "clever": {"batches": 8, "samples": 2}}.get(name, {})
    )
    whole = certify(linear, wanted, x, y, batch_size=4)
    with pytest.raises(KeyboardInterrupt):
        certify(linear, wanted, x, y, batch_size=4, checkpoints=Dying(tmp_path, 2))
    again = Counting(tmp_path)
    resumed = certify(linear, wanted, x, y, batch_size=4, checkpoints=again)
    assert again.made == ["8-2"]
    same(whole, resumed)
    (tmp_path / "0-4.npz").write_bytes(b"no archive")
    same(whole, certify(linear, wanted, x, y, batch_size=4, checkpoints=Checkpoints(tmp_path, lambda file, reason: None)))


class Counting(Checkpoints):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.made: list[str] = []

    def put(self, name, arrays) -> None:
        self.made.append(name)
        super().put(name, arrays)


def same(one: Certified, other: Certified) -> None:
    np.testing.assert_array_equal(one.radius, other.radius)
    for name, values in one.details.items():
        np.testing.assert_array_equal(values, other.details[name])
    np.testing.assert_array_equal(one.queries, other.queries)


def test_bounds_are_cells_of_their_own_and_change_no_other(toy_data):
    text = "models: [{name: mlp}]\nattacks: [{name: fgsm, eps: 8/255}]\ndefenses: [{name: gaussian_blur, sigma: 1}]\n"
    before = make_plan(loads(text), toy_data).cells
    after = make_plan(loads(text + "bounds: [{name: ibp}, {name: clever, norm: l1}]\n"), toy_data).cells
    assert [cell.key for cell in after if cell.kind != "bound"] == [cell.key for cell in before]
    cells = [cell for cell in after if cell.kind == "bound"]
    assert [(cell.defense_label, cell.bound.label, cell.stage) for cell in cells] == [
        ("none", "ibp", "attack"), ("none", "clever", "attack"), ("gaussian_blur", "ibp", "defend"), ("gaussian_blur", "clever", "defend")
    ]  # fmt: skip
    keyed = {cells[1].key}
    for change in ("norm: l2", "norm: l1, samples: 65", "norm: l1, examples: 8", "norm: l1, target: 1", "norm: l1, label: other"):
        changed = make_plan(loads(text + f"bounds: [{{name: ibp}}, {{name: clever, {change}}}]\n"), toy_data).cells
        keyed.add(next(cell for cell in changed if cell.kind == "bound" and cell.bound.name == "clever").key)
    assert len(keyed) == 6


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        ("[{name: ibpp}]", "bounds[0].name: no bound named 'ibpp'; did you mean 'ibp'?"),
        ("[{name: ibp, norm: l2}]", "bounds[0].norm: got 'l2'; expected linf"),
        ("[{name: ibp, eps: 8/255}]", "bounds[0].eps: bound 'ibp' takes no eps: it says for each image how far it holds"),
        ("[{name: ibp, target: 3}]", "bounds[0].target: bound 'ibp' has no targeted form"),
        ("[{name: smoothing, sigma: 0}]", "bounds[0].sigma: got 0; expected a number > 0"),
        ("[{name: ibp}, {name: ibp}]", "bounds[1].label: 'ibp' is taken by bounds[0]; give this entry another label"),
        ("[{name: clever, target: 9}]", "bounds[0].target: got 9; toy has the classes 0 to 3"),
    ],
)
def test_mistakes_are_named_with_their_place(toy_data, bounds, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        make_plan(loads(f"models: [{{name: mlp}}]\nbounds: {bounds}\n"), toy_data)


def test_a_bound_depends_on_its_code_and_not_on_the_report():
    files = {file.relative_to(registry.PACKAGE).as_posix() for file in keys.sources("bounds", "clever", "bound")}
    assert {"bounds/clever.py", "bounds/_weibull.py", "runs/work/bound.py", "certify.py", "certificates.py", "geometry.py"} <= files
    assert not {name for name in files if name.startswith("report/") or name in ("flags.py", "contradictions.py", "bounds/ibp.py")}
    assert "bounds/_intervals.py" in {file.relative_to(registry.PACKAGE).as_posix() for file in keys.sources("bounds", "ibp", "bound")}


def test_what_a_bound_returns_is_judged(linear, inside, monkeypatch):
    x, y = inside
    plugin = registry.get("bounds", "ibp")
    for returned, said in (
        (lambda x: x, "'radius' is"),
        (lambda x: x[:, 0, 0, 0] - 1, "a radius is -"),
        (lambda x: x[:, 0, 0, 0] / 0, "a radius is inf"),
    ):
        monkeypatch.setattr(
            type(plugin), "function", property(lambda plugin, returned=returned: lambda system, x, y, norm, **_: returned(x)), raising=False
        )
        with pytest.raises(PluginError, match=said):
            certify(Classifier(linear.model), bound("ibp", Linf()), x, y)


@pytest.mark.slow
def test_killed_for_real_a_run_ends_with_the_same_tables(toy_data, tmp_path):
    texts = []
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        config = written(tmp_path / name, toy_data)
        command = [sys.executable, "-m", "advrun", "run", str(config)]
        if name == "killed":
            run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while run.poll() is None and not list((tmp_path / name / "results/toy/bounds").glob("*smoothing*")):
                time.sleep(0.02)
            os.kill(run.pid, signal.SIGKILL)
            run.wait()
        assert subprocess.run(command, check=False, capture_output=True).returncode == 0
        texts.append((tmp_path / name / "results/toy/tables/bounds.csv").read_text())
    assert texts[0] == texts[1]
    assert ",nan" not in texts[0]


@pytest.mark.slow
def test_eager_is_what_is_compiled(linear, inside):
    x, y = inside
    engine.start(0)
    for name, norm, given in (
        ("ibp", Linf(), {}),
        ("smoothing", L2(), {"n": 30, "n0": 10}),
        ("clever", L2(), {"batches": 4, "samples": 2}),
    ):
        compiled = certify(linear, bound(name, norm, **given), x, y)
        wanted = bound(name, norm, **given)
        radius, _ = wanted(linear, ops.convert_to_tensor(x), ops.convert_to_tensor(y), engine.Rng.from_seed(0, 0xB0D).of(x))
        np.testing.assert_allclose(np.asarray(radius), compiled.radius, rtol=1e-5)
