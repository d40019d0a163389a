"""Training: learns, keeps the best weights, stops early, and resumes to the same bits."""

from __future__ import annotations

import json
from contextlib import contextmanager

import numpy as np
import pytest

from advrun import engine
from advrun.checkpoints import Checkpoints
from advrun.config import Training
from advrun.console import Console
from advrun.engine import TrainStep, keras
from advrun.errors import ConfigError, ModelError, PluginError
from advrun.models.cnn import cnn
from advrun.train import Fit, _Run, classification


def make_fit(data, folder, **settings) -> Fit:
    training = Training(**{"epochs": 6, "batch_size": 32, "learning_rate": 1e-2, "patience": 10, **settings})
    return Fit(data, training, 0.2, 0, Checkpoints(folder), Console(quiet=True), "toy")


def small() -> keras.Model:
    engine.start(0)
    return cnn((8, 8, 3), 4, width=4, blocks=2, dropout=0.3)


def weights(model) -> list[np.ndarray]:
    return [variable.numpy() for variable in model.weights]


def test_it_learns(toy_data, tmp_path):
    model, fit = small(), make_fit(toy_data, tmp_path)
    fit(model, classification(model), monitor="accuracy")
    history = fit.histories[""]
    assert set(history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert history["loss"][-1] < history["loss"][0] / 2
    assert max(history["val_accuracy"]) > 0.9


def test_best_epoch_and_early_stop(toy_data, tmp_path):
    model, fit = small(), make_fit(toy_data, tmp_path, epochs=40, patience=3, learning_rate=0.05)
    fit(model, classification(model), monitor="loss")
    losses = fit.histories[""]["val_loss"]
    assert len(losses) < 40
    assert len(losses) - 1 - int(np.argmin(losses)) == 3
    _, rows = toy_data.validation_split(0.2, 0)
    logits = model.predict(toy_data.x_train[rows] / np.float32(255), verbose=0)
    target = keras.losses.sparse_categorical_crossentropy(toy_data.y_train[rows], logits, from_logits=True)
    assert float(keras.ops.mean(target)) == pytest.approx(min(losses), rel=1e-3)


class Killed(Exception):
    pass


class Fatal(Console):
    """A console that ends the process' work after a number of progress messages: two in each epoch."""

    def __init__(self, messages: int) -> None:
        super().__init__(quiet=True)
        self.left = messages

    @contextmanager
    def bar(self, label, total):
        yield self

    def advance(self, count=1, note=""):
        self.left -= 1
        if self.left < 0:
            raise Killed


@pytest.mark.parametrize("messages", [5, *(pytest.param(number, marks=pytest.mark.slow) for number in (2, 10))])
def test_resumed_training_ends_with_the_same_bits(toy_data, tmp_path, monkeypatch, messages):
    monkeypatch.setattr("advrun.checkpoints.CHECKPOINT_SECONDS", 0.0)
    whole, fit = small(), make_fit(toy_data, tmp_path / "whole")
    fit(whole, classification(whole))
    cut, first = small(), make_fit(toy_data, tmp_path / "cut")
    first.console = Fatal(messages)
    with pytest.raises(Killed):
        first(cut, classification(cut))
    resumed, second = small(), make_fit(toy_data, tmp_path / "cut")
    second(resumed, classification(resumed))
    assert second.histories == fit.histories
    for left, right in zip(weights(resumed), weights(whole), strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_damaged_checkpoint_costs_one_epoch_and_not_the_training(toy_data, tmp_path, monkeypatch, caplog):
    """The one before it serves, and the bits at the end are the same; where both are damaged, it begins again."""
    monkeypatch.setattr("advrun.checkpoints.CHECKPOINT_SECONDS", 0.0)
    whole, fit = small(), make_fit(toy_data, tmp_path / "whole", epochs=3)
    fit(whole, classification(whole))
    for damaged in (["fit-model"], ["fit-model", "fit-model.before"]):
        folder = tmp_path / f"{len(damaged)}"
        cut, first = small(), make_fit(toy_data, folder, epochs=3)
        first.console = Fatal(4)
        with pytest.raises(Killed):
            first(cut, classification(cut))
        for name in damaged:
            with np.load(folder / f"{name}.npz") as arrays:
                kept = {key: value for key, value in arrays.items() if key != "progress"}
            np.savez(folder / f"{name}.npz", **kept)
        caplog.clear()
        resumed, second = small(), make_fit(toy_data, folder, epochs=3)
        second(resumed, classification(resumed))
        assert caplog.text.count("KeyError: 'progress") == len(damaged)
        assert second.histories == fit.histories
        for left, right in zip(weights(resumed), weights(whole), strict=True):
            np.testing.assert_array_equal(left, right)


def broken(arrays: dict, damage: str) -> dict:
    progress = json.loads(str(arrays["progress"]))
    if damage == "NaN":
        arrays["best_0"] = arrays["best_0"] * np.nan
    elif damage == "another architecture":
        arrays["state_0"] = np.zeros((2, 2), np.float32)
    elif damage == "another dtype":
        arrays["state_0"] = arrays["state_0"].astype(np.float64)
    elif damage == "no curves":
        progress["history"] = {}
    elif damage == "curves of other lengths":
        progress["history"]["loss"].append(0.1)
    elif damage == "curves of text":
        progress["history"]["loss"] = ["a"]
    elif damage == "a list":
        progress = []
    elif damage == "a best epoch that is not there":
        progress["best_epoch"] = 99
    else:
        progress["history"] = {name: [0.1] * 50 for name in progress["history"]}
    return {**arrays, "progress": np.array(json.dumps(progress))}


DAMAGES = ["NaN", "another architecture", "another dtype", "no curves", "curves of other lengths", "curves of text", "a list"]


@pytest.mark.parametrize("damage", [*DAMAGES, "a best epoch that is not there", "too many epochs"])
def test_what_is_no_checkpoint_of_this_training_changes_nothing(toy_data, tmp_path, damage, caplog):
    model = small()
    run = _Run(make_fit(toy_data, tmp_path), TrainStep(model, classification(model), engine.adam(0.01)), "loss", "")
    before = run.step.state()
    run.history = {"loss": [1.0], "val_loss": [1.0]}
    run.save()
    run.fit.checkpoints.flush()
    with np.load(tmp_path / "fit-model.npz") as arrays:
        content = broken(dict(arrays), damage)
    np.savez(tmp_path / "fit-model.npz", **content)
    run.history = {}
    run.resume()
    assert run.epoch == 0
    assert "cannot be used" in caplog.text
    assert not list(tmp_path.iterdir())
    for left, right in zip(run.step.state(), before, strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_diverging_loss_is_reported(toy_data, tmp_path):
    model, fit = small(), make_fit(toy_data, tmp_path)

    def objective(x, y, rng, training):
        return {"loss": classification(model)(x, y, rng, training)["loss"] * float("nan")}

    with pytest.raises(ModelError, match="learning_rate"):
        fit(model, objective)


def test_a_monitor_that_the_objective_does_not_give_is_refused_in_the_first_epoch(toy_data, tmp_path):
    model, fit = small(), make_fit(toy_data, tmp_path, epochs=100)
    with pytest.raises(PluginError, match="monitor is 'acuracy', which the objective does not give; it gives loss, accuracy"):
        fit(model, classification(model), monitor="acuracy")


def test_a_batch_larger_than_the_data_is_refused(toy_data, tmp_path):
    model, fit = small(), make_fit(toy_data, tmp_path, batch_size=1000)
    with pytest.raises(ConfigError, match="batch_size is 1000"):
        fit(model, classification(model))


def test_validation_split_is_by_group(toy_data):
    train, held_out = toy_data.validation_split(0.2, seed=3)
    assert not set(toy_data.group[train]) & set(toy_data.group[held_out])
    assert sorted([*train, *held_out]) == list(range(240))
    for label in range(4):
        assert (toy_data.y_train[held_out] == label).sum() == 12
    assert len(toy_data.validation_split(0.0, seed=3)[1]) == 0
