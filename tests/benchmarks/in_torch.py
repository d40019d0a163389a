"""A Keras classifier in PyTorch, with the same weights: (n, c, h, w) -> logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from advrun.engine import keras

ACTIVATIONS = {
    "linear": nn.Identity,
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "elu": nn.ELU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
}
LEFT_OUT = ("Dropout", "SpatialDropout2D", "GaussianNoise", "Identity", "InputLayer")


class Network(nn.Module):
    """The graph of a Keras model, run on PyTorch tensors: each of its layers is asked for by Keras and answered by `layer_in_torch`."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.graph = getattr(model, "_functional", None) or model  # a Sequential keeps its graph inside
        self.forms = {id(layer): layer_in_torch(layer) for layer in self.graph.operations}
        self.modules_of_the_graph = nn.ModuleList(self.forms.values())
        self.eval().requires_grad_(False)

    def forward(self, x: Any) -> Any:
        return self.graph._run_through_graph(x, operation_fn=self.without_options)

    def without_options(self, layer: Any) -> Callable[..., Any]:
        """The layer's form, which takes no `training=False`."""
        return lambda *inputs, **options: self.forms[id(layer)](*inputs)


class Then(nn.Module):
    """Functions of a tensor, or of a list of tensors, one after the other."""

    def __init__(self, *steps: Any) -> None:
        super().__init__()
        self.steps = steps
        self.inner = nn.ModuleList([step for step in steps if isinstance(step, nn.Module)])

    def forward(self, x: Any) -> Any:
        for step in self.steps:
            x = step(x)
        return x


def layer_in_torch(layer: Any) -> Any:
    """One Keras layer as a module. Raises TypeError for kinds that are not written down here."""
    if isinstance(layer, keras.Model):
        return Network(layer)
    activation = getattr(getattr(layer, "activation", None), "__name__", "linear")
    kind = type(layer).__name__
    if kind == "ReLU":
        activation = "linear"
    if activation not in ACTIVATIONS or (kind not in FORMS and kind not in LEFT_OUT):
        raise TypeError(f"no PyTorch form of the Keras layer {kind} ({activation}) is written down here")
    weights = layer.get_weights() if isinstance(layer, keras.layers.Layer) else []  # a bare operation has none
    steps = [] if kind in LEFT_OUT else [FORMS[kind](layer, [torch.tensor(np.asarray(weight)) for weight in weights])]
    return Then(*steps, ACTIVATIONS[activation]())


def convolution(layer: Any, weights: list[Any]) -> Any:
    depthwise = type(layer).__name__ == "DepthwiseConv2D"
    kernel = weights[0].permute(2, 3, 0, 1).flatten(0, 1)[:, None] if depthwise else weights[0].permute(3, 2, 0, 1)
    bias = weights[1] if layer.use_bias else None
    groups = weights[0].shape[2] if depthwise else layer.groups
    made = nn.Conv2d(
        kernel.shape[1] * groups, len(kernel), kernel.shape[2:], layer.strides, 0, layer.dilation_rate, groups, bias is not None
    )
    made.weight.data = kernel.contiguous()
    if bias is not None:
        made.bias.data = bias
    reach = [(size - 1) * rate + 1 for size, rate in zip(kernel.shape[2:], layer.dilation_rate, strict=True)]
    return Then(same(reach, layer.strides, 0.0), made) if layer.padding == "same" else made


def same(reach: Any, strides: Any, value: float) -> Callable[[Any], Any]:
    """TensorFlow's padding "same": as many outputs as strides begin, the odd pixel below and to the right."""

    def pad(x: Any) -> Any:
        sides = []
        for size, length, stride in zip(x.shape[2:], reach, strides, strict=True):
            missing = max((-(-size // stride) - 1) * stride + length - size, 0)
            sides.append((missing // 2, missing - missing // 2))
        return functional.pad(x, (*sides[1], *sides[0]), value=value)

    return pad


def pooling(layer: Any, weights: list[Any]) -> Any:
    largest = type(layer).__name__ == "MaxPooling2D"
    pool = (nn.MaxPool2d if largest else nn.AvgPool2d)(layer.pool_size, layer.strides)
    if layer.padding == "valid":
        return pool
    if not largest:
        raise TypeError("no PyTorch form of average pooling with padding is written down here")
    return Then(same(layer.pool_size, layer.strides, -torch.inf), pool)


def padding(layer: Any, weights: list[Any]) -> Any:
    """`ops.pad` of images (n, h, w, c) with zeros."""
    if layer.mode != "constant":
        raise TypeError(f"no PyTorch form of padding with mode {layer.mode} is written down here")
    _, rows, columns, channels = layer.pad_width
    return lambda x: functional.pad(x, (*columns, *rows, *channels))


def dense(layer: Any, weights: list[Any]) -> Any:
    made = nn.Linear(*weights[0].shape, bias=layer.use_bias)
    made.weight.data = weights[0].T.contiguous()
    if layer.use_bias:
        made.bias.data = weights[1]
    return made


def batch_normalization(layer: Any, weights: list[Any]) -> Any:
    gamma = weights.pop(0) if layer.scale else torch.ones_like(weights[-1])
    beta = weights.pop(0) if layer.center else torch.zeros_like(weights[-1])
    mean, variance = weights
    factor = gamma / torch.sqrt(variance + layer.epsilon)
    return lambda x: x * channelwise(factor, x) + channelwise(beta - mean * factor, x)


def channelwise(values: Any, x: Any) -> Any:
    return values.reshape(1, -1, *[1] * (x.dim() - 2))


def normalization(layer: Any, weights: list[Any]) -> Any:
    mean, deviation = (torch.tensor(np.asarray(each)).flatten() for each in (layer.mean, layer.variance**0.5))
    return lambda x: (x - channelwise(mean, x)) / channelwise(deviation, x)


FORMS: dict[str, Callable[[Any, list[Any]], Any]] = {
    "Conv2D": convolution,
    "DepthwiseConv2D": convolution,
    "Dense": dense,
    "BatchNormalization": batch_normalization,
    "Normalization": normalization,
    "MaxPooling2D": pooling,
    "AveragePooling2D": pooling,
    "GlobalAveragePooling2D": lambda layer, weights: lambda x: x.mean((2, 3)),
    "GlobalMaxPooling2D": lambda layer, weights: lambda x: x.amax((2, 3)),
    "Flatten": lambda layer, weights: lambda x: x.permute(0, 2, 3, 1).flatten(1) if x.dim() == 4 else x,  # in Keras's order
    "Rescaling": lambda layer, weights: lambda x: x * layer.scale + layer.offset,
    "ZeroPadding2D": lambda layer, weights: nn.ZeroPad2d([side for sides in layer.padding[::-1] for side in sides]),
    "Pad": padding,
    "Activation": lambda layer, weights: nn.Identity(),
    "ReLU": lambda layer, weights: nn.LeakyReLU(layer.negative_slope) if layer.max_value is None else nn.Hardtanh(0.0, layer.max_value),
    "LeakyReLU": lambda layer, weights: nn.LeakyReLU(layer.negative_slope),
    "Add": lambda layer, weights: sum,
    "Concatenate": lambda layer, weights: lambda inputs: torch.cat(inputs, 1),
}
"""Keras layer -> (layer, its weights) -> a function of tensors."""
