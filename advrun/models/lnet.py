"""L-net: the 7-layer LeNet-5 style network of the GTSRB literature (LeCun et al., 1998, doi:10.1109/5.726791)."""

from __future__ import annotations

from typing import Any

from advrun.engine import keras


def lnet(image_shape: tuple[int, int, int], classes: int, *, activation: str = "tanh") -> Any:
    """L-net: three 5 x 5 convolutions, two average poolings, two dense layers; 64,811 weights for 43 classes of 32 x 32 RGB.

    Args:
        activation: non-linearity of every hidden layer, by its Keras name.
    """
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input(image_shape),
            layers.Conv2D(6, 5, activation=activation),
            layers.AveragePooling2D(2),
            layers.Conv2D(16, 5, activation=activation),
            layers.AveragePooling2D(2),
            layers.Conv2D(120, 5, activation=activation, padding="valid" if image_shape[0] >= 32 else "same"),
            layers.Flatten(),
            layers.Dense(84, activation=activation),
            layers.Dense(classes, dtype="float32", name="logits"),
        ],
        name="lnet",
    )
