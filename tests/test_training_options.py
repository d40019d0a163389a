"""What every training may ask for: a learning-rate schedule, averaged weights, memory, and the epoch that is most robust."""

from __future__ import annotations

import typing

import numpy as np
import pytest

from advrun import Classifier, Linf, attacks, engine
from advrun.checkpoints import Checkpoints
from advrun.config import Training
from advrun.config import experiment as configuration
from advrun.console import Console
from advrun.engine import SCHEDULES, Progress, Rng, TrainStep, keras, ops
from advrun.errors import ConfigError
from advrun.runs.plan import make_plan
from advrun.train import Fit, classification
from tests.test_train import Fatal, Killed, small, weights

FGSM = {"name": "fgsm", "eps": 8 / 255}


def make_fit(data, folder, **settings) -> Fit:
    training = Training(**{"epochs": 4, "batch_size": 64, "learning_rate": 1e-2, "patience": 10, **settings})
    return Fit(data, training, 0.2, 0, Checkpoints(folder), Console(quiet=True), "toy")


def one_weight() -> keras.Model:
    """A network of one weight, whose answers nobody looks at."""
    return keras.Sequential(
        [keras.Input((1, 1, 1)), keras.layers.Flatten(), keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")]
    )


def shallow() -> keras.Model:
    """A network that is traced at once."""
    engine.start(0)
    return keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(4)])


def slope_one(model):
    """A loss whose gradient is 1 wherever the weight is."""
    return lambda x, y, rng, training: {"loss": ops.ones_like(x[:, 0, 0, 0]) * ops.sum(model.trainable_variables[0])}


IMAGES, LABELS, KEY = np.zeros((2, 1, 1, 1), np.float32), np.zeros(2, np.int32), Rng.from_seed(0).key


@pytest.mark.parametrize(
    ("name", "factors"),
    [
        ("constant", [1, 1, 1, 1, 1]),
        ("cosine", [1, 0.5 + np.sqrt(0.125), 0.5, 0.5 - np.sqrt(0.125), 0]),
        ("cyclic", [0, 0.5, 1, 0.5, 0]),
        ("piecewise", [1, 1, 0.1, 0.01, 0.01]),
    ],
)
def test_schedules(name, factors):
    """At the beginning, after each quarter, and at the end; and a step of that length is what the weight makes."""
    shares = np.array([0, 0.25, 0.5, 0.75, 1], np.float32)
    np.testing.assert_allclose(np.asarray(SCHEDULES[name](shares)), factors, atol=1e-6)
    model = one_weight()
    step = TrainStep(model, slope_one(model), keras.optimizers.SGD(0.5), schedule=name)
    for k in range(4):
        before = model.get_weights()[0].item()
        step.train(IMAGES, LABELS, KEY, Progress.at(k // 2, k % 2, 2, 2))
        assert before - model.get_weights()[0].item() == pytest.approx(0.5 * factors[k], abs=1e-6)


def test_every_schedule_can_be_written():
    written = typing.get_args(typing.get_args(Training.model_fields["schedule"].annotation)[0])
    assert set(written) == set(SCHEDULES)


def test_averaged_weights_follow_their_recurrence():
    """a <- d a + (1 - d) w with d = min(0.9, (1 + t) / (10 + t)), over all weights; what is validated and kept is a, what is trained w."""
    model = one_weight()
    step = TrainStep(model, slope_one(model), keras.optimizers.SGD(0.5), ema=0.25)
    average = weight = 1.0
    for t in range(1, 7):
        step.train(IMAGES, LABELS, KEY)
        weight -= 0.5
        decay = min(0.25, (1 + t) / (10 + t))
        average = decay * average + (1 - decay) * weight
    before = step.state()
    with step.averaged():
        assert model.get_weights()[0].item() == pytest.approx(average, rel=1e-6)
        assert float(step.validate(IMAGES, LABELS, KEY)["loss"][0]) == pytest.approx(average, rel=1e-6)
    for left, right in zip(step.state(), before, strict=True):
        np.testing.assert_array_equal(left, right)
    assert model.get_weights()[0].item() == weight
    step.finish()
    assert model.get_weights()[0].item() == pytest.approx(average, rel=1e-6)


def test_statistics_are_averaged_too(toy_data, tmp_path):
    """The mean that batch normalisation has seen belongs to the weights that are evaluated."""
    model, fit = small(), make_fit(toy_data, tmp_path, epochs=2, ema=0.9)
    fit(model, classification(model), monitor="accuracy")
    _, rows = toy_data.validation_split(0.2, 0)
    loss = keras.losses.sparse_categorical_crossentropy(
        toy_data.y_train[rows], model.predict(toy_data.x_train[rows] / np.float32(255), verbose=0), from_logits=True
    )
    history = fit.histories[""]
    assert float(ops.mean(loss)) == pytest.approx(history["val_loss"][int(np.argmax(history["val_accuracy"]))], rel=1e-3)


def told(model):
    """Cross-entropy, with the progress and a memory that counts steps among the values."""
    plain = classification(model)

    def objective(x, y, rng, training, progress, memory):
        if training:
            memory["seen"].assign(memory["seen"] + 1)
        ones = ops.ones_like(x[:, 0, 0, 0])
        seen = {"seen": memory["seen"].value, "share": ones * progress.share, "epoch": ones * ops.cast(progress.epoch, "float32")}
        return {**plain(x, y, rng, training), **seen}

    return objective


def test_an_objective_sees_its_progress_and_remembers(toy_data, tmp_path):
    """Of 192 images in batches of 64 there are 3 steps in each of 2 epochs."""
    model, fit = shallow(), make_fit(toy_data, tmp_path, epochs=2)
    fit(model, told(model), memory={"seen": np.zeros(64, np.float32)})
    history = fit.histories[""]
    assert history["epoch"] == [0, 1]
    assert history["val_epoch"] == [1, 2]
    np.testing.assert_allclose(history["share"], [1 / 6, 4 / 6], rtol=1e-5)
    assert history["val_share"] == [0.5, 1.0]
    assert history["seen"] == [2, 5]  # means of 1, 2, 3 and of 4, 5, 6


@pytest.mark.parametrize("messages", [5, pytest.param(3, marks=pytest.mark.slow)])
def test_resumed_training_ends_with_the_same_bits_whatever_its_options(toy_data, tmp_path, monkeypatch, messages):
    """Memory, schedule, averages, and the choice of the best epoch under attack."""
    monkeypatch.setattr("advrun.checkpoints.CHECKPOINT_SECONDS", 0.0)
    options = {"ema": 0.9, "schedule": "cosine", "monitor": "robust_accuracy", "monitor_attack": FGSM}

    def run(folder, console=None):
        model, fit = shallow(), make_fit(toy_data, tmp_path / folder, **options)
        fit.console = console or fit.console
        fit(model, told(model), memory={"seen": np.zeros(64, np.float32)})
        return weights(model), fit.histories

    whole = run("whole")
    with pytest.raises(Killed):
        run("cut", Fatal(messages))
    resumed = run("cut")
    assert resumed[1] == whole[1]
    for left, right in zip(resumed[0], whole[0], strict=True):
        np.testing.assert_array_equal(left, right)


def test_the_most_robust_epoch_is_kept(toy_data, tmp_path):
    """The curve is the accuracy under the attack, and the network is that of its best epoch."""
    robust = {"monitor": "robust_accuracy", "monitor_attack": FGSM}
    model, fit = shallow(), make_fit(toy_data, tmp_path, epochs=8, learning_rate=3e-3, **robust)
    fit(model, classification(model), monitor="accuracy")
    curve = fit.histories[""]["val_robust_accuracy"]
    _, rows = toy_data.validation_split(0.2, 0)
    x, y = toy_data.x_train[rows], toy_data.y_train[rows]
    classifier = Classifier(model)
    assert classifier.accuracy(attacks.fgsm(classifier, x, y, Linf(8 / 255)), y) == pytest.approx(max(curve), abs=1e-6)
    assert len(set(curve)) > 1


def test_robust_accuracy_of_no_images_is_refused(toy_data, tmp_path):
    fit = make_fit(toy_data, tmp_path, monitor="robust_accuracy")
    fit.validation = 0.0
    model = small()
    with pytest.raises(ConfigError, match=r"toy: robust_accuracy comes from validation images, and there are none; make data.validation"):
        fit(model, classification(model))


def test_robust_accuracy_of_what_is_no_classifier_is_refused(toy_data, tmp_path):
    purifier = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Dense(3)])
    fit = make_fit(toy_data, tmp_path, monitor="robust_accuracy")
    with pytest.raises(ConfigError, match=r"toy: train.monitor is robust_accuracy.*system="):
        fit(purifier, lambda x, y, rng, training: {"loss": ops.mean(purifier(x), axis=(1, 2, 3))})


