"""A multilayer perceptron (Rumelhart, Hinton and Williams, 1986, doi:10.1038/323533a0)."""

from __future__ import annotations

from typing import Any

from advrun.engine import keras
from advrun.types import Count, Fraction


def mlp(image_shape: tuple[int, int, int], classes: int, *, width: Count = 256, depth: Count = 2, dropout: Fraction = 0.0) -> Any:
    """Dense layers with ReLU, on pixels that were moved to the range from -1 to 1: no convolution, so it errs in another way than they do.

    Args:
        width: neurons of each hidden layer.
        depth: number of hidden layers.
        dropout: share of each hidden layer's neurons dropped while training.
    """
    layers = keras.layers
    x = inputs = keras.Input(image_shape)
    x = layers.Flatten()(layers.Rescaling(2.0, offset=-1.0)(x))
    for _ in range(depth):
        x = layers.Dense(width, activation="relu", kernel_initializer="he_normal")(x)
        x = layers.Dropout(dropout)(x)
    return keras.Model(inputs, layers.Dense(classes, dtype="float32", name="logits")(x), name="mlp")
