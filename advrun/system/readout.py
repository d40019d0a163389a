"""A network cut at its last linear layer: features, and what is done to the scores behind it.

What stands behind that layer (a scale, a temperature, a clip) belongs to the system, and stays when the layer is replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from advrun.engine import keras
from advrun.errors import ModelError
from advrun.types import Tensor


@dataclass(frozen=True, eq=False)
class Readout:
    """A network as features, a linear layer, and its tail.

    features: a Keras model, images (n, h, w, c) -> (n, f). kernel, bias: (f, k) and (k,) of the linear layer, k = 1 where one output tells
    two classes. tail: what is done to its scores, in order, for any number of classes.
    """

    features: Any
    kernel: np.ndarray
    bias: np.ndarray
    tail: tuple[Callable[[Tensor], Tensor], ...] = field(default=())

    def scores(self, features: np.ndarray) -> np.ndarray:
        """(n, k) of the linear layer."""
        return features @ self.kernel + self.bias

    def logits(self, scores: Tensor) -> Tensor:
        """What the tail makes of scores."""
        for step in self.tail:
            scores = step(scores)
        return scores


def readout(model: Any) -> Readout:
    """Cut a Keras model from images to logits at its last Dense layer.

    Raises:
        ModelError: where the last layer with weights is no Dense layer, or more than one path leads from it to the logits.
    """
    try:
        features, dense, tail = _cut(model.outputs[0])
    except _Uncut as error:
        raise ModelError(
            f"model {model.name!r} cannot be given a new last layer: {error}; a Dense layer must be the last one with weights"
        ) from None
    bias = dense.bias if dense.use_bias else np.zeros(dense.units, np.float32)
    return Readout(keras.Model(model.inputs[0], features), np.asarray(dense.kernel), np.asarray(bias), tuple(tail))


class _Uncut(Exception):
    """Why a model could not be cut."""


def _cut(output: Any) -> tuple[Any, Any, list[Callable[[Any], Any]]]:
    """The symbolic features, the Dense layer that reads them, and what is done behind it."""
    operation, index, _ = output._keras_history
    node = operation._inbound_nodes[index]
    if isinstance(operation, keras.layers.Dense):
        if len(output.shape) != 2:
            raise _Uncut(f"its last Dense layer, {operation.name!r}, gives {tuple(output.shape)}")
        linear = getattr(operation.activation, "__name__", "") == "linear"
        return node.input_tensors[0], operation, [] if linear else [operation.activation]
    if len(node.input_tensors) != 1:
        raise _Uncut(f"{operation.name!r} has {len(node.input_tensors)} inputs")
    if isinstance(operation, keras.Model) and len(getattr(operation, "outputs", None) or ()) == 1:
        inner, dense, tail = _cut(operation.outputs[0])
        return keras.Model(operation.inputs[0], inner)(node.input_tensors[0]), dense, tail
    if getattr(operation, "weights", None):
        raise _Uncut(f"its last layer with weights is {operation.name!r}, a {type(operation).__name__}")
    before = node.input_tensors[0]
    features, dense, tail = _cut(before)

    def again(scores: Any) -> Any:
        arguments, options = node.arguments.fill_in({id(before): scores})
        return operation(*arguments, **options)

    return features, dense, [*tail, again]
