"""The door to TensorFlow: nothing outside this folder imports it, and what others need of it is named here.

Importing it is cheap: TensorFlow and Keras load at first use. The same attack runs compiled, as one graph, and eagerly, one operation
after the other, with the same results.
"""

from advrun.engine.backend import devices, has_gpu, is_out_of_memory, keras, ops, reason, start, tf
from advrun.engine.counter import Counter
from advrun.engine.graphs import (
    compiled,
    flat,
    fused,
    in_python,
    jacobian,
    outside,
    select,
    shaped,
    straight_through,
    total,
    toward,
    traces,
    value_and_gradient,
    with_weights,
)
from advrun.engine.loops import repeat, repeat_undecided
from advrun.engine.pixels import to_unit
from advrun.engine.rng import EachImage, Rng, drawing, drawn
from advrun.engine.schedules import SCHEDULES
from advrun.engine.stray import keyed
from advrun.engine.training import Game, Progress, TrainStep, adam, replace_rows, take_rows

__all__ = [
    "SCHEDULES",
    "Counter",
    "EachImage",
    "Game",
    "Progress",
    "Rng",
    "TrainStep",
    "adam",
    "compiled",
    "devices",
    "drawing",
    "drawn",
    "flat",
    "fused",
    "has_gpu",
    "in_python",
    "is_out_of_memory",
    "jacobian",
    "keras",
    "keyed",
    "ops",
    "outside",
    "reason",
    "repeat",
    "repeat_undecided",
    "replace_rows",
    "select",
    "shaped",
    "start",
    "straight_through",
    "take_rows",
    "tf",
    "to_unit",
    "total",
    "toward",
    "traces",
    "value_and_gradient",
    "with_weights",
]
