"""Transfer and substitute attacks: another model's adversarial images, on models that were really trained."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from advrun import Linf, attacks
from advrun.attack import Attack
from advrun.attacks import _surrogate
from advrun.checkpoints import Checkpoints
from advrun.config.entries import settings_of
from advrun.craft import craft
from advrun.errors import ConfigError, ModelError
from advrun.registry import get
from advrun.runs.plan import described
from advrun.system.copies import fresh_copy
from advrun.system.modelfile import save_model
from advrun.types import Cost

EPS = Linf(0.2)


def attacked(victim, toy_data, name, target=None, checkpoints=None, **settings):
    plugin = get("attacks", name)
    pool = (toy_data.x_train, toy_data.y_train)
    attack, test = Attack(plugin, EPS, settings_of(plugin, settings)), (toy_data.x_test, toy_data.y_test)
    return craft(victim, attack, *test, train=pool, target=target, checkpoints=checkpoints)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("transfer", {"epochs": 12}),
        pytest.param("substitute", {"images": 240, "rounds": 1, "epochs": 12}, marks=pytest.mark.slow),
    ],
)
def test_it_fools_a_model_that_it_has_not_seen(victim, toy_data, name, settings):
    clean = victim.accuracy(toy_data.x_test, toy_data.y_test)
    noise = attacks.noise(victim, toy_data.x_test, toy_data.y_test, EPS)
    crafted = attacked(victim, toy_data, name, **settings)
    assert victim.accuracy(crafted.x_adv, toy_data.y_test) < min(clean, victim.accuracy(noise, toy_data.y_test)) - 0.2
    assert not crafted.gradients.any()


def test_a_substitute_asks_for_labels_before_it_starts(victim, toy_data, caplog):
    with caplog.at_level(logging.INFO, "advrun"):
        crafted = attacked(victim, toy_data, "substitute", images=60, rounds=2, epochs=1)
    assert "substitute: fitting asked for 0 gradients and 240 queries" in caplog.text
    assert crafted.learning == Cost(queries=240)
    assert not crafted.queries.any()


def test_what_learning_asked_outlives_a_kill(victim, toy_data, tmp_path, monkeypatch):
    """All batches were done when the process died: the next one learns nothing anew, and knows what was asked."""
    monkeypatch.setattr("advrun.checkpoints.CHECKPOINT_SECONDS", 0.0)
    settings = {"images": 60, "rounds": 0, "epochs": 1}
    first = attacked(victim, toy_data, "substitute", checkpoints=Checkpoints(tmp_path), **settings)
    again = attacked(victim, toy_data, "substitute", checkpoints=Checkpoints(tmp_path), **settings)
    np.testing.assert_array_equal(first.x_adv, again.x_adv)
    assert again.learning == first.learning == Cost(queries=60)


def test_a_white_box_surrogate_file_is_the_white_box_attack(victim, toy_data, tmp_path):
    save_model(victim.model, tmp_path / "same.keras")
    crafted = attacked(victim, toy_data, "transfer", models=(str(tmp_path / "same.keras"),))
    np.testing.assert_allclose(crafted.x_adv, attacked(victim, toy_data, "mifgsm").x_adv, atol=1e-5)


def test_a_surrogate_file_is_known_by_its_bytes(victim, toy_data, network, tmp_path):
    """Overwritten under the same name it is another attack, in this process as in the cells of a run."""
    path = tmp_path / "surrogate.keras"
    save_model(victim.model, path)
    before = attacked(victim, toy_data, "transfer", models=(str(path),)).x_adv
    cell = described("attacks", "transfer", {"models": (str(path),)})
    other = fresh_copy(victim.model)
    for weight in other.trainable_variables:
        weight.assign(-weight)
    save_model(other, path)
    assert described("attacks", "transfer", {"models": (str(path),)}) != cell
    after = attacked(victim, toy_data, "transfer", models=(str(path),)).x_adv
    assert not np.allclose(before, after, atol=1e-3)
    with pytest.raises(ModelError, match=r"transfer.models: no such file: .*gone.keras"):
        described("attacks", "transfer", {"models": (str(tmp_path / "gone.keras"),)})


def test_an_ensemble_is_the_mean_of_logits(victim, toy_data, tmp_path):
    save_model(victim.model, tmp_path / "one.keras")
    paths = (str(tmp_path / "one.keras"), str(tmp_path / "one.keras"))
    ensemble = _surrogate.from_files(paths, victim.image_shape, victim.classes)
    np.testing.assert_allclose(ensemble.predict(toy_data.x_test), victim.predict(toy_data.x_test), rtol=1e-4, atol=1e-4)


def test_surrogates_that_do_not_fit(victim, toy_data, network, tmp_path):
    save_model(network.model, tmp_path / "other.keras")
    with pytest.raises(ConfigError, match=r"other.keras maps images \(6, 6, 3\) to 5 classes; the attacked model \(8, 8, 3\) to 4"):
        attacked(victim, toy_data, "transfer", models=(str(tmp_path / "other.keras"),))
    for name in ("square", "cw", "autoattack"):
        with pytest.raises(ConfigError, match="expected the name of a white-box attack"):
            attacked(victim, toy_data, "transfer", attack=name)
