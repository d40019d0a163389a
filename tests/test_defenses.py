"""The contract of every defence in the registry, and what those are there for that came first."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from advrun import Classifier, Linf, attacks, engine, registry
from advrun.attack import Attack, bind
from advrun.checkpoints import Checkpoints
from advrun.config.entries import settings_of
from advrun.contract import defenses as contract
from advrun.contract.systems import fit_on
from advrun.defenses._attacked import Opponent
from advrun.engine import Rng, keras

EPS = 24 / 255


@pytest.fixture(scope="module")
def undefended():
    return contract.undefended()


def defend(name: str, model, data, folder, epochs: int = 4, **given):
    engine.start(0)
    plugin = registry.get("defenses", name)
    given = {"attack": {"name": "fgsm", "eps": EPS}, **given}
    settings = settings_of(plugin, given)
    return plugin.function(model, fit_on(data, Checkpoints(folder), epochs), **{**settings, "attack": bind(settings["attack"])})


@cache
def trial(name: str) -> contract.Defended:
    return contract.Defended(registry.get("defenses", name))


BRIEF = {
    *("alp", "awp", "distillation", "fast", "free", "gaussian_augmentation", "label_smoothing", "mart"),
    *("binary_detector", "magnet", "magnet_detector", "defense_gan", "unet"),
}
"""These keep the first promise in `make test`, the others when there is time; what they compute is tested in test_robust_training.py,
test_detectors.py and test_purifiers.py."""
LONG = {"adversarial_finetuning", "hybrid", "ibp_training", "trades"}
"""These keep all but the last, which takes the longest."""


def promises():
    """Every defence with every promise."""
    first, last = contract.PROMISES[0], contract.PROMISES[-1]
    for name in registry.names("defenses"):
        for promise in contract.PROMISES:
            slow = (name in BRIEF and promise is not first) or (name in LONG and promise is last)
            yield pytest.param(name, promise, id=f"{name}-{promise.__name__}", marks=(pytest.mark.slow,) if slow else ())


@pytest.mark.parametrize(("name", "promise"), list(promises()))
def test_contract(name, promise):
    promise(trial(name))


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
    mixed = np.asarray(Opponent(fgsm, other, Classifier(undefended), 0.3)(x, y, Rng.from_seed(0)))
    np.testing.assert_allclose(mixed[:3], attacks.fgsm(undefended, x, y, Linf(EPS))[:3], atol=1e-6)
    np.testing.assert_allclose(mixed[3:], attacks.fgsm(other, x, y, Linf(EPS))[3:], atol=1e-6)


def test_finetuning_moves_the_last_layers_alone(undefended, toy_data, tmp_path):
    """And makes them stand the attack that they saw better; the first layers, and what batch normalisation knows, stay."""
    tuned = defend("adversarial_finetuning", undefended, toy_data, tmp_path, epochs=8, attack={"name": "fgsm", "eps": EPS}, layers=2)
    old, new = (
        [layer for layer in model._flatten_layers(include_self=False) if layer.weights and not layer._layers]
        for model in (undefended, tuned)
    )
    moved = [
        any(not np.array_equal(*pair) for pair in zip(before.get_weights(), after.get_weights(), strict=True))
        for before, after in zip(old, new, strict=True)
    ]
    learners = [type(layer).__name__ != "BatchNormalization" for layer in old]
    assert sum(moved) == 2
    assert [number for number, each in enumerate(moved) if each] == [number for number, each in enumerate(learners) if each][-2:]
    assert all(layer.trainable for layer in new)
    x, y = toy_data.x_test, toy_data.y_test
    left = [Classifier(model).accuracy(attacks.fgsm(Classifier(undefended), x, y, Linf(EPS)), y) for model in (undefended, tuned)]
    assert left[1] > left[0]


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
