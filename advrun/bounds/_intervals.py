"""Interval bound propagation through a Keras model (Gowal et al., 2018, arXiv:1810.12715, section 3.1).

An interval is a lower and an upper end for every value. Through a layer that rises in each of its inputs both ends pass as they are
(equation 7); an affine layer maps the middle as it is and the half width by the absolute weights (equation 6). The last layer, where it is
dense, is folded into the differences of logits that are asked about, which is tighter than to bound each logit (elision, section 3.2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from advrun.engine import keras, ops
from advrun.errors import UnboundedError
from advrun.types import Tensor

RISING = ("linear", "relu", "relu6", "leaky_relu", "elu", "celu", "selu", "softplus", "softsign", "tanh", "hard_tanh", "sigmoid",
          "hard_sigmoid", "log_sigmoid", "exponential")  # fmt: skip
"""Activations that nowhere fall."""
RISING_LAYERS = ("Flatten", "Reshape", "Permute", "ZeroPadding2D", "Cropping2D", "UpSampling2D", "AveragePooling2D", "MaxPooling2D",
                 "GlobalAveragePooling2D", "GlobalMaxPooling2D", "Add", "Average", "Concatenate", "Maximum", "Minimum", "ReLU",
                 "LeakyReLU", "ELU")  # fmt: skip
IDLE_LAYERS = ("Dropout", "SpatialDropout2D", "GaussianNoise", "GaussianDropout", "ActivityRegularization", "Identity")
"""Layers that do something in training alone."""
VALUEWISE_LAYERS = ("Rescaling", "Normalization", "BatchNormalization")
"""Layers that stretch and move each value by itself, so that its ends may change places."""
RISING_OPERATIONS = ("Pad", "Relu", "Tanh", "Sigmoid", "Transpose")
"""Of `keras.ops`, in a functional model."""
KNOWN = "Dense, Conv2D, BatchNormalization, Rescaling, Normalization, pooling, Add, Dropout, and activations that rise"


@dataclass(frozen=True, eq=False)
class Interval:
    """Where every value lies: two tensors of one shape, lower <= upper."""

    lower: Tensor
    upper: Tensor

    @property
    def middle(self) -> Tensor:
        return (self.lower + self.upper) / 2

    @property
    def half(self) -> Tensor:
        return (self.upper - self.lower) / 2


@dataclass(frozen=True, eq=False)
class Margins:
    """lower: lower ends of logits[y] - logits[j], (n, classes); that of y itself is 0. size: of the numbers that they come from."""

    lower: Tensor
    size: Tensor


Last = Callable[[Any, Interval], Any]
"""What is made of the model's last operation and the interval before it."""


def around(x: Tensor, eps: Tensor) -> Interval:
    """The images within eps, (n,) or a scalar, of x in Linf, and within the box [0, 1]."""
    eps = ops.reshape(ops.convert_to_tensor(eps, "float32"), (-1,) + (1,) * (len(x.shape) - 1))
    return Interval(ops.maximum(x - eps, 0.0), ops.minimum(x + eps, 1.0))


def margins(model: Any, inputs: Interval, y: Tensor) -> Margins:
    """How much larger the logit of y is than each other one, at least.

    Raises UnboundedError, naming it, for a layer through which intervals do not pass.
    """

    def elided(layer: Any, before: Interval) -> Margins:
        if not (_is(layer, "Dense") and _rises(layer.activation, linear=True) and len(before.lower.shape) == 2):
            return _apart(_through(layer)(before), y)
        kernel = ops.transpose(layer.kernel)  # (classes, d)
        differences = ops.take(kernel, y, axis=0)[:, None] - kernel[None]  # (n, classes, d)
        middle = ops.einsum("nkd,nd->nk", differences, before.middle)
        half = ops.einsum("nkd,nd->nk", ops.abs(differences), before.half)
        bias = layer.bias if layer.use_bias else ops.zeros((kernel.shape[0],))
        return Margins(middle + ops.take(bias, y)[:, None] - bias[None] - half, ops.abs(middle) + half)

    found: Margins = propagate(model, inputs, elided)
    return found


def _apart(logits: Interval, y: Tensor) -> Margins:
    """The differences of logits that are bounded each by itself; that of y to itself is 0."""
    own = ops.take_along_axis(logits.lower, y[:, None], axis=-1)
    is_own = ops.cast(ops.one_hot(y, logits.lower.shape[-1]), "bool")
    size = ops.abs(own) + ops.maximum(ops.abs(logits.lower), ops.abs(logits.upper))
    return Margins(ops.where(is_own, 0.0, own - logits.upper), size)


