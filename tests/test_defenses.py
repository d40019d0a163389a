"""The contract of every defence in the registry, and what each of the three is there for."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from advrun import Classifier, Linf, attacks, engine, registry
from advrun.attack import Attack
from advrun.checkpoints import Checkpoints
from advrun.config.entries import settings_of
from advrun.console import Console
from advrun.defenses._attacked import attacked
from advrun.engine import Rng, keras
from advrun.models.cnn import cnn
from advrun.runs.work import bind
from advrun.train import Fit, classification

EPS = 24 / 255


def make_fit(data, folder, epochs: int) -> Fit:
    settings = SimpleNamespace(epochs=epochs, batch_size=32, learning_rate=1e-2, patience=99)
    return Fit(data, settings, 0.2, 0, Checkpoints(folder), Console(quiet=True), "toy")


@pytest.fixture(scope="module")
def undefended(toy_data, tmp_path_factory):
    engine.start(0)
    model = cnn((8, 8, 3), 4, width=4, blocks=2, dropout=0.0)
    return make_fit(toy_data, tmp_path_factory.mktemp("plain"), 8)(model, classification(model), monitor="accuracy")


def defend(name: str, model, data, folder, epochs: int = 4, **given):
    engine.start(0)
    plugin = registry.get("defenses", name)
    given = {"attack": {"name": "fgsm", "eps": EPS}, **given}
    settings = settings_of(plugin, given)
    return plugin.function(model, make_fit(data, folder, epochs), **{**settings, "attack": bind(settings["attack"])})


@pytest.mark.parametrize("name", registry.names("defenses"))
def test_contract(name, undefended, toy_data, tmp_path):
    before = [weight.numpy().copy() for weight in undefended.weights]
    system = defend(name, undefended, toy_data, tmp_path / "fit")
    classifier = Classifier(system)
    assert classifier.image_shape == (8, 8, 3)
    assert classifier.classes == 4
    assert classifier.accuracy(toy_data.x_test, toy_data.y_test) > 0.7
    for left, right in zip(before, undefended.weights, strict=True):
        np.testing.assert_array_equal(left, right.numpy())
    system.save(tmp_path / "system.keras")
    again = Classifier.from_file(tmp_path / "system.keras")
    np.testing.assert_allclose(again.predict(toy_data.x_test), classifier.predict(toy_data.x_test), atol=1e-5)


def test_adversarial_training_makes_robust(undefended, toy_data, tmp_path):
    plain = Classifier(undefended)
    robust = Classifier(defend("adversarial_training", undefended, toy_data, tmp_path, epochs=12, preset="madry"))
    x, y = toy_data.x_test, toy_data.y_test
    left = [model.accuracy(attacks.pgd(model, x, y, Linf(EPS), steps=10), y) for model in (plain, robust)]
    assert left[1] > left[0] + 0.1


def test_replayed_share_is_crafted_on_the_undefended_model(undefended, toy_data):
    """The first rows are FGSM images of the undefended model, the others of the learner."""
    fgsm = Attack(registry.get("attacks", "fgsm"), Linf(EPS), {})
    other = Classifier(keras.models.clone_model(undefended))
    x, y = toy_data.x_test[::8] / np.float32(255), toy_data.y_test[::8]
    mixed = np.asarray(attacked(fgsm, other, Classifier(undefended), x, y, Rng.from_seed(0), 0.3))
    np.testing.assert_allclose(mixed[:3], attacks.fgsm(undefended, x, y, Linf(EPS))[:3], atol=1e-6)
    np.testing.assert_allclose(mixed[3:], attacks.fgsm(other, x, y, Linf(EPS))[3:], atol=1e-6)


def test_the_autoencoder_restores_and_the_attack_goes_through_it(undefended, toy_data, tmp_path):
    """Static accuracy recovers; the adaptive attack, through the purifier, takes it back."""
    system = Classifier(defend("autoencoder", undefended, toy_data, tmp_path, epochs=80, width=8))
    plain, x, y = Classifier(undefended), toy_data.x_test, toy_data.y_test
    replayed = attacks.fgsm(plain, x, y, Linf(EPS))
    adaptive = attacks.pgd(system, x, y, Linf(EPS), steps=10)
    assert system.accuracy(replayed, y) > plain.accuracy(replayed, y) + 0.1
    assert system.accuracy(adaptive, y) < system.accuracy(replayed, y) - 0.1
    clean = toy_data.x_test / np.float32(255)
    restored = system.purify(replayed)
    assert restored.shape == clean.shape
    assert np.abs(restored - clean).mean() < np.abs(replayed - clean).mean()


def test_the_hybrid_trains_both_parts(undefended, toy_data, tmp_path):
    system = Classifier(defend("hybrid", undefended, toy_data, tmp_path, epochs=2, width=4))
    inner = next(layer for layer in system.model.layers if layer.name == undefended.name)
    assert any((new.numpy() != old.numpy()).any() for new, old in zip(inner.weights, undefended.weights, strict=True))
    assert system.purify(toy_data.x_test[:2]) is not None
