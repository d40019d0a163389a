"""TensorFlow and Keras, loaded at first use; process-wide modes, devices, and what their errors say."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from types import ModuleType
from typing import Any

from advrun.process import QUIET, quiet_stderr


class _Lazy:
    """A module that is imported when one of its attributes is first used."""

    def __init__(self, load: Callable[[], Any]) -> None:
        self._load = load

    def __getattr__(self, name: str) -> Any:
        return getattr(self._load(), name)


@cache
def _tensorflow() -> ModuleType:
    """Import TensorFlow once, with the settings that only work before it loads; what the user set is kept."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    with quiet_stderr():
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

_xla = "auto"


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


def use_xla() -> bool:
    """Whether functions compiled from now on go through XLA."""
    return has_gpu() if _xla == "auto" else _xla == "on"


def is_half() -> bool:
    """Whether layers made from now on compute in float16."""
    return bool(keras.mixed_precision.dtype_policy().compute_dtype == "float16")


def has_gpu() -> bool:
    """Whether TensorFlow can use a GPU."""
    return bool(tf.config.list_physical_devices("GPU"))


def devices() -> list[str]:
    """Names of the devices that TensorFlow computes on, GPUs first."""
    found = tf.config.list_physical_devices("GPU")
    return [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in found] or ["CPU"]


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
