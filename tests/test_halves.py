"""Training on one of two halves of the data: `train: {half: a}`, of the experiment, a model or a defence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from advrun.config import loads
from advrun.contract.victims import toy_data as _toy
from advrun.data import Dataset
from advrun.datasets.gtsrb import gtsrb
from advrun.errors import ConfigError, DataError
from advrun.runs.needs import training_of
from advrun.runs.plan import make_plan

MODELS = "models: [{name: lnet}, {name: lnet, label: first, train: {half: a}}, {name: lnet, label: second, train: {half: b, epochs: 7}}]\n"


def rows(part: Dataset, whole: Dataset) -> set[bytes]:
    return {image.tobytes() for image in part.x_train}


def test_halves_are_disjoint_stratified_and_whole(toy_data):
    a, b = toy_data.half("a"), toy_data.half("b")
    assert not set(a.group) & set(b.group)
    assert set(a.group) | set(b.group) == set(toy_data.group)
    for label in range(4):
        assert (a.y_train == label).sum() == (b.y_train == label).sum() == 30
    assert toy_data.half("all") is toy_data
    np.testing.assert_array_equal(a.x_train, _toy().half("a").x_train)
    assert a.x_test is toy_data.x_test


def test_without_groups_each_image_is_one(toy_data):
    """What is left over of a class goes to a and b in turn."""
    odd = np.concatenate([np.flatnonzero(toy_data.y_train == label)[:31] for label in range(4)])
    data = replace(toy_data, x_train=toy_data.x_train[odd], y_train=toy_data.y_train[odd], group=None)
    counts = [np.bincount(data.half(which).y_train).tolist() for which in "ab"]
    assert counts == [[16, 15, 16, 15], [15, 16, 15, 16]]


def test_a_class_of_one_group_makes_no_halves(toy_data):
    group = np.where(toy_data.y_train == 2, toy_data.group[toy_data.y_train == 2][0], toy_data.group)
    with pytest.raises(DataError, match=r"class 'c' are of one group, and make no two halves; leave train\.half out"):
        make_plan(loads(MODELS), replace(toy_data, group=group))


@pytest.mark.slow
def test_halves_of_gtsrb_share_no_track(gtsrb_file):
    data = gtsrb(root=str(gtsrb_file))
    a, b = data.half("a"), data.half("b")
    assert len(a.x_train) + len(b.x_train) == 39_209
    assert abs(len(a.x_train) - len(b.x_train)) <= 30
    assert not set(a.group) & set(b.group)
    assert (np.abs(np.bincount(a.y_train) - np.bincount(b.y_train)) <= 31).all()  # one track has 29 frames


def test_a_model_says_how_it_is_trained_where_it_differs():
    experiment = loads(MODELS + "train: {epochs: 3, learning_rate: 0.01}\n")
    plain, first, second = (model.train for model in experiment.models)
    assert (plain.half, first.half, second.half) == ("all", "a", "b")
    assert (plain.epochs, first.epochs, second.epochs) == (3, 3, 7)
    assert first.learning_rate == 0.01
    assert loads(experiment.to_yaml()) == experiment
    with pytest.raises(ConfigError, match=r"models\[0\].train: model 'file' comes trained: there is nothing to train"):
        loads("models: [{name: file, path: x.keras, train: {half: a}}]")
    with pytest.raises(ConfigError, match=r"models\[0\].train.half: got 'c'; expected one of a, b, all"):
        loads("models: [{name: lnet, train: {half: c}}]")


def test_a_defence_sees_the_half_of_its_model():
    experiment = loads(MODELS + "defenses: [{name: autoencoder}, {name: autoencoder, label: own, train: {half: b}}]\n")
    plain, first, _ = experiment.models
    follows, own = experiment.defenses
    assert [training_of(model, follows).half for model in (plain, first)] == ["all", "a"]
    assert [training_of(model, own).half for model in (plain, first)] == ["b", "b"]


def test_the_half_is_in_the_key_only_where_one_is_said(toy_data):
    (whole,) = loads("models: [{name: lnet}]").models
    (half,) = loads("models: [{name: lnet, train: {half: a}}]").models
    assert set(whole.train.identity()) == {"epochs", "batch_size", "learning_rate", "patience"}
    assert half.train.identity() == {**whole.train.identity(), "half": "a"}
    keys = {
        which: make_plan(loads(f"models: [{{name: lnet, train: {{half: {which}, batch_size: 16}}}}]"), toy_data).cells[0].key
        for which in ("all", "a", "b")
    }
    assert len(set(keys.values())) == 3
    assert keys["all"] == make_plan(loads("models: [{name: lnet, train: {batch_size: 16}}]"), toy_data).cells[0].key
