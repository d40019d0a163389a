"""The door to TensorFlow: loops, gradients, compilation, random numbers, devices. No other file imports it.

Importing this module is cheap: TensorFlow and Keras load at first use. The same attack runs compiled, as one graph, and
eagerly, one operation after the other, with the same results: `repeat` is a graph loop in the first case and a Python
loop in the second.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, wraps
from types import ModuleType
from typing import Any

import numpy as np

from advrun.types import Tensor


class _Lazy:
    """A module that is imported when one of its attributes is first used."""

    def __init__(self, load: Callable[[], Any]) -> None:
        self._load = load

    def __getattr__(self, name: str) -> Any:
        return getattr(self._load(), name)


@cache
def _tensorflow() -> ModuleType:
    """Import TensorFlow once, with the settings that only work before it loads; what the user set is kept."""
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # off by default on AMD: 2 to 4 x faster convolutions
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    with _quiet_stderr():
        import tensorflow

        _leave_a_thread(tensorflow.config.threading)
        for gpu in tensorflow.config.list_physical_devices("GPU"):
            tensorflow.config.experimental.set_memory_growth(gpu, True)
    tensorflow.get_logger().setLevel("ERROR")  # it takes each new attack for a retrace of the last
    return tensorflow


def _leave_a_thread(threading: Any) -> None:
    """Python called from a graph (`in_python`) holds a thread while the graph that it calls needs another; one core has but one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    chosen = threading.get_inter_op_parallelism_threads() or int(os.environ.get("TF_NUM_INTEROP_THREADS", 0)) or cores
    if chosen == 1:
        with suppress(RuntimeError):  # too late: TensorFlow has begun
            threading.set_inter_op_parallelism_threads(2)


@cache
def _keras() -> ModuleType:
    _tensorflow()
    import keras

    return keras


