"""Defensive distillation (Papernot, McDaniel, Wu, Jha and Swami, 2016, arXiv:1511.04508)."""

from __future__ import annotations

from typing import Any

from advrun.defenses._learner import against
from advrun.engine import Rng, keras, ops
from advrun.losses import one_hot
from advrun.system.copies import fresh_copy
from advrun.train import Fit, Objective, accuracy
from advrun.types import Positive, Tensor

PRESETS = {"paper": {"temperature": 20.0}, "strong": {"temperature": 100.0}}


def distillation(model: Any, fit: Fit, *, temperature: Positive = 20.0) -> Any:
    """A teacher is trained at a high softmax temperature T, then a student of the same architecture on its probabilities, at T too.

    Both learn -sum_k t_k log softmax(z / T)_k, the teacher from labels, the student from the teacher (section IV). The student is used at
    T = 1, so its logits are some T times as large and its softmax saturates: gradients of the cross-entropy vanish in float32. Carlini and
    Wagner (2017, arXiv:1608.04644) broke it by losses of the logits; nothing here stops an attack. NOTE: a last Dense layer begins T times
    as large, so that both begin as without a temperature; else a network of tanh saturates on its way to logits of that size, and learns
    nothing but how frequent the classes are.

    Args:
        temperature: T; the paper tries 1 to 100, and takes 20 for MNIST and CIFAR-10.
    """
    teacher, student = (enlarged(fresh_copy(model), temperature) for _ in range(2))
    fit(teacher, softened(teacher, temperature), monitor="accuracy", stage="teacher")
    return fit(student, softened(student, temperature, teacher), monitor="accuracy", stage="student")


def enlarged(network: Any, factor: float) -> Any:
    """The network, whose last layer, if it is Dense and linear, is `factor` times as large."""
    last = network.layers[-1]
    if isinstance(last, keras.layers.Dense) and last.activation is keras.activations.linear:
        last.set_weights([factor * weight for weight in last.get_weights()])
    return network


def softened(network: Any, temperature: float, teacher: Any = None) -> Objective:
    """Cross-entropy at a temperature, against the teacher's probabilities at the same, or against the labels."""

    def objective(x: Tensor, y: Tensor, rng: Rng, training: bool) -> dict[str, Tensor]:
        logits = network(x, training=training)
        targets = one_hot(logits, y) if teacher is None else ops.softmax(teacher(x, training=False) / temperature, axis=-1)
        return {"loss": against(logits / temperature, ops.stop_gradient(targets)), "accuracy": accuracy(logits, y)}

    return objective
