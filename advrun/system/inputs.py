"""What a model expects of its images and says of its classes, as Keras layers around it.

The layers are Keras' own, so a saved model loads in plain Keras; gradients pass, and distances stay those of the image in [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import doc

from advrun.engine import keras
from advrun.errors import ConfigError, ModelError
from advrun.types import Count, Positive

LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in a grey value (ITU-R BT.601), as in OpenCV and Pillow."""
MOST_CHANNELS = 4
"""A first side of at most this many, before two longer ones, holds channels."""


@dataclass(frozen=True)
class ModelInput:
    """What a model expects of its images, where that is not RGB in [0, 1] of the data's size.

    With pixels x from 0 to 1 the model is shown (x * scale - mean) / std, channel by channel in the model's own order.

    Args:
        size: height and width that the model takes, one number or two; images are resized to it, bilinearly.
        channels: their order. bgr as OpenCV reads files; gray for 0.299 R + 0.587 G + 0.114 B, and for grey images shown to a model of
            three channels; first for (channels, height, width), which bgr and gray of such a model imply.
        scale: what pixels from 0 to 1 are multiplied by, 255 for grey levels.
        mean: what is then subtracted, one number or one for each channel.
        std: what the rest is divided by, one number or one for each channel.
        standardize: instead of mean and std, those of each image (tf.image.per_image_standardization).
    """

    size: Count | tuple[Count, ...] | None = None
    channels: Literal["rgb", "bgr", "gray", "first"] = "rgb"
    scale: Positive = 1.0
    mean: float | tuple[float, ...] = 0.0
    std: Positive | tuple[Positive, ...] = 1.0
    standardize: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.size, tuple) and len(self.size) != 2:
            raise ConfigError(f"size has {len(self.size)} numbers; expected one, or height and width")
        if self.standardize and (self.mean, self.std) != (0.0, 1.0):
            raise ConfigError("standardize takes each image's own mean and std; leave mean and std out, or standardize")

    @property
    def sides(self) -> tuple[int, int] | None:
        """Height and width that the model takes, where they are said."""
        return self.size if isinstance(self.size, tuple) or self.size is None else (self.size, self.size)  # type: ignore[return-value]

    def __str__(self) -> str:
        """As in YAML: {channels: bgr, scale: 255}."""
        from advrun.config.mappings import plain
        from advrun.config.yamlfile import inline

        given = {name: value for name, value in plain(self).items() if value != getattr(AS_IT_IS, name)}
        return inline({name: int(value) if isinstance(value, float) and value.is_integer() else value for name, value in given.items()})


AS_IT_IS = ModelInput()
Order = Literal["alphabetical"] | Annotated[tuple[int | str, ...], doc("a list of all classes, by number or name")]
"""The order of a model's outputs: class numbers sorted as text, or a list of the classes, by number or by name."""


def is_channels_first(shape: Sequence[int | None]) -> bool:
    """Whether images of this shape, without the batch, are (channels, height, width)."""
    first, *sides = shape
    return first is not None and first <= MOST_CHANNELS and all(side is None or side > MOST_CHANNELS for side in sides)


def rebuilt(model: Any, inputs: Any, outputs: Any) -> Any:
    """A model from symbolic `inputs` to `outputs` that has the name and the loss of another: a loss may say that its outputs are logits."""
    made = keras.Model(inputs, outputs, name=model.name)
    if getattr(model, "loss", None) is not None:
        made.loss = model.loss
    return made


