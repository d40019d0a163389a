"""AdvGAN: the losses and gradients of its papers, what it costs, and a training that goes on where it was killed."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from advrun import L2, Linf, engine, registry
from advrun.attack import Attack
from advrun.attacks._advgan import Rules, Trainer, attacked, falling, generator, moved
from advrun.attacks._gan import GAN_LOSSES, doubts, variety
from advrun.checkpoints import Checkpoints, Section
from advrun.config.entries import settings_of
from advrun.craft import craft
from advrun.engine import Rng, ops
from advrun.lesson import Learnt, Lesson
from advrun.losses import margin

LOG2 = math.log(2)


@pytest.mark.parametrize(
    ("name", "judge", "maker"),
    [
        # At an optimum of the maker: nobody can tell, all scores are the same.
        ("vanilla", 2 * LOG2, LOG2),
        ("relativistic", LOG2, LOG2),
        ("relativistic_average", 2 * LOG2, 2 * LOG2),
        ("least_squares", 0.5, 0.5),
    ],
)
def test_losses_where_nobody_can_tell(name, judge, maker):
    zeros = np.zeros(3, np.float32)
    for got, expected in zip(GAN_LOSSES[name](zeros, zeros), (judge, maker), strict=True):
        np.testing.assert_allclose(np.broadcast_to(np.asarray(got), 3), expected, rtol=1e-6)


def test_losses_by_hand():
    real, fake = np.array([2.0, 0.5], np.float32), np.array([-1.0, 1.5], np.float32)

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    expected = {
        "vanilla": (-np.log(sigmoid(real)) - np.log(1 - sigmoid(fake)), -np.log(sigmoid(fake))),
        "least_squares": (((real - 1) ** 2 + fake**2) / 2, (fake - 1) ** 2 / 2),
        "relativistic": (-np.log(sigmoid(real - fake)), -np.log(sigmoid(fake - real))),
        "relativistic_average": (
            -np.log(sigmoid(real - fake.mean())) - np.log(1 - sigmoid(fake - real.mean())),
            -np.log(sigmoid(fake - real.mean())) - np.log(1 - sigmoid(real - fake.mean())),
        ),
    }
    for name, losses in GAN_LOSSES.items():
        for got, wanted in zip(losses(real, fake), expected[name], strict=True):
            np.testing.assert_allclose(np.asarray(got), wanted, rtol=1e-5)


RULES = Rules("vanilla", 0.3, 0.2, 0.1, 1.0)


def trainer(network, ball=None, rules=RULES, targets=None):
    return Trainer(network, ball or Linf(0.1), rules, 2, targets, [1, 2], 1e-3)


def test_the_gradient_that_reaches_the_generator_is_the_true_one(network, images):
    """The model's gradient, asked for and put in place, is what plain backpropagation through the whole chain gives."""
    made, tf = trainer(network, rules=replace(RULES, gan_weight=0.0, hinge_weight=0.0, confidence=5.0)), engine.tf
    y = network.predict(images).argmax(-1).astype(np.int32)
    rng, weights = Rng.from_seed(0), made.network.trainable_variables
    with tf.GradientTape() as tape:
        ours = ops.mean(made.generate(images, y, rng, True)["loss"])
    with tf.GradientTape() as plain:
        x_adv = moved(made.ball, images, made.network([images], training=True))
        theirs = ops.mean(ops.maximum(5.0 - margin(network.forward(x_adv), y), 0.0))
    assert float(ours) == pytest.approx(float(theirs), rel=1e-3)
    for got, expected in zip(tape.gradient(ours, weights), plain.gradient(theirs, weights), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("ball", [Linf(0.1), L2(0.7)])
def test_the_loss_is_that_of_the_paper(network, images, ball):
    """Equation 4, of its three parts, with lengths and bounds of this ball; the validation's loss is the same."""
    made = trainer(network, ball)
    y = network.predict(images).argmax(-1).astype(np.int32)
    for training in (True, False):
        values = {name: np.asarray(value) for name, value in made.generate(images, y, Rng.from_seed(0), training).items()}
        x_adv = np.asarray(made.made(images, y, Rng.from_seed(0), training)[0])
        norm = np.sqrt(np.square(x_adv - images).sum((1, 2, 3)))
        longest = 0.1 * math.sqrt(images[0].size) if isinstance(ball, Linf) else 0.7
        np.testing.assert_allclose(values["norm"], norm, rtol=1e-4)
        hinge = np.maximum(norm - 0.1 * longest, 0)
        assert hinge.max() > 0
        total = values["adversarial_loss"] + 0.3 * values["gan_loss"] + 0.2 * hinge
        np.testing.assert_allclose(values["loss"], total, rtol=1e-3, atol=1e-5)
        wrong = network.predict(x_adv).argmax(-1) != y
        np.testing.assert_array_equal(values["success"] > 0, wrong)


def test_targets_are_drawn_from_those_that_are_asked_for_and_never_the_true_class(network, images):
    goals = np.array([1, 3])
    made = trainer(network.toward(), targets=goals)
    y = np.arange(10, dtype=np.int32) % 5
    drawn = np.stack([np.asarray(made.made(images, y, Rng.from_seed(seed), False)[1]) for seed in range(20)])
    assert set(drawn.ravel()) == {1, 3}
    assert (drawn != y).all()
    assert (drawn[:, 0] != drawn[0, 0]).any()


@pytest.mark.parametrize("shape", [(6, 6, 3), (28, 28, 1), (9, 13, 3)])
def test_the_generator_keeps_every_shape(shape):
    x = np.zeros((2, *shape), np.float32)
    change = np.asarray(generator(shape, 0, 2)([engine.tf.constant(x)]))
    assert change.shape == x.shape
    assert np.abs(change).max() <= 1


def test_the_attack_is_a_function_of_its_weights(network, images):
    """The weights handed over count, and not those that the network had last."""
    made, y = trainer(network), np.zeros(len(images), np.int32)
    kept = {"generator": [np.array(weight) for weight in made.network.get_weights()]}
    before = np.asarray(moved(made.ball, images, made.network([images])))
    made.network.set_weights([weight + 1 for weight in made.network.get_weights()])
    after = np.asarray(attacked(network, images, y, made.ball, kept, 2))
    np.testing.assert_allclose(after, before, atol=1e-6)
    assert (after != images).any()


def test_what_went_wrong_is_said_in_words():
    history = {"val_success": [0.2, 0.9, 0.3], "val_discriminator_accuracy": [0.8, 1.0]}
    diverged, seen = doubts(history, "val_success", 0.9, "what it adds")
    assert "diverged" in diverged
    assert "from 90 % in epoch 2 to 30 %" in diverged
    assert "never deceived" in seen
    assert "mode collapse" in doubts({}, "", 0.05, "what it adds")[0]
    assert doubts({"val_success": [0.2, 0.9, 0.85]}, "val_success", 0.5, "") == []


def test_variety():
    same = np.ones((5, 4, 4, 1))
    assert variety(same) == 0
    assert variety(same * np.array([1, -1, 1, -1, 0]).reshape(5, 1, 1, 1)) == pytest.approx(1)
    assert variety(0 * same) == 0


def test_the_learning_rate_falls_to_nothing_with_the_last_step():
    """200 images, of which 20 are held out: 2 batches an epoch."""
    rate = falling(1e-2, 200, 5)
    np.testing.assert_allclose([float(rate(step)) for step in (0, 5, 10)], [1e-2, 5e-3, 0], atol=1e-9)
    assert falling(1.0, 1, 3).decay_steps == 3


# Trained ------------------------------------------------------------------------------------------------------------

BRIEF = {"epochs": 3, "width": 4, "images": 200}


def adversary(name: str, ball=None, **settings) -> Attack:
    plugin = registry.get("attacks", name)
    return Attack(plugin, ball or Linf(0.35), settings_of(plugin, {**BRIEF, **settings}))


def crafted(attack, victim, data, **options):
    return craft(victim, attack, data.x_test, data.y_test, train=(data.x_train, data.y_train), **options)


class Killed(Exception):
    pass


@contextmanager
def killed_after(monkeypatch, epochs: int):
    """The process ends when its training has written so many epochs of AdvGAN."""
    put, left = Section.put, [epochs]

    def counted(self, name, arrays):
        put(self, name, arrays)
        left[0] -= name == "fit-model"
        if left[0] == 0:
            raise Killed

    with monkeypatch.context() as context:
        context.setattr(Section, "put", counted)
        yield


@pytest.mark.slow
def test_advgan_learns_once(victim, toy_data, tmp_path, monkeypatch):
    """What it costs, what it leaves, and that a generator which is trained is taken from its checkpoint."""
    attack, checkpoints = adversary("advgan"), Checkpoints(tmp_path)
    whole = crafted(attack, victim, toy_data, checkpoints=checkpoints)
    (learnt,) = whole.learnt
    assert whole.gradients.sum() == 0
    assert whole.queries.sum() == 0
    assert learnt.asked == {"gradients": 3 * (180 // 64) * 64, "queries": 3 * 20}  # of 200 images 20 are held out
    assert falling(1.0, 200, 3).decay_steps * 64 == learnt.asked["gradients"]
    assert {"loss", "norm", "val_success", "discriminator_loss", "adversarial_loss", "gan_loss"} <= learnt.histories[""].keys()
    assert learnt.pictures[""].shape == (3, 8, 8, 8, 3)
    y = toy_data.y_test
    assert victim.accuracy(whole.x_adv, y) < victim.accuracy(toy_data.x_test, y) - 0.2
    monkeypatch.setattr(Trainer, "learn", None)
    again = crafted(attack, victim, toy_data, checkpoints=checkpoints)
    np.testing.assert_array_equal(again.x_adv, whole.x_adv)


@pytest.mark.slow
def test_a_kill_changes_nothing(victim, toy_data, tmp_path, monkeypatch):
    monkeypatch.setattr("advrun.checkpoints.CHECKPOINT_SECONDS", 0.0)
    attack = adversary("advgan")
    whole = crafted(attack, victim, toy_data)
    with killed_after(monkeypatch, 2), pytest.raises(Killed):
        crafted(attack, victim, toy_data, checkpoints=Checkpoints(tmp_path))
    resumed = crafted(attack, victim, toy_data, checkpoints=Checkpoints(tmp_path))
    np.testing.assert_array_equal(resumed.x_adv, whole.x_adv)
    assert resumed.learnt[0].histories == whole.learnt[0].histories
    assert resumed.learnt[0].asked == whole.learnt[0].asked
    np.testing.assert_array_equal(resumed.learnt[0].pictures[""], whole.learnt[0].pictures[""])


@pytest.mark.slow
def test_the_black_box_form_asks_for_scores_alone(victim, toy_data, tmp_path, monkeypatch):
    monkeypatch.setattr("advrun.checkpoints.CHECKPOINT_SECONDS", 0.0)
    attack = adversary("advgan_blackbox", distillation=4, epochs=6)
    whole = crafted(attack, victim, toy_data, checkpoints=Checkpoints(tmp_path / "whole"))
    (learnt,) = whole.learnt
    assert learnt.asked == {"gradients": 0, "queries": 200 + 6 * (180 // 64) * 64}
    assert attack.plugin.access == "scores"
    with killed_after(monkeypatch, 3), pytest.raises(Killed):
        crafted(attack, victim, toy_data, checkpoints=Checkpoints(tmp_path / "cut"))
    resumed = crafted(attack, victim, toy_data, checkpoints=Checkpoints(tmp_path / "cut"))
    np.testing.assert_array_equal(resumed.x_adv, whole.x_adv)
    assert resumed.learnt[0].asked == learnt.asked
    assert victim.accuracy(whole.x_adv, toy_data.y_test) < victim.accuracy(toy_data.x_test, toy_data.y_test) - 0.2


@pytest.mark.slow
@pytest.mark.parametrize("loss", GAN_LOSSES)
def test_every_loss_trains(victim, toy_data, loss):
    result = crafted(adversary("advgan", loss=loss, epochs=8), victim, toy_data)
    assert victim.accuracy(result.x_adv, toy_data.y_test) < 0.5


@pytest.mark.slow
@pytest.mark.parametrize("ball", [Linf(0.5), L2(4.0)])
def test_the_targeted_form_in_both_norms(victim, toy_data, ball):
    result = crafted(adversary("advgan", ball, epochs=12, hinge_weight=0.0), victim, toy_data, target="random")
    reached = victim.predict(result.x_adv).argmax(-1) == result.target
    assert reached[result.attacked].mean() > 0.6


def test_learnt_survives_its_checkpoint():
    learnt = Learnt({"a": [np.arange(3.0), (np.eye(2), None)]}, {"": {"loss": [1.0]}}, {"": np.zeros((1, 2, 3, 3, 1), np.uint8)}, ("n",))
    again = Learnt.from_arrays(learnt.to_arrays())
    np.testing.assert_array_equal(again.fitted["a"][1][0], np.eye(2))
    assert isinstance(again.fitted["a"][1], tuple)
    assert again.fitted["a"][1][1] is None
    assert (again.histories, again.notes, again.asked) == (learnt.histories, learnt.notes, learnt.asked)
    assert again.pictures.keys() == {""}


@pytest.mark.parametrize(
    "damage",
    [
        {"array_0": np.array([np.nan])},
        {"array_0": np.array(["text"])},
        {"structure": np.array('{"dict": {"a": 7}}')},
        {"structure": np.array('{"odd": []}')},
    ],
)
def test_a_damaged_checkpoint_is_refused(damage):
    with pytest.raises(ValueError, match=r"array|structure"):
        Learnt.from_arrays({**Learnt({"a": np.zeros(1)}).to_arrays(), **damage})


def test_a_lesson_counts_nothing_twice(linear, images):
    lesson = Lesson(counter=linear.counter)
    linear.counter.start()
    linear.logits(images)
    lesson.asked_already({"gradients": 5, "queries": 30})
    assert lesson.asked() == {"gradients": 5, "queries": 30}
    linear.logits(images)
    assert lesson.asked() == {"gradients": 5, "queries": 40}
