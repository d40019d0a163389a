"""Residual network for small images (He, Zhang, Ren and Sun, 2016, arXiv:1512.03385, section 4.2)."""

from __future__ import annotations

from typing import Any, Literal

from advrun.engine import keras, ops
from advrun.types import Count, Tensor

PRESETS = {"paper": {"depth": 110}, "small": {"depth": 8}}


def resnet(image_shape: tuple[int, int, int], classes: int, *, depth: Literal[8, 14, 20, 32, 44, 56, 110] = 20, width: Count = 16) -> Any:
    """ResNet of 6 n + 2 layers: a convolution, three stages of n blocks with w, 2 w and 4 w channels, average pooling, a dense layer.

    A block is two 3 x 3 convolutions with batch normalisation; the first of stages two and three halves the image's sides. Shortcuts have
    no weights: where the sides are halved they take every second pixel, and zeros fill up the channels (the paper's option A).
    NOTE: the paper subtracts the mean image; here pixels are moved to the range from -1 to 1. The averages of batch normalisation move
    faster (0.9 instead of 0.99), because trainings here are short; there is no weight decay.

    Args:
        depth: layers with weights. The paper's best on CIFAR-10 is 110; 20 is its smallest, 8 and 14 are smaller still.
        width: w, channels of the first stage.
    """
    layers = keras.layers
    x = inputs = keras.Input(image_shape)
    x = convolution(layers.Rescaling(2.0, offset=-1.0)(x), width, 1)
    x = layers.ReLU()(x)
    for stage in range(3):
        for block in range((depth - 2) // 6):
            x = residual(x, width * 2**stage, 2 if stage > 0 and block == 0 else 1)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(classes, dtype="float32", name="logits", kernel_initializer="he_normal")(x), name="resnet")


def convolution(x: Tensor, width: int, stride: int) -> Tensor:
    """3 x 3 convolution and batch normalisation."""
    conv = keras.layers.Conv2D(width, 3, strides=stride, padding="same", use_bias=False, kernel_initializer="he_normal")
    return keras.layers.BatchNormalization(momentum=0.9)(conv(x))


def residual(x: Tensor, width: int, stride: int) -> Tensor:
    """F(x) + x (equation 1); where the sides are halved x is what its shortcut makes of it."""
    layers = keras.layers
    change = convolution(layers.ReLU()(convolution(x, width, stride)), width, 1)
    if stride > 1:
        x = layers.MaxPooling2D(1, strides=stride, padding="same")(x)  # every second pixel
        x = ops.pad(x, ((0, 0), (0, 0), (0, 0), (0, width - x.shape[-1])))
    return layers.ReLU()(layers.Add()([change, x]))
