"""Which cells depend on which images: what learns on all of them, what is attacked and measured on the test images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from advrun import registry
from advrun.config import loads
from advrun.data import Dataset
from advrun.errors import DataError, PluginError
from advrun.runs import runner
from advrun.runs.expected import useful
from advrun.runs.needs import learns
from advrun.runs.plan import make_plan

ATTACKS = "attacks: [{name: fgsm, eps: 0.1}, {name: hopskipjump, queries: 100}, {name: universal, eps: 0.1}]\n"


@pytest.fixture
def given(tmp_path: Path) -> str:
    """Models: one that comes trained. Its bytes are part of the key; nothing here opens it."""
    (tmp_path / "given.keras").write_bytes(b"weights")
    return f"models: [{{name: file, path: {tmp_path}/given.keras}}]\n"


def changed(data: Dataset, split: str) -> Dataset:
    images = getattr(data, f"x_{split}").copy()
    images[-1, 0, 0, 0] ^= 1
    return replace(data, **{f"x_{split}": images})


def keys(text: str, data: Dataset) -> dict[str, str]:
    return {f"{cell.kind} {cell.label}": cell.key for cell in make_plan(loads(text), data).cells}


def test_changed_training_images_train_anew(toy_data: Dataset) -> None:
    text = "models: [{name: cnn}]\n" + ATTACKS
    before, after = keys(text, toy_data), keys(text, changed(toy_data, "train"))
    assert not set(before.values()) & set(after.values())


def test_changed_training_images_leave_a_given_model_alone(toy_data: Dataset, given: str) -> None:
    """Save for attacks that learn from them, or start from some."""
    before, after = keys(given + ATTACKS, toy_data), keys(given + ATTACKS, changed(toy_data, "train"))
    redone = {label for label in before if before[label] != after[label]}
    assert redone == {label for label in before if "hopskipjump" in label or "universal" in label}
    assert any("fgsm" in label for label in set(before) - redone)


def test_changed_test_images_measure_anew(toy_data: Dataset, given: str) -> None:
    for text in (given + ATTACKS, "models: [{name: cnn}]\n" + ATTACKS):
        before, after = keys(text, toy_data), keys(text, changed(toy_data, "test"))
        kept = {label for label in before if before[label] == after[label]}
        assert kept == set()  # a model that comes trained is looked at with test images


def test_a_defence_redoes_nothing_of_a_given_model(toy_data: Dataset, given: str) -> None:
    """Without it no training image is read; with it all are."""
    alone = replace(toy_data, x_train=toy_data.x_test[:0], y_train=toy_data.y_test[:0], group=None)
    text = given + "attacks: [{name: fgsm, eps: 0.1}]\n"
    before, after = keys(text, alone), keys(text + "defenses: [{name: adversarial_training, preset: madry}]\n", toy_data)
    assert before.items() <= after.items()
    assert len(after) > len(before)


def test_names_of_classes_are_part_of_both(toy_data: Dataset) -> None:
    other = replace(toy_data, class_names=("a", "b", "c", "e"))
    assert other.test_fingerprint != toy_data.test_fingerprint
    assert other.fingerprint != toy_data.fingerprint


def test_a_limited_test_set_is_the_same_without_training_images(toy_data: Dataset) -> None:
    alone = replace(toy_data, x_train=toy_data.x_test[:0], y_train=toy_data.y_test[:0], group=None)
    assert toy_data.limited(5, 20).test_fingerprint == alone.limited(5, 20).test_fingerprint
    assert len(toy_data.limited(5, 20).y_train) == 5


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("attacks: [{name: fgsm, eps: 0.1}, {name: autoattack, eps: 0.1}]", False),
        ("attacks: [{name: universal, eps: 0.1}]", True),
        ("attacks: [{name: boundary}]", True),
        ("defenses: [{name: autoencoder}]", True),
        ("models: [{name: cnn}]", True),
    ],
)
def test_what_learns_from_training_images(given: str, more: str, expected: bool) -> None:
    assert learns(loads(more if "models" in more else given + more)) is expected


def test_training_images_are_read_where_something_learns(given: str, tmp_path: Path) -> None:
    images = np.zeros((4, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "a.npz", x_train=images, y_train=[0, 1, 2, 3], x_test=images, y_test=[0, 1, 2, 3])
    text = f"data: {{name: arrays, path: {tmp_path}/a.npz}}\n" + given
    experiment, defended = loads(text), loads(text + "defenses: [{name: autoencoder}]\n")
    assert len(runner.load_data(experiment).y_train) == 0
    assert len(runner.load_data(experiment, training=True).y_train) == 4
    assert len(runner.load_data(defended).y_train) == 4
    np.savez(tmp_path / "a.npz", x=images, y=[0, 1, 2, 3])
    with pytest.raises(DataError, match="has no training images for 'autoencoder'"):
        make_plan(defended, runner.load_data(defended))


def test_every_data_set_is_the_same_with_and_without_training_images() -> None:
    both, alone = (registry.get("datasets", "signs").function(training, train=20, test=12) for training in (True, False))
    assert (len(both.y_train), len(alone.y_train)) == (20, 0)
    assert both.test_fingerprint == alone.test_fingerprint


def test_a_data_set_may_ask_for_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    def mine(trainign: bool = True, *, root: str = "") -> Dataset:
        """A data set."""
        raise NotImplementedError

    monkeypatch.setattr(registry, "names", lambda kind: ["mine"])
    monkeypatch.setattr(registry, "load", lambda kind, name: mine)
    with pytest.raises(PluginError, match=r"advrun/datasets/mine.py: the runner hands over no 'trainign'; did you mean 'training'"):
        registry.get.__wrapped__("datasets", "mine")


def test_a_tilde_is_the_home_folder_in_every_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    experiment = loads(
        "data: {name: listed, test: ~/list.csv, root: '~'}\nmodels: [{name: file, path: ~/m.keras}]\n"
        "attacks: [{name: transfer, eps: 0.1, models: [~/a.keras, b.keras]}]\n",
        ["results=~/results"],
    )
    assert (experiment.data.settings["test"], experiment.data.settings["root"]) == (f"{tmp_path}/list.csv", str(tmp_path))
    assert experiment.models[0].settings["path"] == f"{tmp_path}/m.keras"
    assert experiment.attacks[0].settings["models"] == (f"{tmp_path}/a.keras", "b.keras")
    assert experiment.results == f"{tmp_path}/results"
    assert loads(experiment.to_yaml()) == experiment


@pytest.mark.parametrize(("examples", "batches"), [(20, 3), (8, 1), (10**6, None)])
def test_of_an_attack_each_batch_may_have_a_worker_and_what_learns_has_one(
    toy_data: Dataset, given: str, examples: int, batches: int | None
):
    attacks = f"attacks: [{{name: fgsm, eps: 0.1, examples: {examples}}}, {{name: universal, eps: 0.1, examples: {examples}}}]\n"
    plan = make_plan(loads(given + attacks + "compute: {batch_size: 8}\n"), toy_data)
    crafting = {cell.attack.name: cell for cell in plan.cells if cell.kind == "attack"}
    assert useful([crafting["fgsm"]], plan) == (batches or -(-len(toy_data.y_test) // 8))
    assert useful([crafting["universal"]], plan) == 1
    assert useful(crafting.values(), plan) == useful([crafting["fgsm"]], plan) + 1
