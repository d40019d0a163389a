"""The configuration of a model that another Keras wrote, as Keras 3 reads it: JSON in, JSON out; no code runs and no weight changes.

What Keras 3 reads anyhow stays as it is. Repaired are: Sequential models without an InputLayer (tf.keras until 2020), as a bare list
(Keras until 2.2.2), or beginning with another model; arguments that Keras 3 no longer has (`groups` of DepthwiseConv2D); module names,
dtype policies, activations and initializers of Keras 2; how Keras 2 counts the calls of a nested model, and names its one output; a
TensorFlow function that adds or multiplies a number.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from typing import Any

from advrun.engine import keras

Config = dict[str, Any]
INPUT_SHAPES = ("batch_input_shape", "batch_shape")
RENAMED = {"BatchNormalizationV1": "BatchNormalization", "BatchNormalizationV2": "BatchNormalization", "Convolution2D": "Conv2D"}
KERAS_2 = ("keras.src.engine.", "keras.engine.", "keras.src.layers.", "keras.layers.", "tf_keras.", "tensorflow.python.keras.")
"""Modules of Keras 2, where Keras 3 has others; `keras.layers` is in both."""
MODELS = ("Model", "Functional", "Sequential")
DEFAULTS: tuple[Any, ...] = (None, False, [], {}, "")
ONES = ("groups",)
"""Arguments whose 1 says nothing."""
SCALES: dict[str, Callable[[float], tuple[float, float]]] = {
    "math.add": lambda y: (1.0, y),
    "__operators__.add": lambda y: (1.0, y),
    "math.subtract": lambda y: (1.0, -y),
    "__operators__.sub": lambda y: (1.0, -y),
    "math.multiply": lambda y: (y, 0.0),
    "__operators__.mul": lambda y: (y, 0.0),
    "math.truediv": lambda y: (1.0 / y, 0.0),
    "math.divide": lambda y: (1.0 / y, 0.0),
    "__operators__.truediv": lambda y: (1.0 / y, 0.0),
}
"""The scale and offset of x under a TensorFlow function of x and a number y."""


def repaired(config: Config) -> Config:
    """The model's configuration for Keras 3; equal to `config` where nothing had to be done, or where parts of it are missing."""
    mended = copy.deepcopy(config)
    try:
        _mend(mended)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):  # no model's: Keras says what is wrong with it
        return config
    return mended


def _mend(layer: Config) -> None:
    """Repair a layer and everything inside it."""
    if layer.get("class_name") == "Sequential" and isinstance(layer["config"], list):
        layer["config"] = {"name": "sequential", "layers": layer["config"]}
    _mend_class(layer)
    config = layer["config"]
    if not isinstance(config, dict):
        return
    if layer["class_name"] in MODELS and isinstance(config.get("layers"), list):
        for inner in config["layers"]:
            if isinstance(inner, dict) and "config" in inner:
                _mend(inner)
        if layer["class_name"] == "Sequential":
            _begin_with_input(config)
        else:
            _mend_graph(config)
    elif isinstance(config.get("layer"), dict) and "config" in config["layer"]:  # a wrapper
        _mend(config["layer"])
    _mend_values(config)
    _drop_lost_arguments(layer)


def _mend_class(layer: Config) -> None:
    layer["class_name"] = RENAMED.get(layer["class_name"], layer["class_name"])
    module = layer.get("module")
    if isinstance(module, str) and module.startswith(KERAS_2):
        if layer["class_name"] in ("Functional", "Model"):
            layer.update(module="keras", class_name="Model", registered_name=None)
        elif layer["class_name"] == "Sequential":
            layer["module"] = "keras"
        elif inspect.isclass(getattr(keras.layers, layer["class_name"], None)):
            layer["module"] = "keras.layers"


def _begin_with_input(config: Config) -> None:
    """Put an InputLayer in front of a Sequential model that has none: without, Keras 3 builds no weights."""
    layers = config["layers"]
    shape = _input_shape(layers[0]) if layers else None
    if shape and layers[0]["class_name"] != "InputLayer":
        layer = {"class_name": "InputLayer", "config": {"batch_shape": shape, "name": f"{config.get('name', 'model')}_input"}}
        layers.insert(0, {"module": "keras.layers", **layer, "registered_name": None} if "module" in layers[0] else layer)
    for inner in layers[1:]:
        if isinstance(inner["config"], dict):
            inner["config"].pop("batch_input_shape", None)


def _input_shape(layer: Config) -> Any:
    """The shape that a layer or a nested model takes, as far as it says so."""
    config = layer["config"]
    if not isinstance(config, dict):
        return None
    shape = next((config[key] for key in INPUT_SHAPES if config.get(key)), None)
    if shape is None and layer["class_name"] in MODELS and config.get("layers"):
        return _input_shape(config["layers"][0])
    return shape


