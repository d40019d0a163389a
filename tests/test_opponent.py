"""Defences against attacks that learn: who learns, when, against what, how long it is remembered, and a kill in between."""

from __future__ import annotations

import numpy as np
import pytest

from advrun import Classifier, Linf, engine, registry
from advrun.attack import Attack
from advrun.checkpoints import Checkpoints
from advrun.config.entries import settings_of
from advrun.contract import defenses as contract
from advrun.contract import systems
from advrun.craft import craft
from advrun.defenses._attacked import Opponent, attacked
from advrun.engine import Rng
from advrun.errors import ConfigError

from .conftest import adding

SHIFT = '''
"""One perturbation for all images, up the mean gradient of those that it learns from (Nobody, 2026, arXiv:0000.00000)."""
from typing import Any

import numpy as np

from advrun.engine import Rng, ops
from advrun.geometry import Linf
from advrun.losses import log_odds
from advrun.system import Blind, Gradients
from advrun.types import Labels, Tensor


def shift(model: Blind, x: Tensor, y: Labels, ball: Linf, fitted: Any) -> Tensor:
    """Adds it."""
    return ball.project(x + fitted["change"][0], x)


def fit(model: Gradients, x: np.ndarray, y: np.ndarray, ball: Linf, rng: Rng) -> Any:
    """Its sign, times eps."""
    slope = model.gradient(log_odds, ops.convert_to_tensor(x[:64]), ops.convert_to_tensor(y[:64].astype(np.int32)))
    drawn = np.asarray(rng.uniform(x.shape[1:]))
    return {"change": [np.asarray(ball.eps * np.sign(np.asarray(slope).mean(0) + 1e-3 * drawn), np.float32)]}
'''
EPS = 24 / 255


@pytest.fixture(scope="module")
def shift(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    (folder / "attacks").mkdir()
    (folder / "attacks/shift.py").write_text(SHIFT)
    with adding(folder):
        yield Attack(registry.get("attacks", "shift"), Linf(EPS), {})


@pytest.fixture
def fit(toy_data, tmp_path):
    return systems.fit_on(toy_data, Checkpoints(tmp_path), 4)


def test_each_generation_attacks_its_share_and_the_oldest_is_forgotten(shift, toy_data, fit):
    """Rows of a batch are changed by what was learnt before each of the last epochs, on the learner as it was then."""
    learner = Classifier(engine.keras.models.clone_model(contract.undefended()))
    opponent = Opponent(shift, learner, Classifier(contract.undefended()), 0.25, generations=3)
    x, y = np.full((8, 8, 8, 3), 0.5, np.float32), np.zeros(8, np.int32)
    learnt = []
    for epoch in range(4):
        learner.model.set_weights([weight + 0.02 * epoch for weight in contract.undefended().get_weights()])
        opponent.prepare(fit, epoch)
        changes = np.asarray(opponent(x, y, Rng.from_seed(0))) - 0.5
        newest = opponent.latest._learnt[epoch]["change"][0]
        learnt.append(newest)
        remembered = learnt[-3:]
        static = opponent.static._learnt[0]["change"][0]
        for row in range(2):
            np.testing.assert_allclose(changes[row], static, atol=1e-6)
        for row in range(2, 8):
            np.testing.assert_allclose(changes[row], remembered[(row - 2) // 2 % len(remembered)], atol=1e-6)
    assert sorted(opponent.latest._learnt) == [1, 2, 3]
    assert len({each.tobytes() for each in learnt}) == 4


def test_with_replay_alone_the_learner_is_never_asked(shift, fit):
    learner = Classifier(engine.keras.models.clone_model(contract.undefended()))
    learner.counter.start()
    opponent = Opponent(shift, learner, Classifier(contract.undefended()), 1.0)
    for epoch in range(2):
        opponent.prepare(fit, epoch)
    opponent(np.zeros((4, 8, 8, 3), np.float32), np.zeros(4, np.int32), Rng.from_seed(0))
    assert not any(count.sum() for count in learner.counter.read().values())
    assert opponent.latest._learnt == {}


def test_where_there_is_no_time_to_learn_it_is_refused(shift):
    undefended = Classifier(contract.undefended())
    with pytest.raises(ConfigError, match="'shift' learns before it attacks"):
        attacked(shift, undefended, undefended, np.zeros((4, 8, 8, 3), np.float32), np.zeros(4, np.int32), Rng.from_seed(0), 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adversarial_training", "autoencoder"])
def test_killed_and_resumed_it_ends_the_same(shift, name):
    """The contract's own test; what was learnt before the kill comes from its checkpoint."""
    given = {"attack": {"name": "shift", "eps": EPS}}
    systems.killed_and_resumed_it_ends_the_same(contract.Defended(registry.get("defenses", name), given))


def test_what_was_learnt_is_not_learnt_again(shift, fit, monkeypatch):
    """After a kill it comes from the checkpoint, whatever the learner has become."""

    def prepared():
        learner = Classifier(engine.keras.models.clone_model(contract.undefended()))
        opponent = Opponent(shift, learner, Classifier(contract.undefended()))
        opponent.prepare(fit, 0)
        return opponent.latest._learnt[0]["change"][0]

    def learning(*arguments, **settings):
        raise AssertionError("it learns again")

    before = prepared()
    monkeypatch.setattr(Attack, "fit", learning)
    np.testing.assert_array_equal(prepared(), before)


@pytest.mark.slow
def test_the_defence_defends_against_what_it_was_trained_on(shift, toy_data):
    """Against a perturbation that is learnt anew, on the defended classifier itself."""
    given = {"attack": {"name": "shift", "eps": EPS}, "ratio": 1.0}
    trial = contract.Defended(registry.get("defenses", "adversarial_training"), given)
    x, y, train = toy_data.x_test, toy_data.y_test, (toy_data.x_train, toy_data.y_train)
    left = []
    for model in (Classifier(contract.undefended()), Classifier(trial.system)):
        left.append(model.accuracy(craft(model, shift, x, y, train=train).x_adv, y))
    assert left[1] > left[0] + 0.1


@pytest.mark.slow
def test_advgan_inside_adversarial_training(toy_data):
    """The real one: a generator before each epoch; afterwards a fresh one finds less than it does on the undefended classifier."""
    settings = {"epochs": 3, "width": 4, "images": 200}
    given = {"attack": {"name": "advgan", "eps": 0.2, **settings}, "generations": 2}
    trial = contract.Defended(registry.get("defenses", "adversarial_training"), given)
    advgan = registry.get("attacks", "advgan")
    attack = Attack(advgan, Linf(0.2), settings_of(advgan, settings))
    x, y, train = toy_data.x_test, toy_data.y_test, (toy_data.x_train, toy_data.y_train)
    left = [
        model.accuracy(craft(model, attack, x, y, train=train).x_adv, y)
        for model in (Classifier(contract.undefended()), Classifier(trial.system))
    ]
    assert left[1] > left[0] + 0.1
