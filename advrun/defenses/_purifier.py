"""The denoising autoencoder of `autoencoder` and `hybrid`, and how it stands in front of a classifier."""

from __future__ import annotations

from typing import Any

from advrun.engine import keras


def denoiser(image_shape: tuple[int, int, int], width: int, levels: int) -> Any:
    """Convolutional autoencoder from images to images in [0, 1], named "purifier".

    `levels` halvings of the sides down and up again, with `width`, 2 `width`, ... channels. No skip connections: everything
    goes through the code in the middle.
    """
    layers = keras.layers
    x = inputs = keras.Input(image_shape)
    for level in range(levels):
        x = layers.Conv2D(width * 2**level, 3, strides=2, padding="same", activation="relu")(x)
    for level in reversed(range(levels)):
        x = layers.Conv2DTranspose(width * 2**level, 4, strides=2, padding="same", activation="relu")(x)
    x = layers.Conv2D(image_shape[-1], 3, padding="same", activation="sigmoid", dtype="float32")(x)
    return keras.Model(inputs, x, name="purifier")


def in_front_of(classifier: Any, purifier: Any) -> Any:
    """The system images -> purifier -> classifier -> logits as one Keras model, sharing the weights of both."""
    inputs = keras.Input(purifier.input_shape[1:])
    return keras.Model(inputs, classifier(purifier(inputs)), name=f"purified_{classifier.name}")
