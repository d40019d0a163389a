"""Loops that run compiled, as a part of the graph, and eagerly, as Python's own, with the same results."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from advrun.engine.backend import tf, use_xla
from advrun.types import Tensor

SIZES_REMEDY = "if None is a number of images: inside `repeat_undecided` write ops.shape(x) for x.shape"
SMALLEST_BATCH = 16
"""Fewer images are not worth a size of their own: a call then costs more than its images."""


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
    if use_xla():
        for size, room in zip(sizes, [*sizes[1:], 0], strict=True):
            i, state = stretch(i, state, size, room)
        return state
    steps_down = tf.constant([*sizes, 0])

    def go_on(i: Tensor, state: Any) -> tuple[Tensor, Any]:
        last = tf.math.count_nonzero(steps_down >= undecided(state), dtype=tf.int32) - 1
        return stretch(i, state, steps_down[last], steps_down[last + 1])

    return tf.while_loop(lambda i, state: tf.logical_and(i < times, undecided(state) > 0), go_on, (i, state), parallel_iterations=1)[1]


def sizes_from(n: int) -> list[int]:
    """How many images may be in work together, from n down to a few."""
    cut = 0.5 if use_xla() else 0.8  # there each size takes a loop of its own, and time to compile it
    sizes = [n]
    while sizes[-1] > SMALLEST_BATCH:
        sizes.append(min(math.ceil(cut * sizes[-1]), sizes[-1] - 1))
    return sizes


def _put(whole: Tensor, rows: Tensor, part: Tensor) -> Tensor:
    """`whole` with the rows numbered `rows`, all different, replaced."""
    return tf.tensor_scatter_nd_update(whole, rows[:, None], part)
