"""Randomness past `rng`: refused where it is drawn, by file and line; what an attacked system draws is no fault of the attack."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from advrun import Classifier, Linf, engine
from advrun.attack import Attack
from advrun.engine import Rng, keras, ops, repeat, tf
from advrun.errors import PluginError
from advrun.registry import Plugin
from advrun.system import Chain, Purifier

HERE = Path(__file__).name
X = np.full((2, 4, 4, 1), 0.5, np.float32)


def line_of(function: Callable[..., Any], offset: int = 1) -> str:
    return f"{HERE}:{function.__code__.co_firstlineno + offset}: draws "


def traced(function: Callable[..., Any]) -> Any:
    """The function as a unit in a graph, handed images and a source of randomness."""

    def run(x: Any, key: Any) -> Any:
        with engine.keyed(function):
            return function(x, Rng(key).of(x))

    return engine.compiled(run)(X, Rng.from_seed(1).key)


def by_tensorflow(x, rng):
    return x + tf.random.uniform(x.shape)


def by_keras(x, rng):
    return x + keras.random.normal(x.shape)


def in_a_loop(x, rng):
    return repeat(lambda i, z: z + tf.random.normal(z.shape), 3, x)


def in_a_branch(x, rng):
    return ops.cond(ops.sum(x) > 0, lambda: tf.random.shuffle(x), lambda: x)


def by_a_generator(x, rng):
    return x + engine.outside(lambda: tf.random.Generator.from_seed(1)).normal(x.shape)


@pytest.mark.parametrize("unit", [by_tensorflow, by_keras, in_a_loop, in_a_branch, by_a_generator])
def test_what_is_drawn_past_rng_is_refused_by_its_line(unit):
    with pytest.raises(PluginError) as refused:
        traced(unit)
    assert line_of(unit) in str(refused.value)
    assert str(refused.value).endswith("past `rng`; draw from that, as in rng.uniform(x.shape), so that a run can be repeated")


def by_numpy(x, rng):
    return x + np.random.uniform(size=x.shape).astype(np.float32)


def test_so_are_the_global_numbers_of_numpy_in_graphs_and_eagerly():
    for call in (lambda: traced(by_numpy), lambda: Purifier(by_numpy, random=True)(X, Rng.from_seed(1).of(X))):
        with pytest.raises(PluginError, match="NumPy's global random numbers, once for all images, past `rng`") as refused:
            call()
        assert line_of(by_numpy, 0) in str(refused.value)


def from_rng(x, rng):
    fixed = np.random.default_rng(3).normal(size=x.shape).astype(np.float32)
    return repeat(lambda i, z: z + rng.fold(i).uniform(z.shape), 3, x + rng.uniform(x.shape) + fixed)


def test_what_is_drawn_from_rng_is_not():
    assert np.abs(np.asarray(traced(from_rng)) - X).min() > 0


def test_what_the_attacked_system_draws_is_no_fault_of_the_attack():
    """A network whose noise was left on is measured, and flagged; a purifier is refused by its own line, whoever asks the system."""
    inputs = keras.Input((4, 4, 1))
    noisy = keras.layers.GaussianNoise(0.1, seed=1)(inputs, training=True)
    network = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(noisy)))

    def attack(model, x, y, rng):
        return x + 0 * model.logits(x)[:, :1, None, None]

    crafting = Attack(Plugin("attacks", "attack", attack, {}, dict.fromkeys(("model", "x", "y", "rng")), {}), Linf(0.1))
    y, system = np.zeros(2, np.int32), Classifier(network)
    engine.compiled(lambda x, key: crafting(system, x, y, Rng(key).of(x)))(X, Rng.from_seed(1).key)

    def purified(x, rng):
        return by_tensorflow(x, rng)

    behind = Classifier(Chain(network, (Purifier(purified),)))
    with pytest.raises(PluginError) as refused:
        engine.compiled(lambda x, key: crafting(behind, x, y, Rng(key).of(x)))(X, Rng.from_seed(1).key)
    assert line_of(by_tensorflow) in str(refused.value)
