"""The same architecture again: with new weights, with the same, or computing in float32."""

from __future__ import annotations

from typing import Any

from advrun.engine import keras


def fresh_copy(model: Any) -> Any:
    """The same architecture with new trainable weights; what is not trained (statistics of the data, frozen layers) is kept."""
    clone = keras.models.clone_model(model)
    for old, new in zip(model._flatten_layers(include_self=False), clone._flatten_layers(include_self=False), strict=True):
        if old.weights and not old.trainable_weights:
            new.set_weights(old.get_weights())
    return clone


def same_copy(model: Any) -> Any:
    """The same architecture with the same weights, which may then be trained on."""
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    return clone


def full_precision(model: Any) -> Any:
    """The same model computing in float32: gradients of attacks underflow in float16."""
    if all(layer.compute_dtype == "float32" for layer in model._flatten_layers(include_self=False)):
        return model

    def in_float32(layer: Any) -> Any:
        return layer.__class__.from_config({**layer.get_config(), "dtype": "float32"})

    clone = keras.models.clone_model(model, clone_function=in_float32, recursive=True)
    clone.set_weights(model.get_weights())
    return clone