tf: Any = _Lazy(_tensorflow)
keras: Any = _Lazy(_keras)
ops: Any = _Lazy(lambda: _keras().ops)


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Keep the C++ start-up lines of TensorFlow off the terminal; they come before its log level is read."""
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") in ("0", "1"):
        yield
        return
    saved = os.dup(2)
    try:
        with open(os.devnull, "wb") as sink:
            os.dup2(sink.fileno(), 2)
            yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


# Loops and gradients -------------------------------------------------------------------------------------------------


def repeat(step: Callable[..., Any], times: int, state: Any, *, until: Callable[[Any], Tensor] | None = None) -> Any:
    """`state = step(i, state)` for i = 0 .. times - 1, stopping early once `until(state)` holds.

    Args:
        step: maps (iteration number, state) to the next state of the same structure, shapes and dtypes.
        times: how often at most.
        state: a tensor, or a nested tuple of tensors.
        until: maps the state to a boolean scalar.
    """

    def condition(i: Tensor, state: Any) -> Tensor:
        return tf.logical_not(until(state)) if until else True

    def body(i: Tensor, state: Any) -> Any:
        return i + 1, step(i, state)

    variables = (tf.constant(0), state)
    return tf.while_loop(condition, body, variables, parallel_iterations=1, maximum_iterations=times)[1]


def repeat_undecided(step: Callable[..., Any], times: int, state: Any, *, decided: Callable[[Any], Tensor] | None) -> Any:
    """`repeat`, for states whose every tensor has the images as first axis, working on the undecided images alone.

    Whenever few enough images are still undecided, the loop goes on with those alone; every image gets the iterations that it would have
    got. In a graph the step is traced once, for any number of images: there `x.shape[0]` is None, and `ops.shape(x)[0]` the number.
    Kernels are compiled for each size of `sizes_from` that occurs. XLA, which has no unknown sizes, takes a loop for each size. Within
    another such loop the number never changes.

    Args:
        step: maps (iteration number, numbers of the images in work (m,), their state) to their next state. It must leave
            decided images as they are.
        times: how often at most.
        state: a nested tuple of tensors (n, ...).
        decided: maps the state to (m,) bool: images that need no further steps; None: all need all of them.
    """
    images = tf.nest.flatten(state)[0]
    n = images.shape[0]
    if decided is None or n is None:
        rows = tf.range(tf.shape(images)[0])
        until = decided and (lambda state: tf.reduce_all(decided(state)))
        return repeat(lambda i, state: step(i, rows, state), times, state, until=until)

    def undecided(state: Any) -> Tensor:
        return tf.math.count_nonzero(~decided(state), dtype=tf.int32)

    def stretch(i: Tensor, state: Any, size: Any, room: Any) -> tuple[Tensor, Any]:
        """Steps of `size` images, all that are undecided among them, until at most `room` are."""
        rows = tf.argsort(tf.cast(decided(state), tf.int32), stable=True)[:size]

        def condition(i: Tensor, part: Any) -> Tensor:
            return tf.logical_and(i < times, undecided(part) > room)

        def body(i: Tensor, part: Any) -> Any:
            try:
                return i + 1, step(i, rows, part)
            except (TypeError, ValueError) as error:
                if rows.shape[0] is None and "None" in str(error):
                    error.add_note(SIZES_REMEDY)
                raise

        part = tf.nest.map_structure(lambda tensor: tf.gather(tensor, rows), state)
        i, part = tf.while_loop(condition, body, (i, part), parallel_iterations=1)
        return i, tf.nest.map_structure(lambda whole, new: _put(whole, rows, new), state, part)

    i, sizes = tf.constant(0), sizes_from(n)
    if _use_xla():
        for size, room in zip(sizes, [*sizes[1:], 0], strict=True):
            i, state = stretch(i, state, size, room)
        return state
    steps_down = tf.constant([*sizes, 0])

    def go_on(i: Tensor, state: Any) -> tuple[Tensor, Any]:
        last = tf.math.count_nonzero(steps_down >= undecided(state), dtype=tf.int32) - 1
        return stretch(i, state, steps_down[last], steps_down[last + 1])

    return tf.while_loop(lambda i, state: tf.logical_and(i < times, undecided(state) > 0), go_on, (i, state), parallel_iterations=1)[1]


SIZES_REMEDY = "if None is a number of images: inside `repeat_undecided` write ops.shape(x) for x.shape"
SMALLEST_BATCH = 16
"""Fewer images are not worth a size of their own: a call then costs more than its images."""


def sizes_from(n: int) -> list[int]:
    """How many images may be in work together, from n down to a few."""
    cut = 0.5 if _use_xla() else 0.8  # there each size takes a loop of its own, and time to compile it
    sizes = [n]
    while sizes[-1] > SMALLEST_BATCH:
        sizes.append(min(math.ceil(cut * sizes[-1]), sizes[-1] - 1))
    return sizes


def _put(whole: Tensor, rows: Tensor, part: Tensor) -> Tensor:
    """`whole` with the rows numbered `rows`, all different, replaced."""
    return tf.tensor_scatter_nd_update(whole, rows[:, None], part)


def toward(values: Tensor, goal: Tensor) -> Tensor:
    """The float32 next to each value, on the way to the goal."""
    return tf.math.nextafter(values, goal)


def select(condition: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """`new` where the condition holds, `old` elsewhere; both of one shape, the condition of that shape or (n,), for whole images.

    On a CPU six times as fast as `ops.where`, which would have to broadcast.
    """
    return tf.raw_ops.Select(condition=condition, x=new, y=old)


def value_and_gradient(function: Callable[[Tensor], Any], x: Tensor) -> tuple[Tensor, Any, Tensor]:
    """Values, further outputs, and the gradient of the sum of the values.

    Args:
        function: maps x to (values (n,), anything); values[i] may depend on x[i] alone.
        x: (n, ...) float32.
    """
    x = tf.convert_to_tensor(x)
    scale = 1024.0 if _is_half() else 1.0  # small gradients would vanish on their way through float16 layers
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


def compiled(function: Callable[..., Any], *, xla: bool = True) -> Callable[..., Any]:
    """Compile to one graph: by XLA if `start` said so, by default on a GPU only; on a CPU the graph executor is faster.

    `xla=False` is for functions that use `in_python`, which XLA cannot compile.
    """
    return tf.function(function, autograph=False, jit_compile=xla and _use_xla())


def fused(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function of tensors, as one kernel within compiled code: on a CPU XLA passes over the images once, not once an operation.

    For arithmetic between two calls of the model, without random numbers and sorting. What shapes or indices depend on is no tensor
    within it, or every value would be compiled anew. Eagerly, and within another kernel, it is the function itself.
    """

    @wraps(function)
    def call(*tensors: Any) -> Any:
        if tf.executing_eagerly() or _use_xla() or _in_kernel.get():
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