def propagate(model: Any, inputs: Any, last: Last | None = None) -> Any:
    """The interval of a Keras model's output; or what `last` makes of its last operation. Raises UnboundedError."""
    graph = getattr(model, "_functional", None) or model
    if not hasattr(graph, "_run_through_graph"):
        raise UnboundedError(f"model {model.name!r} is a {type(model).__name__} with a `call` of its own; intervals pass models of layers")
    final = graph.outputs[0]._keras_history.operation

    def operation(each: Any) -> Callable[..., Any]:
        if last is None or each is not final:
            return _through(each)
        return _through(each, last) if _is_model(each) else lambda before, *_, **__: last(each, before)

    outputs = graph._run_through_graph([inputs], operation_fn=operation)
    return outputs[0] if isinstance(outputs, (list, tuple)) else outputs


def _through(operation: Any, last: Last | None = None) -> Callable[..., Any]:
    """How intervals pass a layer or an operation."""
    if _is_model(operation):
        return lambda inputs, *_, **__: propagate(operation, inputs, last)
    if _is(operation, *IDLE_LAYERS):
        return lambda inputs, *_, **__: inputs
    if _is(operation, *VALUEWISE_LAYERS):
        return lambda inputs, *_, **__: _sorted(operation(inputs.lower), operation(inputs.upper))
    if _is(operation, "Dense", "Conv2D") and _rises(operation.activation):
        return lambda inputs, *_, **__: _affine(operation, inputs)
    if _rising(operation):
        return lambda *inputs, **more: Interval(operation(*_ends(inputs, "lower"), **more), operation(*_ends(inputs, "upper"), **more))
    name = getattr(operation, "name", "?")
    activation = getattr(getattr(operation, "activation", None), "__name__", "")
    said = f" with activation {activation!r}" if activation and _is(operation, "Dense", "Conv2D", "Activation") else ""
    raise UnboundedError(f"layer {name!r} is a {type(operation).__name__}{said}, which interval bounds do not pass; they pass {KNOWN}")


def _ends(inputs: Any, which: str) -> Any:
    """Lower or upper ends, of intervals alone or in lists; what is no interval (a shape, say) as it is."""
    if isinstance(inputs, Interval):
        return getattr(inputs, which)
    return [_ends(each, which) for each in inputs] if isinstance(inputs, (list, tuple)) and _holds(inputs) else inputs


def _holds(inputs: Any) -> bool:
    return any(isinstance(each, Interval) or (isinstance(each, (list, tuple)) and _holds(each)) for each in inputs)


def _affine(layer: Any, inputs: Interval) -> Interval:
    """Equation 6, then the activation at both ends."""

    def linear(x: Tensor, kernel: Tensor) -> Tensor:
        return ops.matmul(x, kernel) if _is(layer, "Dense") else layer.convolution_op(x, kernel)

    middle, half = linear(inputs.middle, layer.kernel), linear(inputs.half, ops.abs(layer.kernel))
    if layer.use_bias:
        shape = (1,) * (len(middle.shape) - 1) + (-1,)
        if getattr(layer, "data_format", "channels_last") == "channels_first":
            shape = (1, -1) + (1,) * (len(middle.shape) - 2)
        middle = middle + ops.reshape(layer.bias, shape)
    return Interval(layer.activation(middle - half), layer.activation(middle + half))


def _sorted(one: Tensor, other: Tensor) -> Interval:
    return Interval(ops.minimum(one, other), ops.maximum(one, other))


def _rising(operation: Any) -> bool:
    """Whether it rises in each of its inputs, so that lower ends make lower ends."""
    if _is(operation, "Activation"):
        return _rises(operation.activation)
    if _is(operation, "Resizing"):
        return operation.interpolation in ("nearest", "bilinear", "area")
    if isinstance(operation, keras.layers.Layer):
        return _is(operation, *RISING_LAYERS)
    return type(operation).__module__.startswith("keras.") and type(operation).__name__ in RISING_OPERATIONS


def _rises(activation: Any, *, linear: bool = False) -> bool:
    names = ("linear",) if linear else RISING
    return any(activation is getattr(keras.activations, name, None) for name in names)


def _is(operation: Any, *names: str) -> bool:
    """Whether it is a Keras layer of one of these classes itself: what is derived from one may do something else."""
    return type(operation) in _classes(names)


@cache
def _classes(names: tuple[str, ...]) -> tuple[type, ...]:
    return tuple(getattr(keras.layers, name) for name in names)


def _is_model(operation: Any) -> bool:
    return isinstance(operation, keras.Model)
