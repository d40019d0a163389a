"""How a model ends, and the same network cut back to logits.

Scores that a function squashes (softmax, sigmoid, tanh, ...) keep their order, and so the answers, but their gradients die where the model
is sure: attacks see nothing, and the model looks robust. So whatever squashes at the end is cut off: an activation, a layer, an operation,
inside a nested model, behind a Reshape or a positive factor. The weights stay those of the model (or copies of them), and the model itself
is left as it is. One output is a classifier of two classes where a sigmoid or tanh says so: its input z becomes the logits (0, z).
What cannot be cut is refused: rows that sum to 1, or outputs that stay within a range and reach both its ends whatever the images.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from advrun.engine import keras
from advrun.errors import ModelError
from advrun.system.inputs import rebuilt
from advrun.system.modelfile import probe

SQUASHING = (
    "softmax log_softmax sigmoid hard_sigmoid log_sigmoid tanh hard_tanh softsign soft_sign softplus soft_plus arctan".split()  # noqa: SIM905
)
"""Functions that keep the order of the scores, and whose slope dies away."""
CENTRED = ("sigmoid", "hard_sigmoid", "tanh", "hard_tanh", "softsign", "soft_sign")
"""Those of them that say where a single output changes from class 0 to class 1: at z = 0 before them."""
HALF = ("sigmoid", "hard_sigmoid")
"""Those of them that give 1/2 there; the others give 0."""
RISING = ("Exp", "Log", "Clip")
SHAPING = ("Reshape", "Flatten", "Squeeze", "Cast")
SILENT = "Dropout AlphaDropout GaussianDropout GaussianNoise SpatialDropout2D Identity ActivityRegularization".split()  # noqa: SIM905
"""Layers that do nothing in inference."""


def logits_model(model: Any) -> Any:
    """The same network from images (n, h, w, c) to logits (n, classes): what squashes at the end is cut off, and one output becomes two.

    A dictionary or list with one input or output is that input or output. A subclassed model is taken as one layer.

    Raises:
        ModelError: when the model is not built, has several inputs or outputs, a single output that no sigmoid or tanh squashes (its sign
            may mean anything, unless its loss is of logits), or scores that are squashed where nothing can be cut.
    """
    inputs, output = single_ends(model)
    logits, squashed = unsquashed(output)
    if output.shape[-1] == 1:
        if squashed not in CENTRED and not getattr(getattr(model, "loss", None), "from_logits", False):
            raise ModelError(
                f"model {model.name!r} has 1 output, and nothing says where class 0 ends and class 1 begins; "
                "where it is a sigmoid's input, put keras.layers.Activation('sigmoid') behind it; otherwise give it an output per class"
            )
        logits = _two(logits)
    if logits is not output or not _is_plain(model):
        model = keras.Model(inputs, logits, name=model.name)
    _check_logits(model)
    return model


def single_ends(model: Any) -> tuple[Any, Any]:
    """The symbolic input (None, h, w, c) and output (None, classes) of a model. Raises ModelError where they are others, or several."""
    if not isinstance(model, keras.Model):
        raise ModelError(f"got {type(model).__name__}; expected a Keras model, or the path of a .keras file")
    inputs, outputs = (model.inputs, model.outputs) if _has_graph(model) else _traced(model)
    if len(inputs) != 1 or len(outputs) != 1:
        raise ModelError(
            f"model {model.name!r} has {_count(inputs, 'input')} and {_count(outputs, 'output')}; expected one image input and one output: "
            "save keras.Model(model.inputs[0], model.outputs[i]) with the output i that tells the classes"
        )
    if len(inputs[0].shape) != 4 or len(outputs[0].shape) != 2 or outputs[0].shape[1] is None:
        raise ModelError(
            f"model {model.name!r} maps {tuple(inputs[0].shape)} to {tuple(outputs[0].shape)}; "
            "expected images (n, height, width, channels) to (n, classes): save it with a keras.layers.Reshape at the end that differs"
        )
    return inputs[0], outputs[0]


def plain_model(model: Any) -> Any:
    """The same network without a dictionary or list of one around its input or output; a model with no graph of its own as it is.

    Raises ModelError where there are several inputs or outputs.
    """
    if not isinstance(model, keras.Model) or not _has_graph(model) or _is_plain(model):
        return model
    return rebuilt(model, *single_ends(model))


def ending(model: Any) -> str:
    """What squashes the scores of a model ("softmax", "sigmoid", ...) and would be cut off; "logits" where nothing is known to."""
    return unsquashed(single_ends(model)[1])[1] or "logits"


def answers(outputs: Any, squashed: str) -> np.ndarray:
    """Scores (n, classes) of what plain Keras gives; of one output, (0 or 1/2, output), so that argmax is its answer.

    Args:
        outputs: of `predict`, also in a dictionary or list of one.
        squashed: what `ending` says of the model.
    """
    while isinstance(outputs, (dict, list, tuple)):
        (outputs,) = outputs.values() if isinstance(outputs, dict) else outputs
    scores = np.asarray(outputs)
    return np.concatenate([np.full_like(scores, 0.5 if squashed in HALF else 0.0), scores], -1) if scores.shape[-1] == 1 else scores


def _is_plain(model: Any) -> bool:
    """Whether the model takes and gives tensors, not a dictionary or list of one."""
    if not _has_graph(model) or isinstance(model, keras.Sequential):
        return _has_graph(model)
    return not any(isinstance(end, (dict, list, tuple)) for end in (model.input, model.output))


def _has_graph(model: Any) -> bool:
    try:
        return bool(model.inputs and model.outputs)
    except (AttributeError, ValueError):
        return False


def _traced(model: Any) -> tuple[list[Any], list[Any]]:
    """The symbolic inputs and outputs of a subclassed model, called once on a symbolic image of the shape that it was built for."""
    shape = (model.get_build_config() or {}).get("input_shape") if model.built else None
    if isinstance(shape, dict) and len(shape) == 1:
        raise ModelError(f"model {model.name!r} is subclassed and takes a dictionary; let it take the image itself")
    if not isinstance(shape, (tuple, list)) or not all(isinstance(side, int) for side in shape[1:]):
        raise ModelError(f"model {model.name!r} must be built, with one image input and one output; call it once on a batch of images")
    image = keras.Input(tuple(shape[1:]))
    try:
        return [image], _flat(model(image, training=False))
    except Exception as error:  # whatever its own code raises
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or ["no message"]
        raise ModelError(
            f"model {model.name!r} is subclassed and cannot be called on a symbolic image ({type(error).__name__}: {lines[0]}); "
            "use keras.ops in its call, or make it with keras.Model(inputs, outputs)"
        ) from error


def _count(ends: list[Any], word: str) -> str:
    return f"{len(ends)} {word}{'s' * (len(ends) != 1)}"


def _flat(outputs: Any) -> list[Any]:
    if isinstance(outputs, dict):
        outputs = list(outputs.values())
    return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]


def unsquashed(output: Any) -> tuple[Any, str]:
    """The symbolic tensor before whatever squashes `output` at its end, and the name of the last function that does ("" for none)."""
    operation, index, _ = output._keras_history
    node = operation._inbound_nodes[index]
    if not node.input_tensors:
        return output, ""
    before, kind = node.input_tensors[0], type(operation).__name__
    is_single = output.shape[-1] == 1
    if isinstance(operation, keras.Model):
        return _inside(operation, node) if _has_graph(operation) and len(operation.outputs) == 1 else (output, "")
    name = _squashing(operation, len(output.shape))
    if name:
        linear = before if _is_only_activation(operation) else _linear(operation)(before)
        deeper, inner = unsquashed(linear)
        keeps = not is_single or (inner in CENTRED and inner not in HALF)  # sigmoid(sigmoid(z)) > 1/2 for every z
        return (deeper if keeps else linear), name
    if kind in SILENT or kind in SHAPING or _is_linear(operation) or (_is_rising(operation, node) and not is_single):
        deeper, name = unsquashed(before)
        if name and kind in SHAPING and deeper.shape != output.shape:
            deeper = type(operation).from_config(operation.get_config())(deeper)  # not the user's own, called anew
        return (deeper, name) if name else (output, "")
    return output, ""


def _inside(model: Any, node: Any) -> tuple[Any, str]:
    """`unsquashed` of a nested model's output."""
    inner, name = unsquashed(model.outputs[0])
    if not name:
        return node.output_tensors[0], ""
    return keras.Model(model.inputs, inner, name=model.name)(node.input_tensors), name


