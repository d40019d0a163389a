"""A zoo of broken defences: each is flagged, and the test of the evaluation says which attack is too weak; plain nets are left alone.

A system here is the trained victim of the tests behind a stage, or in front of one. What goes wrong is real: no gradient is mocked.
"""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from advrun import Classifier, Linf, evaluate, registry
from advrun.attack import Attack
from advrun.config.entries import settings_of
from advrun.craft import craft
from advrun.engine import keras, ops
from advrun.flags import flagged
from advrun.metrics import Outcome, columns
from advrun.planted import found, plant
from advrun.probed import Probed
from advrun.proof import Proof
from advrun.results import Result
from advrun.retry import is_iterated, retrying
from advrun.runs.metering import metric_source
from advrun.system import Chain, Purifier
from advrun.system.check import zero_gradients
from advrun.system.witness import Witness

pytestmark = pytest.mark.slow
BALL = Linf(24 / 255)
LEVELS = 8.0
SHAPE = (8, 8, 3)


def rounded(x, rng=None):
    return ops.round(x * LEVELS) / LEVELS


def cosine(size: int = 8) -> np.ndarray:
    """The matrix of the discrete cosine transform of that length."""
    k, n = np.mgrid[:size, :size]
    matrix = np.sqrt(2 / size) * np.cos(np.pi * (n + 0.5) * k / size)
    matrix[0] /= np.sqrt(2)
    return matrix.astype(np.float32)


def jpeg(x, rng=None):
    """One 8 x 8 block: to frequencies, rounded there, and back."""
    matrix = cosine()
    frequencies = ops.einsum("ij,njkc,lk->nilc", matrix, x, matrix)
    return ops.clip(ops.einsum("ji,njkc,kl->nilc", matrix, ops.round(frequencies * 12) / 12, matrix), 0.0, 1.0)


def wavy(x, rng=None):
    """Rounding, with a gradient that leads nowhere: it fails under BPDA alone."""
    return ops.clip(rounded(x) + 1e-3 * ops.sin(3e4 * x), 0.0, 1.0)


def behind(purify, backward="exact"):
    return lambda model: Chain(model, (Purifier(purify, backward),))


def stopped(x, rng):
    return ops.stop_gradient(x)


class Behind(keras.layers.Layer):
    """Something between the network and its logits."""

    def __init__(self, function, **options):
        super().__init__(**options)
        self.function = function

    def call(self, z):
        return self.function(z)


class Drawn(keras.layers.Layer):
    """Noise in front of the network, or dropout, also when nothing is trained."""

    def __init__(self, rate=0.0, **options):
        super().__init__(**options)
        self.rate, self.seeds = rate, keras.random.SeedGenerator(1)

    def call(self, x):
        if self.rate:
            return keras.random.dropout(x, self.rate, seed=self.seeds)
        return ops.clip(x + keras.random.normal(ops.shape(x), 0.0, 0.05, seed=self.seeds), 0.0, 1.0)


def through(layer):
    def system(model):
        inputs = keras.Input(SHAPE)
        return Chain(keras.Model(inputs, model(layer()(inputs))))

    return system


def logits(function):
    def system(model):
        inputs = keras.Input(SHAPE)
        return Chain(keras.Model(inputs, Behind(function)(model(inputs))))

    return system


ZOO = {
    "rounding": (behind(rounded), behind(rounded, "identity")),
    "stop-gradient": (behind(stopped), behind(stopped, "identity")),
    "jpeg": (behind(jpeg), behind(jpeg, "identity")),
    "only under BPDA": (behind(wavy), behind(wavy, "identity")),
}
"""Broken, and the same with a backward pass that sees through it."""
TOLD = {
    "saturated logits": logits(lambda z: 1e4 * z),
    "trained at temperature 100": logits(lambda z: 100.0 * z),
    "noise": through(Drawn),
    "dropout left on": through(lambda: Drawn(0.3)),
}
"""Those that a look at clean images tells; `pgd` climbs the log-odds, which no scale blinds, so that it is not fooled by the first two."""


