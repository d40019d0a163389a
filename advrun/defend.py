"""Defending: a system + a defence with its settings -> the defended system; and such systems on disk.

A system that is one Keras model is a `.keras` file. Any other is what its defence fitted: an .npz file with the weights of every network
that `fit` trained, in the order of its calls, the arrays of `fit.statistics`, and as text in JSON the defence's name, its settings, and the
file of the system that it was built on, in the same folder. To load it, the defence is called again, with a `fit` that hands back these
instead of learning. The file holds nothing that is run: the defence's code is that of the registry.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from advrun import registry
from advrun.attack import bind
from advrun.config import as_written
from advrun.config.entries import settings_of
from advrun.engine import keras
from advrun.errors import ConfigError, ModelError
from advrun.files import inside
from advrun.npz import pack, unpack
from advrun.registry import Plugin
from advrun.system.classifier import Classifier
from advrun.system.copies import full_precision
from advrun.system.ends import logits_model
from advrun.system.modelfile import load_model, probe
from advrun.system.stages import Chain, chained

FILE = ".npz"
"""Ending of a system that is more than one Keras model."""
TEXT = "system"
"""The array that holds the JSON."""
DEEPEST = 20
"""Defences, one upon the other, that a file is followed through."""


def applied(plugin: Plugin, system: Chain, fit: Any, settings: Mapping[str, Any]) -> Any:
    """What a defence returns: that whose first parameter is called `system` is given the chain, any other one Keras model.

    Args:
        plugin: the defence.
        system: what it defends; it is left as it is.
        fit: `train.Fit`, or what stands in its place; handed over where the defence has a second parameter.
        settings: all of them.
    """
    if system.detectors and not plugin.takes_system:
        raise ModelError(
            f"defence {plugin.name!r} makes a network, and the detector beside the one it is given would be lost; name it first"
        )
    bound = {key: registry.on_attacks(bind, value) if plugin.settings[key].is_attack else value for key, value in settings.items()}
    given: Any = system if plugin.takes_system else system.as_model()
    return plugin.function(*((given, fit) if plugin.takes_fit else (given,)), **bound)


def defended(name: str, system: Chain, fit: Any, settings: Mapping[str, Any]) -> Chain:
    """The defended system. Raises ModelError where the defence returns none."""
    result = applied(registry.get("defenses", name), system, fit, settings)
    if not isinstance(result, (Chain, keras.Model)):
        place = registry.place("defenses", name)
        raise ModelError(f"{place} returns {type(result).__name__}; expected the defended system: a Chain, or a Keras model")
    return chained(result)


def settled(system: Chain) -> Chain:
    """The same system with a network that gives logits, in float32. Raises ModelError where they cannot be had."""
    return replace(system, network=full_precision(logits_model(system.network)))


@dataclass
class Fitted:
    """Stands in for `train.Fit`, and hands back what was fitted before. weights: of each call, in order. learnt: statistics by name."""

    weights: Sequence[Sequence[np.ndarray]]
    learnt: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    calls: int = 0
    asked: set[str] = field(default_factory=set)

    def __call__(self, model: Any, objective: Any, **_: Any) -> Any:
        """The model with its weights. Raises ModelError where they are not its own."""
        self.calls += 1
        if self.calls > len(self.weights):
            raise ModelError(f"its defence fits {self.calls} networks, and the file holds the weights of {len(self.weights)}")
        weights, shapes = self.weights[self.calls - 1], [tuple(weight.shape) for weight in model.weights]
        if [weight.shape for weight in weights] != shapes:
            raise ModelError(f"the weights of its network {self.calls} are not those that its defence fits")
        model.set_weights(weights)
        return model

    def game(self, model: Any, players: Any, **_: Any) -> Any:
        """The model with its weights, as above."""
        return self(model, None)

    def statistics(self, name: str, compute: Any) -> dict[str, np.ndarray]:
        """The arrays of this name. Raises ModelError where there are none."""
        if name not in self.learnt:
            raise ModelError(f"its defence learns statistics {name!r}, and the file holds none of this name")
        self.asked.add(name)
        return dict(self.learnt[name])

    def __getattr__(self, name: str) -> NoReturn:
        what = "weights that `fit` trains, or arrays of `fit.statistics`"
        raise ModelError(f"its defence asks for fit.{name} when it is read again; what it learns must be {what}")


def packed(
    name: str,
    settings: Mapping[str, Any],
    base: str,
    fitted: Sequence[Sequence[np.ndarray]],
    learnt: Mapping[str, Mapping[str, np.ndarray]] | None = None,
) -> bytes:
    """The file of a system. base: the name of the file of the system that the defence was given. fitted, learnt: as in `train.Fit`."""
    content: dict[str, Any] = {"defense": {"name": name, **as_written(settings)}, "base": base, "fits": len(fitted)}
    content |= {"statistics": {each: list(arrays) for each, arrays in learnt.items()}} if learnt else {}
    arrays = {f"fit{call}_{i}": weight for call, weights in enumerate(fitted) for i, weight in enumerate(weights)}
    arrays |= {f"statistic{i}_{j}": value for i, found in enumerate((learnt or {}).values()) for j, value in enumerate(found.values())}
    return pack({TEXT: np.array(json.dumps(content)), **arrays})


def load(path: str | Path, depth: int = 0) -> Chain:
    """A system from its file, whatever it is made of.

    Raises:
        ModelError: where it is none, or one that the defences of today do not make. ConfigError: where a defence is unknown.
    """
    path = Path(path).expanduser()
    if path.suffix != FILE:
        return chained(load_model(path))
    if depth > DEEPEST:
        raise ModelError(f"{path}: more than {DEEPEST} defences, one upon the other")
    try:
        arrays = unpack(path, path.stat().st_size)
        content = json.loads(str(arrays.pop(TEXT)))
        name, base = str(content["defense"].pop("name")), inside(path.parent, str(content["base"]))
        given = {key: _tuples(value) for key, value in content["defense"].items()}
        fitted = [_weights(arrays, call) for call in range(int(content["fits"]))]
        learnt = {
            str(each): {str(key): arrays[f"statistic{i}_{j}"] for j, key in enumerate(keys)}
            for i, (each, keys) in enumerate(content.get("statistics", {}).items())
        }
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise ModelError(f"{path}: no defended system ({' '.join(str(error).split())})") from error
    system = load(base, depth + 1)
    try:
        fit = Fitted(fitted, learnt)
        made = settled(defended(name, system, fit, settings_of(registry.get("defenses", name), given)))
    except (ModelError, ConfigError) as error:
        raise type(error)(f"{path}: {error}") from error
    if fit.calls != len(fitted):
        raise ModelError(f"{path}: holds the weights of {len(fitted)} networks, and its defence fits {fit.calls}")
    if unused := learnt.keys() - fit.asked:
        raise ModelError(f"{path}: holds statistics {', '.join(sorted(unused))} that its defence does not learn")
    return made


def check_read_again(system: Chain, again: Chain) -> None:
    """Raise ModelError unless a system that was read again answers as it did."""
    x = probe(system.network, 8)
    before, after = (Classifier(chain).predict(x) for chain in (system, again))
    if not np.allclose(before, after, rtol=1e-3, atol=1e-4, equal_nan=True):
        raise ModelError("it gives other outputs when it is read again: its defence learns, or draws, something that `fit` does not train")


def _weights(arrays: Mapping[str, np.ndarray], call: int) -> list[np.ndarray]:
    count = sum(name.startswith(f"fit{call}_") for name in arrays)
    return [arrays[f"fit{call}_{i}"] for i in range(count)]


def _tuples(value: Any) -> Any:
    """Lists as tuples, at any depth: settings are immutable."""
    if isinstance(value, list):
        return tuple(map(_tuples, value))
    return {key: _tuples(each) for key, each in value.items()} if isinstance(value, dict) else value