def _mend_graph(config: Config) -> None:
    """Repair the calls of a functional model as Keras 2 writes them: lists of [layer, call, output, arguments]."""
    layers = {layer["name"]: layer for layer in config["layers"] if "name" in layer}
    for layer in config["layers"]:
        if isinstance(layer["config"], dict) and layer["class_name"] != "InputLayer":
            layer["config"].pop("batch_input_shape", None)
        _as_rescaling(layer)
    references = list(_references(config))
    for name, layer in layers.items():
        if layer["class_name"] not in MODELS:
            continue
        calls = [reference for reference, _ in references if reference[0] == name]
        if not calls or max(reference[1] for reference in calls) < len(layer.get("inbound_nodes", [])):
            continue  # counted from 0
        for reference, is_output in references:
            if reference[0] == name and not (is_output and layer["class_name"] != "Sequential"):  # Keras 3 takes 1 off there itself
                reference[1] -= 1
    if any(isinstance(node, list) for layer in config["layers"] for node in layer.get("inbound_nodes", [])):
        for key in ("input_layers", "output_layers"):
            if isinstance(config.get(key), list) and len(config[key]) == 1 and isinstance(config[key][0], list):
                config[key] = config[key][0]  # a tensor, where Keras 3 would make a list of one, which a nested model does not take


def _references(config: Config) -> Iterator[tuple[list[Any], bool]]:
    """Every [layer, call, output, ...] in the calls of a functional model, and whether it is an output of the model."""
    for layer in config["layers"]:
        for node in layer.get("inbound_nodes", []):
            if isinstance(node, list):
                yield from ((reference, False) for reference in _leaves(node))
    yield from ((reference, True) for reference in _leaves(config.get("output_layers", [])))


def _leaves(value: Any) -> Iterator[list[Any]]:
    if isinstance(value, list) and len(value) >= 3 and isinstance(value[0], str) and isinstance(value[1], int):
        yield value
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner)
    elif isinstance(value, dict):
        yield from _leaves(list(value.values()))


def _as_rescaling(layer: Config) -> None:
    """A TensorFlow function that adds or multiplies a number, as `x / 127.5 - 1` writes it, becomes the layer Rescaling."""
    nodes = layer.get("inbound_nodes")
    if layer["class_name"] != "TFOpLambda" or not nodes or layer["config"].get("function") not in SCALES:
        return
    calls = [node if isinstance(node[0], str) else node[0] for node in nodes]
    numbers = [call[3].get("y") if len(call) > 3 else None for call in calls]
    number = numbers[0]
    if not isinstance(number, (int, float)) or number == 0 or any(other != number for other in numbers):
        return
    scale, offset = SCALES[layer["config"]["function"]](number)
    layer["class_name"] = "Rescaling"
    if "module" in layer:
        layer["module"], layer["registered_name"] = "keras.layers", None
    layer["config"] = {"name": layer["config"]["name"], "dtype": "float32", "scale": scale, "offset": offset}
    layer["inbound_nodes"] = [[[*call[:3], {}]] for call in calls]


def _mend_values(config: Config) -> None:
    """Repair dtype policies, initializers and activations among a layer's arguments."""
    for key, value in config.items():
        if key == "activation" and isinstance(value, str):
            config[key] = value.removesuffix("_v2")
        if not isinstance(value, dict) or not isinstance(value.get("config"), dict):
            continue
        if key == "dtype" and value.get("class_name") in ("Policy", "PolicyV1"):
            config[key] = value["config"].get("name", "float32")
        elif key.endswith("_initializer"):
            value["config"].pop("dtype", None)
            if value["config"].get("distribution") == "normal":
                value["config"]["distribution"] = "truncated_normal"


def _drop_lost_arguments(layer: Config) -> None:
    """Drop arguments that the Keras 3 layer no longer has and that said nothing: left alone, or how unused weights begin."""
    made = getattr(keras.layers, layer["class_name"], None)
    if not inspect.isclass(made) or layer.get("module", "keras.layers") != "keras.layers":
        return
    known = {
        name for kind in inspect.getmro(made) if "__init__" in vars(kind) for name in inspect.signature(vars(kind)["__init__"]).parameters
    }
    for name in set(layer["config"]) - known:
        value = layer["config"][name]
        of_weights = name.endswith(("_initializer", "_regularizer", "_constraint"))
        if value in DEFAULTS or of_weights or (name in ONES and value == 1):
            del layer["config"][name]
