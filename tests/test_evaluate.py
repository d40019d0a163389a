"""Crafting and measuring: broken attacks are caught, resumed ones change nothing, columns mean what they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from advrun import L2, Classifier, Linf, batchwise, evaluate, registry
from advrun.attack import Attack
from advrun.checkpoints import Checkpoints
from advrun.config.entries import settings_of
from advrun.craft import choose_targets, craft
from advrun.engine import keras, ops
from advrun.errors import BudgetError, ConfigError, ModelError
from advrun.metrics import Outcome
from advrun.registry import Plugin
from advrun.runs.metering import metric_source
from advrun.runs.work.measure import finite
from advrun.system.check import check_against_keras, zero_gradients

from .conftest import IMAGE_SHAPE


def home_made(function) -> Attack:
    real = registry.get("attacks", "fgsm")
    return Attack(Plugin("attacks", function.__name__, function, {}, real.arguments, {}), Linf(0.1))


def too_far(model, x, y, ball):
    return ops.clip(x + 2 * ball.eps, 0.0, 1.0)


def out_of_the_box(model, x, y, ball):
    return x + 5.0


def not_a_number(model, x, y, ball):
    return x * float("nan")


@pytest.mark.parametrize(
    ("attack", "reason"), [(too_far, "farther than Linf 0.1"), (out_of_the_box, "leave the box"), (not_a_number, "NaN")]
)
def test_a_broken_attack_is_caught(attack, reason, network, images):
    y = network.predict(images).argmax(-1)
    with pytest.raises(BudgetError, match=f"{attack.__name__}: 10 of 10 images.*{reason}"):
        craft(network, home_made(attack), images, y)


def test_a_budget_of_queries_is_enforced(network, images):
    """Wherever the attack runs, not in the contract tests alone."""

    def greedy(model, x, y, ball, *, queries):
        for _ in range(queries + 1):
            logits = model.logits(x)
        return x + 0 * logits[:1, :1, None, None]

    plugin = replace(home_made(greedy).plugin, settings=registry.get("attacks", "square").settings)
    attack = Attack(plugin, Linf(0.1), {"queries": 3})
    with pytest.raises(BudgetError, match=r"greedy: 10 of 10 images cost more than 3 queries \(up to 4\), first image 0"):
        craft(network, attack, images, network.predict(images).argmax(-1))


@pytest.mark.parametrize(("returned", "told"), [(lambda x: (x, x), "tuple"), (lambda x: x[:2], r"\(2, 6, 6, 3\)")])
def test_what_comes_back_must_be_the_images(returned, told, network, images):
    def odd(model, x, y, ball):
        return returned(x)

    with pytest.raises(BudgetError, match=rf"odd: {told} came back for images \(10, 6, 6, 3\)"):
        craft(Classifier(network.model), home_made(odd), images, network.predict(images).argmax(-1))


def pgd(**settings) -> Attack:
    plugin = registry.get("attacks", "pgd")
    return Attack(plugin, Linf(0.05), settings_of(plugin, settings))


def test_an_interrupted_attack_resumes_to_the_same_images(network, images, tmp_path, monkeypatch):
    monkeypatch.setattr("advrun.checkpoints.CHECKPOINT_SECONDS", 0.0)
    y = network.predict(images).argmax(-1)
    whole = craft(network, pgd(), images, y, batch_size=3)
    real, calls = batchwise.Batches._attack, []

    def limited(self, *arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, *arguments)

    monkeypatch.setattr(batchwise.Batches, "_attack", limited)
    with pytest.raises(KeyboardInterrupt):
        craft(network, pgd(), images, y, batch_size=3, checkpoints=Checkpoints(tmp_path))
    resumed = craft(network, pgd(), images, y, batch_size=3, checkpoints=Checkpoints(tmp_path))
    assert len(calls) == 5  # two batches kept, one lost, two more of four
    np.testing.assert_array_equal(resumed.x_adv, whole.x_adv)
    np.testing.assert_array_equal(resumed.gradients, whole.gradients)
    assert (whole.gradients == 40).all()


@pytest.mark.parametrize("damage", ["missing", "shape", "NaN", "far", "outside the box", "negative", "truncated"])
def test_a_damaged_batch_is_named_and_attacked_again(network, images, tmp_path, damage, caplog):
    y = network.predict(images).argmax(-1)
    checkpoints = Checkpoints(tmp_path)
    whole = craft(network, pgd(), images, y, batch_size=5, checkpoints=checkpoints)
    checkpoints.flush()
    file = tmp_path / "5-5.npz"
    with np.load(file) as arrays:
        kept = dict(arrays)
    if damage == "missing":
        del kept["queries"]
    elif damage == "shape":
        kept["x_adv"] = kept["x_adv"][:2]
    elif damage in ("NaN", "far", "outside the box"):
        kept["x_adv"] = kept["x_adv"] + {"NaN": np.nan, "far": 0.1, "outside the box": 2}[damage]
    else:
        kept["queries"] = -kept["queries"] - 1
    np.savez(file, **{name: array.astype(whole.x_adv.dtype) if name == "x_adv" else array for name, array in kept.items()})
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:500])
    again = craft(network, pgd(), images, y, batch_size=5, checkpoints=Checkpoints(tmp_path))
    assert caplog.text.count("5-5.npz: a checkpoint that cannot be used") == 1
    np.testing.assert_array_equal(again.x_adv, whole.x_adv)


def test_what_an_attack_has_learnt_outlives_a_kill(network, images, tmp_path, monkeypatch):
    plugin = registry.get("attacks", "universal")
    attack = Attack(plugin, Linf(0.05), settings_of(plugin, {"epochs": 1}))
    y = network.predict(images).argmax(-1)
    whole = craft(network, attack, images, y, batch_size=3, checkpoints=Checkpoints(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["fit.npz"]
    good = dict(np.load(tmp_path / "fit.npz"))
    np.savez(tmp_path / "fit.npz", **(good | {"array_0": np.full(images.shape[1:], np.nan)}))
    again = craft(network, attack, images, y, batch_size=3, checkpoints=Checkpoints(tmp_path))
    np.testing.assert_array_equal(again.x_adv, whole.x_adv)
    np.testing.assert_array_equal(np.load(tmp_path / "fit.npz")["array_0"], good["array_0"])
    monkeypatch.setattr(plugin.module, "fit", lambda *arguments, **settings: pytest.fail("learnt again"))
    resumed = craft(network, attack, images, y, batch_size=3, checkpoints=Checkpoints(tmp_path))
    np.testing.assert_array_equal(resumed.x_adv, whole.x_adv)


def test_a_batch_that_does_not_fit_is_halved(network, images, monkeypatch, caplog):
    """And an image becomes what it would have become: its random start is its own."""
    y = network.predict(images).argmax(-1)
    whole = craft(network, pgd(), images, y, batch_size=10)
    real = batchwise.Batches._attack

    def small_memory(self, x, *arguments):
        if self.batch_size > 3:
            raise MemoryError
        return real(self, x, *arguments)

    monkeypatch.setattr(batchwise.Batches, "_attack", small_memory)
    crafted = craft(network, pgd(), images, y, batch_size=10)
    assert network.accuracy(crafted.x_adv, y) < 1
    np.testing.assert_allclose(crafted.x_adv, whole.x_adv, atol=1e-5)
    assert "halved to 2" in caplog.text


def test_targets(network, images):
    logits = network.predict(images)
    y = logits.argmax(-1)
    ordered = logits.argsort(-1)
    np.testing.assert_array_equal(choose_targets("second", logits, images, y, 0), ordered[:, -2])
    np.testing.assert_array_equal(choose_targets("least_likely", logits, images, y, 0), ordered[:, 0])
    many = np.random.default_rng(0).random((500, *images.shape[1:])).astype(np.float32)
    random = choose_targets("random", logits.repeat(50, 0), many, y.repeat(50), 0)
    assert not (random == y.repeat(50)).any()
    assert set(random) == set(range(5))
    np.testing.assert_array_equal(choose_targets("random", logits[:3], many[7:10], y.repeat(50)[7:10], 0), random[7:10])
    assert set(choose_targets(3, logits, images, y, 0)) == {3}
    with pytest.raises(ConfigError, match="0 to 4"):
        choose_targets(7, logits, images, y, 0)


@pytest.mark.parametrize("attack", ["pgd", pytest.param("cw", marks=pytest.mark.slow)])
def test_all_targets_are_at_least_as_strong_as_one(attack, network, images):
    y = network.predict(images).argmax(-1)
    plugin = registry.get("attacks", attack)
    geometry = Linf(0.02) if plugin.needs_eps else L2()
    every, one = (
        craft(network, Attack(plugin, geometry, settings_of(plugin, {})), images, y, target=target) for target in ("all", "second")
    )
    reached = network.predict(every.x_adv).argmax(-1) == every.target
    assert (every.target != y).all()
    assert reached.sum() >= (network.predict(one.x_adv).argmax(-1) == one.target).sum()
    np.testing.assert_array_equal(reached, network.predict(every.x_adv).argmax(-1) != y)
    if attack == "cw":
        assert (every.gradients >= one.gradients).all()
        assert (L2.distance(every.x_adv, images) <= L2.distance(one.x_adv, images) + 1e-5).numpy().all()


def test_a_classifier_that_differs_from_keras_is_refused(network, images):
    check_against_keras(network, network.model, images)
    other = keras.models.clone_model(network.model)
    with pytest.raises(ModelError, match="differ from plain Keras"):
        check_against_keras(network, other, images)


def test_zero_gradients_are_seen(network, images):
    y = network.predict(images).argmax(-1)
    assert zero_gradients(network, images, y, 4) == 0
    inputs = keras.Input(IMAGE_SHAPE)
    rounded = Classifier(keras.Model(inputs, network.model(ops.round(inputs * 10) / 10)))
    assert zero_gradients(rounded, images, y, 4) == 1
    split = ops.where(ops.max(inputs, axis=(1, 2, 3), keepdims=True) > 0.5, inputs, ops.sqrt(inputs - 2.0))
    dark = np.concatenate([images[:3], images[3:] / 2])  # whose square roots, and their gradients, are no numbers
    assert zero_gradients(Classifier(keras.Model(inputs, network.model(split))), dark, y, 4) == 0.7


def test_metrics(network, images):
    y = network.predict(images).argmax(-1)
    crafted = craft(network, pgd(), images, y)
    outcome = Outcome(network, images, crafted.x_adv, y, network.predict(images), network.predict(crafted.x_adv))
    row = {"model": "m", "defense": "none", "attack": "pgd", "threat": "adaptive", "seed": 0}
    result = evaluate.measure(outcome, row, {})
    ours = [name for name in registry.names("metrics") if metric_source(name).wanted == "Outcome"]  # not of every row are the others
    columns = [registry.get("metrics", name).function(outcome) for name in ours]
    metrics = {name: value for each in columns for name, value in each.items()}
    assert result.row.accuracy == pytest.approx(1 - metrics["success"])
    assert 0 < metrics["linf"] <= 0.05 + 1e-6
    assert metrics["fooled"] == outcome.fooled.sum()
    moved = np.linalg.norm((crafted.x_adv - images)[outcome.fooled].reshape(-1, 108), axis=1)
    assert (metrics["l2"], metrics["l2_median"]) == pytest.approx((moved.mean(), np.median(moved)), rel=1e-4)
    assert metrics["linf"] < metrics["l2"] < 0.05 * np.sqrt(108) + 1e-6
    assert metrics["confidence_after"] < metrics["confidence_before"]
    rounded = np.rint(crafted.x_adv * 255) / 255
    assert metrics["accuracy_8bit"] == pytest.approx(network.accuracy(rounded, y))
    assert not result.distances.any()  # an attack without a norm has no distance
    of_a_norm = evaluate.measure(outcome, {**row, "norm": "l2"}, {})
    np.testing.assert_allclose(of_a_norm.distances, np.linalg.norm((crafted.x_adv - images).reshape(10, -1), axis=1), rtol=1e-5)


def test_answers_that_are_no_numbers_are_no_row():
    logits = np.zeros((5, 3), np.float32)
    finite(logits, "mine")
    logits[1, 2], logits[3, 0] = np.nan, np.inf
    with pytest.raises(ModelError, match="mine: NaN or infinite logits of 2 of 5 images"):
        finite(logits, "mine")
