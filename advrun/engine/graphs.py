"""Compiled functions, the gradients within them, and arithmetic that needs care to be fast there."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from functools import wraps
from typing import Any

import numpy as np

from advrun.engine.backend import has_gpu, is_half, ops, tf, use_xla
from advrun.types import Tensor


def compiled(function: Callable[..., Any], *, xla: bool = True) -> Callable[..., Any]:
    """Compile to one graph: by XLA if `start` said so, by default on a GPU only; on a CPU the graph executor is faster.

    `xla=False` is for functions that use `in_python`, which XLA cannot compile.
    """
    return tf.function(function, autograph=False, jit_compile=xla and use_xla())


def traces(function: Any) -> int:
    """How often a compiled function was traced."""
    return int(function.experimental_get_tracing_count())


def fused(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function of tensors, as one kernel within compiled code: on a CPU XLA passes over the images once, not once an operation.

    For arithmetic between two calls of the model, without random numbers and sorting. What shapes or indices depend on is no tensor
    within it, or every value would be compiled anew. Eagerly, and within another kernel, it is the function itself.
    """

    @wraps(function)
    def call(*tensors: Any) -> Any:
        if tf.executing_eagerly() or use_xla() or _in_kernel.get():
            return function(*tensors)
        return tf.function(kernel, autograph=False, jit_compile=True)(*tensors)

    def kernel(*tensors: Any) -> Any:
        outside = _in_kernel.set(True)
        try:
            return function(*tensors)
        finally:
            _in_kernel.reset(outside)

    return call


_in_kernel = ContextVar("in_kernel", default=False)


def in_python(function: Callable[..., np.ndarray], inputs: list[Tensor], like: Tensor) -> Tensor:
    """`function` of the inputs as NumPy arrays, called when the compiled code runs; its result has the shape and dtype of `like`."""
    result = tf.numpy_function(function, inputs, like.dtype)
    result.set_shape(like.shape)
    return result


def outside(build: Callable[[], Any]) -> Any:
    """What `build` makes, made outside of the graph that is being traced: variables, which a graph cannot own."""
    with tf.init_scope():
        return build()


def with_weights(model: Any, weights: Sequence[Tensor], inputs: Any) -> Tensor:
    """What a Keras model makes of its inputs, not training, with `weights` (as `model.get_weights()` orders them) in place of its own.

    So a trained network is an argument of a compiled function, and the function stays a pure one.
    """
    place = {id(variable): i for i, variable in enumerate(model.weights)}
    own = ([weights[place[id(variable)]] for variable in kind] for kind in (model.trainable_variables, model.non_trainable_variables))
    return model.stateless_call(*own, inputs, training=False)[0]


def value_and_gradient(function: Callable[[Tensor], Any], x: Tensor) -> tuple[Tensor, Any, Tensor]:
    """Values, further outputs, and the gradient of the sum of the values.

    Args:
        function: maps x to (values (n,), anything); values[i] may depend on x[i] alone.
        x: (n, ...) float32.
    """
    x = tf.convert_to_tensor(x)
    scale = 1024.0 if is_half() else 1.0  # small gradients would vanish on their way through float16 layers
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(x)
        values, auxiliary = function(x)
        scaled = values if scale == 1.0 else values * scale
    gradient = tape.gradient(scaled, x, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return values, auxiliary, gradient if scale == 1.0 else gradient / scale


def jacobian(function: Callable[[Tensor], Tensor], x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs, and the gradients of chosen outputs of each example: one forward pass, one backward pass for each choice.

    Args:
        function: maps x to (n, c); row i may depend on x[i] alone.
        x: (n, ...) float32.
        rows: (k, n) int32: which k of the c outputs of each example.

    Returns:
        (n, c), and (k, n, ...).
    """
    x = tf.convert_to_tensor(x)
    with tf.GradientTape(watch_accessed_variables=False, persistent=True) as tape:
        tape.watch(x)
        outputs = function(x)

    def backward(row: Tensor) -> Tensor:
        chosen = tf.one_hot(row, outputs.shape[-1])
        return tape.gradient(outputs, x, output_gradients=chosen, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    # A loop, as `tf.map_fn` makes it, keeps the graph small; it costs as much as the unrolled passes.
    return outputs, tf.map_fn(backward, rows, fn_output_signature=tf.float32, parallel_iterations=1)


def total(images: Tensor) -> Tensor:
    """The sum over each image, (n, ...) -> (n,).

    In kernels as a product of matrices: a sum that XLA made on a CPU would wait for each addition before it begins the next.
    """
    if not _in_kernel.get() or has_gpu():  # which would round the factors of a product to 10 bits
        return ops.sum(images, axis=tuple(range(1, len(images.shape))))
    values = flat(images)
    return ops.matmul(values, np.ones((values.shape[1], 1), np.float32))[:, 0]


def flat(images: Tensor) -> Tensor:
    """(n, ...) -> (n, d)."""
    return ops.reshape(images, (-1, math.prod(images.shape[1:])))


def shaped(values: Tensor, like: Tensor) -> Tensor:
    """(n, d) or any other shape of as many values -> (n, ...), as the images `like` are shaped."""
    return ops.reshape(values, (-1, *like.shape[1:]))


def select(condition: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """`new` where the condition holds, `old` elsewhere; both of one shape, the condition of that shape or (n,), for whole images.

    On a CPU six times as fast as `ops.where`, which would have to broadcast.
    """
    return tf.raw_ops.Select(condition=condition, x=new, y=old)


def straight_through(value: Tensor, like: Tensor) -> Tensor:
    """`value`, exactly, with the gradient of `like`: backward it is passed as if it were that (Bengio et al., 2013, arXiv:1308.3432)."""

    def passed(like: Tensor, value: Tensor) -> Any:
        return tf.identity(value), lambda upstream: (upstream, None)

    return tf.custom_gradient(passed)(like, tf.stop_gradient(value))


def toward(values: Tensor, goal: Tensor) -> Tensor:
    """The float32 next to each value, on the way to the goal."""
    return tf.math.nextafter(values, goal)