CONFIG = "data: {name: signs}\ndefenses: [{name: label_smoothing}]\n"


def test_the_options_are_part_of_the_configuration():
    """Written out and read again they are the same; the attack of the monitor is read like any other."""
    text = CONFIG + "train: {ema: 0.999, schedule: cyclic, monitor: robust_accuracy, monitor_attack: {name: pgd, eps: 4/255, steps: 3}}\n"
    experiment = configuration.loads(text)
    assert configuration.loads(experiment.to_yaml()) == experiment
    assert experiment.train.robust_attack.settings["steps"] == 3
    assert configuration.loads(CONFIG + "train: {monitor: robust_accuracy}").train.robust_attack.settings["steps"] == 10
    with pytest.raises(ConfigError, match=r"monitor_attack\.eps: eps is 8"):
        configuration.loads(text.replace("4/255", "8"))
    with pytest.raises(ConfigError, match=r"schedule: got 'cycle'; expected one of constant, cosine, cyclic, piecewise"):
        configuration.loads(CONFIG + "train: {schedule: cycle}")


def test_only_options_that_say_something_make_other_results(toy_data):
    """Those at their defaults are in no key, so old results stay; the attack of the monitor is, with its code."""

    def key(train: str) -> str:
        return make_plan(configuration.loads(f"{CONFIG}train: {train}"), toy_data).cells[0].key

    assert set(Training().identity()) == {"epochs", "batch_size", "learning_rate", "patience"}
    plain = key("{epochs: 3}")
    assert key("{epochs: 3, ema: 0, monitor: own, schedule: null}") == plain
    robust = [key(f"{{epochs: 3, monitor: robust_accuracy, monitor_attack: {{name: pgd, eps: {eps}/255}}}}") for eps in (4, 8)]
    assert len({plain, key("{epochs: 3, ema: 0.9}"), key("{epochs: 3, schedule: cosine}"), *robust}) == 5


@pytest.mark.parametrize(
    ("attack", "more", "text"),
    [
        ("{name: cw}", "monitor: robust_accuracy, ", "'cw' has no eps: it goes as far as it needs"),
        ("{name: advgan, eps: 8/255}", "monitor: robust_accuracy, ", "'advgan' is more than one function of a batch"),
        ("{name: pgd, eps: 8/255}", "", "it is of use with monitor: robust_accuracy alone"),
    ],
)
def test_an_attack_that_cannot_watch_is_refused_at_once(attack, more, text):
    with pytest.raises(ConfigError, match=text):
        configuration.loads(CONFIG + f"train: {{{more}monitor_attack: {attack}}}\n")