def _squashing(operation: Any, rank: int) -> str:
    """The squashing function that a layer or operation ends in, by name; "" for none."""
    kind = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(operation).__name__).lower()
    if isinstance(operation, keras.layers.Softmax) or not isinstance(operation, keras.layers.Layer):
        return kind if kind in SQUASHING and getattr(operation, "axis", -1) in (-1, rank - 1) else ""
    activation = getattr(operation, "activation", None)
    name = getattr(activation, "__name__", "")
    is_known = any(activation is getattr(place, name, None) for place in (keras.activations, keras.ops))
    return name if name in SQUASHING and is_known and "activation" in operation.get_config() else ""


def _is_only_activation(operation: Any) -> bool:
    return isinstance(operation, (keras.layers.Softmax, keras.layers.Activation)) or not isinstance(operation, keras.layers.Layer)


def _is_linear(operation: Any) -> bool:
    return isinstance(operation, keras.layers.Activation) and getattr(operation.activation, "__name__", "") == "linear"


def _is_rising(operation: Any, node: Any) -> bool:
    """Whether an operation on scores keeps their order: multiplies them all by one positive number, adds one, takes the logarithm."""
    if isinstance(operation, keras.layers.Rescaling):
        return np.ndim(operation.scale) == 0 and np.ndim(operation.offset) == 0 and float(operation.scale) > 0
    kind, arguments = type(operation).__name__, node.arguments.args
    if isinstance(operation, keras.layers.Layer) or kind in RISING:
        return kind in RISING
    if len(arguments) != 2 or not isinstance(arguments[1], (int, float)):
        return False
    return kind in ("Add", "Subtract") or (kind in ("Multiply", "Divide", "TrueDivide") and arguments[1] > 0)


