"""The autoencoders of MagNet (Meng and Chen, 2017, CCS, arXiv:1705.09064, section 4 and table 1)."""

from __future__ import annotations

from typing import Any

from advrun.engine import Rng, keras, ops
from advrun.train import Fit
from advrun.types import Tensor


def autoencoder_of(image_shape: tuple[int, ...], width: int, *, pooled: bool) -> Any:
    """Convolutions of 3 x 3 from images to images in [0, 1]: `pooled`, at half the resolution between (the paper's detector I), or all at
    the full one (detector II).

    NOTE: the paper has 3 channels and sigmoids between; these learn in fewer epochs. Of images with odd sides the pooled one is not pooled.
    """
    layers = keras.layers
    pooled = pooled and image_shape[0] % 2 == image_shape[1] % 2 == 0

    def convolved(x: Any) -> Any:
        return layers.Conv2D(width, 3, padding="same", activation="relu")(x)

    inputs = keras.Input(image_shape)
    x = convolved(inputs)
    x = convolved(layers.AveragePooling2D(2)(x)) if pooled else x
    x = convolved(layers.UpSampling2D(2)(convolved(x))) if pooled else convolved(x)
    outputs = layers.Conv2D(image_shape[-1], 3, padding="same", activation="sigmoid", dtype="float32")(x)
    return keras.Model(inputs, outputs, name=f"autoencoder_{'pooled' if pooled else 'plain'}")


def trained_autoencoder(fit: Fit, network: Any, noise: float, stage: str) -> Any:
    """The network trained to give back clean images from such with Gaussian noise: |A(x + noise) - x|^2 / d (equation 2)."""

    def objective(x: Tensor, y: Tensor, rng: Rng, training: bool) -> dict[str, Tensor]:
        restored = network(ops.clip(x + noise * rng.normal(x.shape), 0.0, 1.0), training=training)
        return {"loss": ops.mean(ops.square(restored - x), axis=(1, 2, 3))}

    return fit(network, objective, stage=stage)