def bound(name: str, **settings) -> Attack:
    plugin = registry.get("attacks", name)
    return Attack(plugin, BALL, settings_of(plugin, settings))


def measured(classifier: Classifier, data, attack: Attack) -> list[Result]:
    """Clean images, the attack, and square beside it, with all that metrics find."""
    x, y = data.x_test, data.y_test
    before = classifier.predict(x)
    named = {"model": "m", "defense": "d", "seed": 0}
    clean = Outcome(classifier, x, None, y, before, before)
    results = [evaluate.measure(clean, {**named, "attack": "clean", "threat": "none"}, asked("Outcome", clean))]
    for each in (attack, bound("square", queries=300)):
        crafted = craft(classifier, each, x, y)
        outcome = Outcome(classifier, x, crafted.x_adv, y, before, classifier.predict(crafted.x_adv))
        cost = {"gradients": crafted.mean(crafted.gradients), "queries": crafted.mean(crafted.queries), "norm": "linf", "eps": BALL.eps}
        known: dict = {"zero_gradients": zero_gradients(classifier, x, y, 80)}
        if each is attack:
            parts = {field.name: getattr(outcome, field.name) for field in fields(outcome)}
            again = retrying(Witness(classifier), each, seed=0, batch_size=80)
            known |= asked("Probed", Probed(**parts, ball=BALL, again=again, iterated=is_iterated(each), widest=True))
        results.append(evaluate.measure(outcome, {**named, "attack": each.plugin.name, "threat": "adaptive", **cost}, known))
    return flagged(results)


def asked(kind: str, outcome) -> dict:
    """The columns that flags are raised by."""
    names = [name for name in registry.names("metrics") if metric_source(name).wanted == kind]
    wanted = names if kind == "Probed" else [name for name in names if name in ("steadiness", "logit_scale")]
    return {column: value for name in wanted for column, value in columns(name, outcome).items()}


def score(classifier: Classifier, data, attack: Attack) -> Proof:
    some = np.arange(0, len(data.y_test), 2)
    planted = plant(classifier, (data.x_test[some] / np.float32(255)).astype(np.float32), data.y_test[some], BALL)
    reached = found(planted, attack)
    return Proof("m", "d", "pgd", 0, "linf", BALL.eps, n=len(reached), found=int(reached.sum()), random=int(planted.random.sum()))


@pytest.mark.parametrize("name", ZOO)
def test_what_hides_its_gradient_is_flagged_and_fails_the_test_until_it_is_seen_through(name, victim, toy_data):
    broken, open_ = (Classifier(make(victim.model)) for make in ZOO[name])
    pgd = bound("pgd", steps=20)
    flags = {flag for result in measured(broken, toy_data, pgd) for flag in result.row.flags}
    assert flags, name
    assert score(broken, toy_data, pgd).is_enough is False
    assert score(open_, toy_data, bound("pgd", steps=40)).is_enough


@pytest.mark.parametrize("name", TOLD)
def test_what_clean_images_tell_is_flagged(name, victim, toy_data):
    clean, *_ = measured(Classifier(TOLD[name](victim.model)), toy_data, bound("pgd", steps=20))
    assert set(clean.row.flags) & {"saturated", "randomised"}, name


@pytest.mark.parametrize("seed", range(20))
def test_plain_nets_raise_no_flag_and_pass_the_test(seed, toy_data):
    from advrun.attacks import _surrogate

    net = _surrogate.network(f"plain {seed}", toy_data.x_train.shape[1:], 4)
    _surrogate.Student(net, np.array([seed, 2])).learn(toy_data.x_train / np.float32(255), toy_data.y_train, epochs=12)
    pgd = bound("pgd", steps=40)
    assert [result.row.flags for result in measured(net, toy_data, pgd)] == [()] * 3
    if seed < 3:
        assert score(net, toy_data, bound("pgd", steps=40, restarts=3)).is_enough
