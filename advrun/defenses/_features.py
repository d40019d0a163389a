"""What a network says of images just before its last layer."""

from __future__ import annotations

from typing import Any

from advrun.engine import keras
from advrun.errors import ModelError


def penultimate(model: Any) -> Any:
    """The network from images to the input of its last Dense layer, (n, d); its layers and weights are the network's own.

    Raises ModelError where the network does not end in a Dense layer.
    """
    features = _before_dense(model.outputs[0])
    if features is None:
        raise ModelError(f"network {model.name!r} does not end in a Dense layer, whose input would be its features")
    return keras.Model(model.inputs, features, name=f"features_of_{model.name}")


def _before_dense(output: Any) -> Any:
    """The symbolic input of the Dense layer that an output comes from, through layers without weights and nested models."""
    operation, index, _ = output._keras_history
    node = operation._inbound_nodes[index]
    if not node.input_tensors:
        return None
    if isinstance(operation, keras.Model):
        inner = _before_dense(operation.outputs[0])
        return None if inner is None else keras.Model(operation.inputs, inner)(node.input_tensors[0])
    if isinstance(operation, keras.layers.Dense):
        return node.input_tensors[0]
    is_silent = isinstance(operation, keras.layers.Layer) and not operation.weights and len(node.input_tensors) == 1
    return _before_dense(node.input_tensors[0]) if is_silent else None
