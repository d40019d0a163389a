"""A stronger convolutional network than L-net, for its size: VGG-style blocks with batch normalisation."""

from __future__ import annotations

from typing import Any

from advrun.engine import keras
from advrun.types import Count, Fraction


def cnn(image_shape: tuple[int, ...], classes: int, *, width: Count = 32, blocks: Count = 3, dropout: Fraction = 0.3) -> Any:
    """VGG-style network (Simonyan and Zisserman, 2015, arXiv:1409.1556) with batch normalisation (Ioffe and Szegedy, 2015).

    Args:
        width: channels of the first block; each further block has twice as many.
        blocks: blocks of two 3 x 3 convolutions, each followed by 2 x 2 max pooling.
        dropout: share of the features dropped before the classifier while training.
    """
    layers = keras.layers
    x = inputs = keras.Input(image_shape)
    for block in range(blocks):
        for _ in range(2):
            x = layers.Conv2D(width * 2**block, 3, padding="same", use_bias=False)(x)
            x = layers.BatchNormalization(momentum=0.9)(x)
            x = layers.ReLU()(x)
        x = layers.MaxPooling2D(2)(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(dropout)(x)
    return keras.Model(inputs, layers.Dense(classes, dtype="float32", name="logits")(x), name="cnn")
