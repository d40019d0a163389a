"""The image classifiers that come with Keras, by name, such as MobileNetV2 (Sandler et al., 2018, arXiv:1801.04381)."""

from __future__ import annotations

import inspect
import sys
import warnings
from contextlib import redirect_stdout
from typing import Any, Literal

import numpy as np

from advrun.engine import keras
from advrun.errors import ConfigError, ModelError, did_you_mean
from advrun.system.foreign import Foreign
from advrun.system.inputs import ModelInput, adapted
from advrun.types import Count, FilePath

# It has 27 normalisations one after the other, whose averages follow the weights in some ten epochs of six steps.
CONTRACT = {"settings": {"architecture": "MobileNet", "weights": "random", "size": 32}, "epochs": 16}
SIDES = (64, 96, 160, 224, 331)
"""To the first of these that it can be built for a smaller image is resized, where no size is said and no weights are given."""


def keras_application(
    image_shape: tuple[int, int, int] | None = None,
    classes: int | None = None,
    *,
    architecture: str,
    weights: Literal["imagenet", "random"] | FilePath = "imagenet",
    size: Count | None = None,
    outputs: Count = 1000,
) -> Any:
    """A network of keras.applications, with its own preprocessing inside, so that its images are RGB from 0 to 1 like all others here.

    With weights of ImageNet or from a file it comes trained, and is used as it is; with random ones it is trained as `train` says, for the
    classes of the data. Its softmax is left out. Images of another size than the network's are resized, bilinearly, by a layer.
    NOTE: with random weights the averages of batch normalisation move faster (0.9) than Keras has them, for trainings of many epochs.

    Args:
        architecture: its name in Keras, such as MobileNetV2, ResNet50 or EfficientNetB0.
        weights: imagenet, which Keras downloads once; the path of a file of weights, as Keras gives them out; or random, to be trained.
        size: height and width that images are resized to. By default the network's own (224 for most) where it comes trained, else that of
            the images, or 64 (more for those that cannot be built for it) where they are smaller.
        outputs: classes that a file of weights knows. Those of random weights are the data's, those of ImageNet 1,000.

    Raises:
        ConfigError: when Keras has no such architecture, or it cannot be built for this size.
        ModelError: when the weights cannot be had, or do not fit.
    """
    build = _builder(architecture)
    if image_shape is None or classes is None:
        network = _trained(build, architecture, weights, size, outputs)
        height, width, _ = network.input_shape[1:]
        return Foreign(network, ModelInput(size=(height, width), **_values(build)), place=weights if weights != "imagenet" else "")
    network = _random(build, architecture, image_shape, classes, size)
    sides: dict[str, Any] = {"size": tuple(network.input_shape[1:3])}
    if image_shape[2] == 1:
        sides["channels"] = "gray"
    model = adapted(network, ModelInput(**{**_values(build), **sides}), image_shape)
    logits = keras.layers.Activation("linear", dtype="float32", name="logits")(model.outputs[0])
    return keras.Model(model.inputs[0], logits, name="keras_application")


def comes_trained(*, weights: str) -> bool:
    """Whether its weights are given."""
    return weights != "random"


def _builder(architecture: str) -> Any:
    """The function of Keras. Raises ConfigError."""
    known = [name for name in dir(keras.applications) if name[0].isupper()]
    if architecture not in known:
        raise ConfigError(f"keras_application: Keras has no architecture {architecture!r}{did_you_mean(architecture, known)}")
    return getattr(keras.applications, architecture)


def _trained(build: Any, architecture: str, weights: str, size: int | None, outputs: int) -> Any:
    """The network with weights of ImageNet or of a file. Raises ModelError."""
    shape = None if size is None else (size, size, 3)
    try:
        with redirect_stdout(sys.stderr), warnings.catch_warnings():  # where Keras says what it downloads
            warnings.filterwarnings("error", message="Skipping nested container")  # layers that keep their random weights
            return build(weights=weights, input_shape=shape, classifier_activation=None, classes=1000 if weights == "imagenet" else outputs)
    except Exception as error:  # of the network, of the file, of what is in it: Keras raises many kinds
        said = str(error).strip().splitlines() or [type(error).__name__]
        if weights != "imagenet":
            raise ModelError(
                f"{weights}: no weights of {architecture} for {outputs} classes ({said[0]}); set outputs, or another file"
            ) from error
        remedy = f"download the file where there is a network, and give its path as weights of {architecture}"
        raise ModelError(f"keras_application: the ImageNet weights of {architecture} cannot be had ({said[0]}); {remedy}") from error


def _random(build: Any, architecture: str, image_shape: tuple[int, int, int], classes: int, size: int | None) -> Any:
    """The untrained network for the images, or for larger ones that they are resized to. Raises ConfigError."""
    own = tuple(image_shape[:2])
    larger = [tuple(max(side, least) for side in own) for least in SIDES]
    failure: Exception | None = None
    for sides in dict.fromkeys(larger) if size is None else [(size, size)]:
        try:
            network = build(weights=None, input_shape=(*sides, 3), classifier_activation=None, classes=classes)
        except ValueError as error:
            failure = error
            continue
        for layer in network._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = 0.9
        return network
    said = str(failure).strip().splitlines()[0]
    raise ConfigError(f"keras_application: {architecture} cannot be built for images of {own[0]} x {own[1]} ({said}); set another size")


def _values(build: Any) -> dict[str, Any]:
    """What the network's own `preprocess_input` does to grey levels, as settings of `ModelInput`: it is asked about five colours.

    Each channel of what it gives is a multiple of one channel of the image, plus a constant: x / 127.5 - 1 for one half of the networks,
    ImageNet's mean taken from BGR for others, nothing for those that have layers of their own for it. Raises ConfigError where it is not.
    """
    function = sys.modules[inspect.unwrap(build).__module__].preprocess_input
    shown = np.concatenate([np.zeros((1, 3)), np.eye(3), np.full((1, 3), 0.5)]).astype(np.float32)
    got = np.asarray(function(255 * shown[:, None, None, :].copy(), data_format="channels_last"), np.float64)[:, 0, 0]
    offset, slopes = got[0], got[1:4] - got[0]  # (channels in, channels out)
    source = np.abs(slopes).argmax(0)
    factor = slopes[source, range(3)]
    channels = {(0, 1, 2): "rgb", (2, 1, 0): "bgr"}.get(tuple(source.tolist()))
    if channels is None or not np.allclose(got, offset + shown[:, source] * factor, atol=1e-3) or (factor <= 0).any():
        raise ConfigError(f"keras_application: the preprocessing of {build.__name__} is no scale and offset of each channel")
    scale = float(factor.max())
    std = scale / factor
    return {"channels": channels, "scale": scale, "mean": tuple((-offset * std).tolist()), "std": tuple(std.tolist())}
