"""The high-level representation guided denoiser (Liao, Liang, Dong, Pang, Hu and Zhu, 2018, arXiv:1712.02976)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from advrun.defenses._attacked import Repertoire
from advrun.defenses._features import penultimate
from advrun.defenses._purifier import in_front_of
from advrun.engine import Rng, keras, ops
from advrun.errors import ConfigError
from advrun.losses import cross_entropy
from advrun.system import Classifier
from advrun.train import Fit, accuracy
from advrun.types import AttackChoice, Count, Share, Tensor

PRESETS = {"small": {"width": 8, "levels": 2}, "paper": {"width": 64, "levels": 4}}
EPS = 16 / 255
TRAINING_SET = (
    {"name": "fgsm", "eps": EPS},
    *({"name": "bim", "eps": EPS, "steps": steps, "step_size": 1 / steps} for steps in (2, 4, 8)),
)
"""The paper's: FGSM and I-FGSM with 2, 4 and 8 steps, at strengths from 1/255 to 16/255."""
CHANNELS = 4
"""From the third level on there are this many times the channels of the first."""


def unet(
    model: Any,
    fit: Fit,
    *,
    guidance: Literal["pixels", "features", "logits", "labels"] = "logits",
    attacks: tuple[AttackChoice, ...] = TRAINING_SET,
    weakest: Share = 1 / 16,
    width: Count = 8,
    levels: Count = 2,
) -> Any:
    """A denoising U-net before the classifier, guided by what the classifier makes of its images: the high-level guided denoiser (HGD).

    Trained on attacked images x' to make the mean of |f(D(x')) - f(x)| small, D the denoiser. `guidance` says what f is: the image itself
    (pixel guided, PGD), the input of the classifier's last layer (feature guided, FGD), its logits (logits guided, LGD, the paper's
    best); or the loss is the cross-entropy of D(x') and the true class (class label guided, CGD). The classifier does not change.

    The attacks see the undefended classifier: each attacks a share of every batch, each image at a strength of its own. So what is measured
    on examples of that classifier looks strong, and what knows the denoiser goes through it (Athalye and Carlini, 2018, arXiv:1804.03286,
    who leave 0 % at 4/255): compare the adaptive accuracy with the static one.

    NOTE: the paper crafts its training set once, on several networks. The images are clipped to [0, 1] behind the denoiser.

    Args:
        guidance: what must come out alike of the restored image and of the clean one: pixels, features or logits; or labels.
        attacks: craft the training images, against the undefended classifier.
        weakest: the smallest strength, as a share of each attack's eps.
        width: channels of the first level; the second has 2, all others 4 times as many.
        levels: halvings of the image's sides.
    """
    purifier, undefended = dunet(model.input_shape[1:], width, levels), Classifier(model)
    opponent = Repertoire(attacks, undefended, weakest)
    seen: dict[str, Callable[[Tensor], Tensor]] = {"pixels": lambda x: x, "logits": undefended.forward}
    if guidance == "features":
        features = penultimate(undefended.model)
        seen["features"] = lambda x: features([x], training=False)

    def objective(x: Tensor, y: Tensor, rng: Rng, training: bool) -> dict[str, Tensor]:
        restored = purifier(opponent(x, y, rng), training=training)
        logits = undefended.forward(restored)
        loss = cross_entropy(logits, y) if guidance == "labels" else apart(seen[guidance](restored), seen[guidance](x))
        return {"loss": loss, "accuracy": accuracy(logits, y)}

    system = in_front_of(model, purifier)
    fit(purifier, objective, system=system, before=opponent.prepare)
    return system


def apart(a: Tensor, b: Tensor) -> Tensor:
    """The mean absolute difference of each image's values, (n, ...) -> (n,)."""
    return ops.mean(ops.abs(a - b), axis=tuple(range(1, len(a.shape))))


def dunet(image_shape: tuple[int, ...], width: int, levels: int) -> Any:
    """The denoising U-net, images -> images in [0, 1], named "purifier": x + dx(x), with dx = 0 before it learns (section 3.2, figure 3).

    Down: C2, then for each level C3 that begins with stride 2; up: twice the size by bilinear interpolation, beside the features of the way
    down, C3, and C2 at the top; last a 1 x 1 convolution. Ck is k times 3 x 3 convolution, batch normalisation, ReLU.

    Raises ConfigError where nothing is left to be halved.
    """
    layers, most = keras.layers, (max(image_shape[:2]) - 1).bit_length()
    if levels > most:
        raise ConfigError(f"unet: levels is {levels}; images of {image_shape[0]} x {image_shape[1]} pixels can be halved {most} times")

    def block(x: Any, level: int, count: int, stride: int = 1) -> Any:
        for i in range(count):
            filters = width * min(2**level, CHANNELS)
            x = layers.Conv2D(filters, 3, strides=1 if i else stride, padding="same", use_bias=False)(x)
            # Short trainings must not end with averages of their first steps.
            x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
        return x

    inputs = keras.Input(image_shape)
    features = [block(inputs, 0, 2)]
    for level in range(1, levels + 1):
        features.append(block(features[-1], level, 3, stride=2))
    x = features.pop()
    for level, beside in reversed(list(enumerate(features))):
        x = layers.UpSampling2D(2, interpolation="bilinear")(x)
        x = layers.Cropping2D(((0, x.shape[1] - beside.shape[1]), (0, x.shape[2] - beside.shape[2])))(x)
        x = block(layers.Concatenate()([beside, x]), level, 3 if level else 2)
    change = layers.Conv2D(image_shape[-1], 1, kernel_initializer="zeros", dtype="float32")(x)
    restored = layers.ReLU(max_value=1.0, dtype="float32")(layers.Add(dtype="float32")([inputs, change]))
    return keras.Model(inputs, restored, name="purifier")
