"""The networks of a GAN of images (Goodfellow et al., 2014, arXiv:1406.2661), whoever trains it and by whatever loss."""

from __future__ import annotations

import math
from typing import Any

from advrun.engine import keras


def painter(image_shape: tuple[int, ...], latent: int, width: int) -> Any:
    """The generator, noise (n, latent) -> images (n, h, w, c) in [0, 1]: DCGAN (Radford et al., 2016, arXiv:1511.06434), two doublings."""
    layers, (height, across, channels) = keras.layers, image_shape
    low, narrow = math.ceil(height / 4), math.ceil(across / 4)
    x = noise = keras.Input((latent,))
    x = layers.Reshape((low, narrow, 4 * width))(layers.Dense(low * narrow * 4 * width, use_bias=False)(x))
    x = layers.ReLU()(layers.GroupNormalization(groups=1)(x))
    for filters in (2 * width, width):
        x = layers.Conv2DTranspose(filters, 4, strides=2, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.GroupNormalization(groups=1)(x))
    x = layers.Conv2D(channels, 3, padding="same", activation="sigmoid", dtype="float32")(x)
    cut = layers.Cropping2D(((0, 4 * low - height), (0, 4 * narrow - across)))
    return keras.Model(noise, cut(x), name="painter")


def discriminator(image_shape: tuple[int, ...], width: int) -> Any:
    """Images -> scores (n, 1), high for real ones: C8, C16, C32 and a dense layer, as in AdvGAN (Xiao et al., 2018, arXiv:1801.02610).

    It normalises each image by itself, so that its score, and the gradient penalty of a Wasserstein GAN, are of one image.
    """
    layers = keras.layers
    x = images = keras.Input(image_shape)
    for level in range(3):
        if min(x.shape[1:3]) >= 2:
            x = layers.Conv2D(width * 2**level, 4, strides=2, padding="same")(x)
            x = layers.LeakyReLU(0.2)(layers.GroupNormalization(groups=-1)(x) if level and min(x.shape[1:3]) > 1 else x)
    score = layers.Dense(1, dtype="float32")(layers.Flatten()(x))
    return keras.Model(images, score, name="discriminator")