def _linear(layer: Any) -> Any:
    """A copy of a layer, with its weights, that leaves its activation out."""
    linear = layer.from_config({**layer.get_config(), "activation": "linear", "name": f"{layer.name}_logits"})
    linear.build(layer.get_build_config()["input_shape"])
    linear.set_weights(layer.get_weights())
    return linear


def _two(z: Any) -> Any:
    """The logits (0, z) of two classes, from z (n, 1): sigmoid(z) is their softmax. Of layers alone, so that every file format holds it."""
    z = keras.layers.Reshape((1, 1), name="one_logit")(z)
    return keras.layers.Reshape((2,), name="two_logits")(keras.layers.ZeroPadding1D((1, 0), name="zero_logit")(z))


def _check_logits(model: Any) -> None:
    """Refuse outputs that are no logits, on strong evidence alone: four images of noise, and four far brighter than any image."""
    x = probe(model, 8)
    x[4:6] *= 1e3
    x[6:] *= 1e6
    outputs = np.asarray(model(x, training=False), np.float32)
    usual = outputs[:4]
    if not np.isfinite(usual).all():
        raise ModelError(f"model {model.name!r} gives NaN or infinite outputs on images in [0, 1]")
    rounding = 1e-5 if all(layer.compute_dtype == "float32" for layer in model._flatten_layers(include_self=False)) else 1e-2
    if usual.min() >= 0 and usual.max() <= 1 and np.abs(usual.sum(-1) - 1).max() <= rounding:
        raise ModelError(f"model {model.name!r} gives probabilities, and its softmax cannot be cut off; save it so that it ends in logits")
    if not np.isfinite(outputs).all():
        return
    low, high = float(outputs.min()), float(outputs.max())
    is_usual = any(end <= low <= end + 1e-4 and 1 - 1e-4 <= high <= 1 for end in (0.0, -1.0))
    if is_usual or _is_squashed(outputs[4:], low, high):
        raise ModelError(
            f"model {model.name!r} squashes its scores into [{low:.4g}, {high:.4g}] by a function that cannot be cut off: attacks would "
            "see no gradient where it is sure; save it so that it ends in that function's input"
        )


def _is_squashed(bright: np.ndarray, low: float, high: float) -> bool:
    """Whether every score of far too bright images is at one of two ends that no score passes, and most images have some at both.

    Logits grow with the image, or are as different as the biases of their classes; of two classes alone that is nothing special.
    """
    near = 1e-4 * (high - low)
    at_low, at_high = bright <= low + near, bright >= high - near
    both = at_low.any(-1) & at_high.any(-1)
    return bool(high > low and bright.shape[1] > 2 and (at_low | at_high).all() and both.sum() * 2 > len(bright))