def of_images(model: Any) -> Any:
    """The model behind a Reshape where it takes grey images (n, height, width), or the pixels of square images in one row.

    The number of pixels says whether those are grey or in colour: no number is both a square and three times a square. Any other model is
    given back as it is; `logits_model` says what is the matter with it.

    Raises ModelError where a row is of no square image.
    """
    shape = getattr(model, "input_shape", None)
    if not isinstance(shape, tuple) or len(shape) not in (2, 3) or not all(isinstance(side, int) for side in shape[1:]):
        return model
    wanted: tuple[int, ...] = shape[1:]
    if len(wanted) == 1:
        side = next((isqrt(wanted[0] // channels) for channels in (1, 3) if isqrt(wanted[0] // channels) ** 2 * channels == wanted[0]), 0)
        if not side:
            raise ModelError(
                f"model {model.name!r} takes {wanted[0]} numbers in a row, which are no square image, grey or in colour; "
                "save it behind keras.layers.Reshape, so that it takes images (n, height, width, channels)"
            )
        image_shape = side, side, wanted[0] // side**2
    else:
        image_shape = wanted[0], wanted[1], 1
    images = keras.Input(image_shape, name="images")
    return rebuilt(model, images, model(keras.layers.Reshape(wanted, name="input_shape")(images)))


def expected_shape(model: Any) -> tuple[int | None, int | None, int | None]:
    """(height, width, channels) that the model takes, None for any, wherever it has its channels. Raises ModelError."""
    shape = getattr(model, "input_shape", None)
    if not isinstance(shape, tuple) or len(shape) != 4:
        raise ModelError(f"model {model.name!r} takes {shape}; expected one input of images (n, height, width, channels)")
    if is_channels_first(shape[1:]):
        return shape[2], shape[3], shape[1]
    return shape[1], shape[2], shape[3]


def adapted(model: Any, expects: ModelInput, image_shape: tuple[int, int, int] | None = None) -> Any:
    """The model behind layers that turn images in [0, 1] into what it expects; the model itself where they have nothing to do.

    Args:
        model: a Keras model with one image input.
        expects: what it expects.
        image_shape: (height, width, channels) of the images; without it, colour images of the model's own size, or of any size where
            `expects` gives one.

    Raises:
        ModelError: when the model takes images of another size or other channels than `expects` says.
    """
    shape = getattr(model, "input_shape", None)
    if not isinstance(shape, tuple) or len(shape) != 4:
        return model  # `logits_model` says what is the matter
    if expects == AS_IT_IS and image_shape is None and not is_channels_first(shape[1:]):
        return model
    height, width, channels = expected_shape(model)
    if image_shape is None:
        seen = 3 if expects.channels == "gray" else channels
        image_shape = (None, None, seen) if expects.size else (height, width, seen)  # type: ignore[assignment]
    layers = preparation(model, expects, image_shape)  # type: ignore[arg-type]
    if is_channels_first(shape[1:]):
        model = channels_last(model)
    if not layers and None not in (height, width):
        return model
    x = images = keras.Input(image_shape, name="images")
    for layer in layers:
        x = layer(x)
    return rebuilt(model, images, model(x))


def preparation(model: Any, expects: ModelInput, image_shape: tuple[int, int, int]) -> list[Any]:
    """The layers themselves, in order: channels, size, values, channels first. Raises ModelError where the model takes something else."""
    height, width, channels = expected_shape(model)
    first = is_channels_first(model.input_shape[1:])
    if expects.channels == "first" and not first:
        raise ModelError(f"input.channels is first, but model {model.name!r} takes {model.input_shape[1:]}, channels last; leave it out")
    layers = _channels(model, expects.channels, image_shape[2], channels)
    if expects.sides is not None:
        if any(side not in (None, wanted) for side, wanted in zip((height, width), expects.sides, strict=True)):
            raise ModelError(f"input.size is {expects.size}, but model {model.name!r} takes images of {height} x {width}")
        if expects.sides != tuple(image_shape[:2]):
            layers.append(keras.layers.Resizing(*expects.sides, interpolation="bilinear", name="input_size"))
    layers += _values(model, expects, channels)
    if first:
        layers.append(keras.layers.Permute((3, 1, 2), name="channels_first"))
    return layers


def _channels(model: Any, order: str, given: int | None, wanted: int | None) -> list[Any]:
    if order == "bgr":
        if 3 not in (given, wanted) or {given, wanted} - {3, None}:
            raise ModelError(f"input.channels is bgr, but model {model.name!r} takes {wanted} channels, and images have {given}")
        return [_mixed(np.eye(3)[::-1])]
    if order == "gray":
        if given not in (1, 3):
            raise ModelError(f"input.channels is gray, but images have {given} channels; expected 1 or 3")
        kernel = np.asarray(LUMA)[:, None] if given == 3 else np.ones((1, 1))
        return [] if (given, wanted) == (1, 1) else [_mixed(np.repeat(kernel, wanted or 1, axis=1))]
    return []


def _mixed(kernel: np.ndarray) -> Any:
    """Each pixel's channels times a fixed matrix (channels in, channels out)."""
    layer = keras.layers.Conv2D(kernel.shape[1], 1, use_bias=False, trainable=False, name="input_channels")
    layer.build((None, None, None, kernel.shape[0]))
    layer.set_weights([kernel[None, None].astype(np.float32)])
    return layer


def _values(model: Any, expects: ModelInput, channels: int | None) -> list[Any]:
    if expects.standardize:
        return [keras.layers.LayerNormalization(axis=[1, 2, 3], epsilon=1e-8, center=False, scale=False, name="input_scale")]
    for name in ("mean", "std"):
        listed = getattr(expects, name)
        if isinstance(listed, tuple) and len(listed) != channels:
            raise ModelError(f"input.{name} has {len(listed)} numbers, but model {model.name!r} takes {channels} channels")
    mean, std = np.asarray(expects.mean, np.float64), np.asarray(expects.std, np.float64)
    scale, offset = (expects.scale / std).tolist(), (-mean / std).tolist()
    if (scale, offset) == (1.0, 0.0):
        return []
    return [keras.layers.Rescaling(scale, offset, name="input_scale")]


def channels_last(model: Any) -> Any:
    """The same function with layers that no CPU computes channels first (convolution, pooling, ...) between two transpositions."""
    if not any(_is_first(layer) for layer in model._flatten_layers(include_self=False)):
        return model
    weights = model.get_weights()
    clone = keras.models.clone_model(model, clone_function=_last, recursive=True)
    clone.set_weights(weights)
    return clone


def _is_first(layer: Any) -> bool:
    return getattr(layer, "data_format", "") == "channels_first" and not isinstance(layer, keras.layers.Flatten) and _is_2d(layer)


def _is_2d(layer: Any) -> bool:
    return type(layer).__name__.endswith("2D")


def _last(layer: Any) -> Any:
    config = layer.get_config()
    if not _is_first(layer):
        return layer.__class__.from_config(config)
    flat = type(layer).__name__.startswith("Global") and not config.get("keepdims")
    name = config["name"]
    inner = layer.__class__.from_config({**config, "data_format": "channels_last", "name": f"{name}_last"})
    before, after = (keras.layers.Permute(order, name=f"{name}_{end}") for order, end in (((2, 3, 1), "in"), ((3, 1, 2), "out")))
    return keras.Sequential([before, inner] if flat else [before, inner, after], name=name)


def class_order(order: Order, classes: int, names: Sequence[str] = ()) -> tuple[int, ...]:
    """The class number of each output. Raises ConfigError when a list does not hold each class once.

    Args:
        order: alphabetical, or a list of numbers or names.
        classes: how many outputs there are.
        names: of the classes, where `order` speaks of names.
    """
    if order == "alphabetical":
        return tuple(sorted(range(classes), key=str))
    known = {name: number for number, name in enumerate(names)} if len(set(names)) == len(names) else {}
    found = []
    for item in order:
        number = known.get(item, item) if isinstance(item, str) else item
        if isinstance(number, str):
            number = int(number) if number.isdecimal() else -1
        if not 0 <= number < classes:
            raise ConfigError(f"classes: {item!r} is none of the model's {classes} classes, by number or by name")
        found.append(number)
    if sorted(found) != list(range(classes)):
        raise ConfigError(f"classes lists {len(set(found))} of the model's {classes} classes; list each once, in the order of its outputs")
    return tuple(found)


def reordered(model: Any, order: tuple[int, ...]) -> Any:
    """The model with its outputs in the order of class numbers; `order` is the class number of each output now."""
    if order == tuple(range(len(order))):
        return model
    kernel = np.zeros((len(order), len(order)), np.float32)
    kernel[np.arange(len(order)), order] = 1
    layer = keras.layers.Dense(len(order), use_bias=False, trainable=False, name="class_order")
    layer.build((None, len(order)))
    layer.set_weights([kernel])
    return keras.Model(model.inputs[0], layer(model.outputs[0]), name=model.name)
