"""The denoising autoencoder of `autoencoder` and `hybrid`, and how it stands in front of a classifier."""

from __future__ import annotations

from typing import Any

from advrun.engine import keras


def denoiser(image_shape: tuple[int, int, int], width: int, levels: int) -> Any:
    """Denoising autoencoder from images to images in [0, 1], named "purifier".

    `levels` halvings of the sides with `width`, 2 `width`, ... channels, and up again. As in the DUNET of Liao et al.
    (2018, arXiv:1712.02976, section 4.2) the way up also sees the features of the way down, and its output is added to the
    image, so that the network learns what to take away and fine detail survives.
    """
    layers = keras.layers
    x = inputs = keras.Input(image_shape)
    features = []
    for level in range(levels):
        features.append(x)
        x = layers.Conv2D(width * 2**level, 3, strides=2, padding="same", activation="relu")(x)
    for level in reversed(range(1, levels)):
        x = layers.Conv2DTranspose(width * 2 ** (level - 1), 4, strides=2, padding="same", activation="relu")(x)
        x = layers.Concatenate()([x, features[level]])
    correction = layers.Conv2DTranspose(image_shape[-1], 4, strides=2, padding="same", dtype="float32")(x)
    restored = layers.ReLU(max_value=1.0, dtype="float32")(layers.Add(dtype="float32")([inputs, correction]))
    return keras.Model(inputs, restored, name="purifier")


def in_front_of(classifier: Any, purifier: Any) -> Any:
    """The system images -> purifier -> classifier -> logits as one Keras model, sharing the weights of both."""
    inputs = keras.Input(purifier.input_shape[1:])
    return keras.Model(inputs, classifier(purifier(inputs)), name=f"purified_{classifier.name}")