def in_python(function: Callable[..., np.ndarray], inputs: list[Tensor], like: Tensor) -> Tensor:
    """`function` of the inputs as NumPy arrays, called when the compiled code runs; its result has the shape and dtype of `like`."""
    result = tf.numpy_function(function, inputs, like.dtype)
    result.set_shape(like.shape)
    return result


_xla = "auto"


def _use_xla() -> bool:
    return has_gpu() if _xla == "auto" else _xla == "on"


def traces(function: Any) -> int:
    """How often a compiled function was traced."""
    return int(function.experimental_get_tracing_count())


# Random numbers ------------------------------------------------------------------------------------------------------


@dataclass
class Rng:
    """Counter-based random numbers: the same key gives the same numbers, compiled or eager, now or after a resume.

    Successive draws from one object differ. Inside `repeat`, draw from `rng.fold(i)`: the body is traced once, so an
    object from outside the loop would give every iteration the same numbers.
    """

    key: Tensor
    draws: int = 0

    @classmethod
    def from_seed(cls, *numbers: int) -> Rng:
        """A key from any number of whole numbers, such as (experiment seed, cell, batch)."""
        return cls(np.random.SeedSequence([n & 0xFFFFFFFF for n in numbers]).generate_state(2).astype(np.int32))

    def fold(self, number: Tensor | int) -> Rng:
        """An independent generator for each number."""
        return Rng(tf.random.experimental.stateless_fold_in(self.key, number))

    def uniform(self, shape: Any, low: float = 0.0, high: float = 1.0) -> Tensor:
        """float32 in [low, high)."""
        return tf.random.stateless_uniform(shape, self._next(), low, high)

    def normal(self, shape: Any) -> Tensor:
        """float32, mean 0, variance 1."""
        return tf.random.stateless_normal(shape, self._next())

    def signs(self, shape: Any) -> Tensor:
        """-1.0 or 1.0, with the same probability."""
        return tf.where(self.uniform(shape) < 0.5, -1.0, 1.0)

    def integers(self, shape: Any, low: int, high: int) -> Tensor:
        """int32 in [low, high)."""
        return tf.random.stateless_uniform(shape, self._next(), low, high, dtype=tf.int32)

    def _next(self) -> Tensor:
        self.draws += 1
        return tf.random.experimental.stateless_fold_in(self.key, 0x40000000 + self.draws)


# Counters, devices, seeds --------------------------------------------------------------------------------------------


