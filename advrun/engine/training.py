"""One compiled step of training, and its optimiser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from advrun.engine.backend import is_half, keras, tf
from advrun.engine.graphs import compiled
from advrun.engine.pixels import to_unit
from advrun.engine.rng import Rng
from advrun.types import Tensor


def adam(learning_rate: float) -> Any:
    """Adam (Kingma and Ba, 2015, arXiv:1412.6980), with loss scaling where the weights' policy is half precision."""
    optimizer = keras.optimizers.Adam(learning_rate)
    return keras.optimizers.LossScaleOptimizer(optimizer) if is_half() else optimizer


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