class Counter:
    """Whole numbers for each image of a batch, which compiled code adds to and Python reads."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self._value = tf.Variable(np.zeros((len(names), 1), np.int64), shape=(len(names), None), trainable=False)

    def start(self, images: int = 1) -> None:
        """Count anew, for each of so many images; before that, and by default, all images together."""
        self._value.assign(np.zeros((len(self.names), images), np.int64))

    def add(self, name: str, amount: Tensor, rows: Tensor | None = None) -> None:
        """Add `amount` (m,), m any multiple of the images (or of `rows`, the numbers of the images that are meant)."""
        images = tf.shape(self._value)[1]
        index = tf.range(tf.shape(amount)[0])
        image = index % images if rows is None else tf.gather(rows, index % tf.shape(rows)[0]) % images
        added = tf.math.unsorted_segment_sum(tf.cast(amount, tf.int64), image, images)
        self._value.assign_add([added * int(name == each) for each in self.names])

    def read(self) -> dict[str, np.ndarray]:
        """Name -> (images,) int64."""
        return dict(zip(self.names, self._value.numpy().copy(), strict=True))  # a copy: the next batch counts in the same memory


def has_gpu() -> bool:
    """Whether TensorFlow can use a GPU."""
    return bool(tf.config.list_physical_devices("GPU"))


def devices() -> list[str]:
    """Names of the devices that TensorFlow computes on, GPUs first."""
    found = tf.config.list_physical_devices("GPU")
    return [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in found] or ["CPU"]


def start(seed: int, *, deterministic: bool = True, mixed_precision: bool = False, jit: str = "auto") -> None:
    """Seed everything that draws without a key (weight initialisers, Dropout), and set the process-wide modes.

    Args:
        seed: any whole number.
        deterministic: only operations whose results repeat to the last bit; cannot be switched off again.
        mixed_precision: layers made from now on compute in float16.
        jit: whether functions compiled from now on go through XLA: "on", "off", or "auto", which is on a GPU only.
    """
    global _xla  # process-wide, like the modes below
    _xla = jit
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.utils.clear_session(free_memory=False)  # layer names count up from here, whatever was built before
    keras.mixed_precision.set_global_policy("mixed_float16" if mixed_precision else "float32")
    keras.utils.set_random_seed(seed)


def reason(error: BaseException) -> str:
    """One line that says what went wrong; TensorFlow puts it after its own stack trace, before the name of the node."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    node = next((i for i, line in enumerate(lines) if line.startswith("[[")), 0)
    said = lines[max(node - 1, 0)] if lines else "no message"
    if isinstance(error, tf.errors.OperatorNotAllowedInGraphError):  # whose first sentence is followed by a paragraph of wrong advice
        said = f"{said.split('. ')[0]}: graphs are made before there are values; choose by ops.where or ops.cond, loop by repeat"
    return "; ".join([f"{type(error).__name__}: {said}".rstrip("."), *getattr(error, "__notes__", [])])


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a smaller batch may help."""
    return isinstance(error, (tf.errors.ResourceExhaustedError, MemoryError))


# Training ------------------------------------------------------------------------------------------------------------


def adam(learning_rate: float) -> Any:
    """Adam (Kingma and Ba, 2015, arXiv:1412.6980), with loss scaling where the weights' policy is half precision."""
    optimizer = keras.optimizers.Adam(learning_rate)
    return keras.optimizers.LossScaleOptimizer(optimizer) if _is_half() else optimizer


def _is_half() -> bool:
    return bool(keras.mixed_precision.dtype_policy().compute_dtype == "float16")


class TrainStep:
    """One compiled optimiser step, and the same objective without it for validation.

    Args:
        model: the Keras model whose trainable weights move.
        objective: (x (n, h, w, c) float32 in [0, 1], y (n,) int32, rng, training) -> {"loss": (n,), further names: (n,)}.
        optimizer: a Keras optimiser.
    """

    def __init__(self, model: Any, objective: Callable[..., dict[str, Tensor]], optimizer: Any) -> None:
        self.model, self.objective, self.optimizer = model, objective, optimizer
        optimizer.build(model.trainable_variables)
        # Training batches are dropped when ragged and validation batches padded, so each is traced once.
        self.train = compiled(self._train)
        self.validate = compiled(self._validate)

    def _train(self, images: Tensor, y: Tensor, key: Tensor) -> dict[str, Tensor]:
        weights = self.model.trainable_variables
        with tf.GradientTape() as tape:
            values = self.objective(to_unit(images), y, Rng(key), training=True)
            loss = tf.reduce_mean(values["loss"])
            total = self.optimizer.scale_loss(loss + sum(self.model.losses))
        self.optimizer.apply(tape.gradient(total, weights), weights)
        return {name: tf.reduce_mean(value) for name, value in values.items()}

    def _validate(self, images: Tensor, y: Tensor, key: Tensor) -> dict[str, Tensor]:
        return self.objective(to_unit(images), y, Rng(key), training=False)

    def state(self) -> list[np.ndarray]:
        """All numbers that a resumed training needs: model and optimiser variables."""
        return [variable.numpy() for variable in self._variables()]

    def restore(self, state: list[np.ndarray]) -> None:
        for variable, value in zip(self._variables(), state, strict=True):
            variable.assign(value)

    def _variables(self) -> list[Any]:
        return [*self.model.variables, *self.optimizer.variables]


def to_unit(images: Tensor) -> Tensor:
    """uint8 grey levels to float32 in [0, 1]; float images as they are."""
    images = tf.convert_to_tensor(images)
    return tf.cast(images, tf.float32) / 255.0 if images.dtype == tf.uint8 else images
