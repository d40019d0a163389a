"""One compiled step of training, and its optimiser."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from advrun.engine.backend import is_half, keras, tf
from advrun.engine.graphs import compiled
from advrun.engine.pixels import to_unit
from advrun.engine.rng import Rng, drawing
from advrun.types import Tensor


def adam(learning_rate: float, beta_1: float = 0.9) -> Any:
    """Adam (Kingma and Ba, 2015, arXiv:1412.6980), with loss scaling where the weights' policy is half precision."""
    optimizer = keras.optimizers.Adam(learning_rate, beta_1=beta_1)
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
        self.train = compiled(self.step)
        self.validate = compiled(self._validate)

    def step(self, images: Tensor, y: Tensor, key: Tensor) -> dict[str, Tensor]:
        """One step, not compiled: means over the batch."""
        weights = self.model.trainable_variables
        with tf.GradientTape() as tape, drawing(Rng(key)):
            values = self.objective(to_unit(images), y, Rng(key), training=True)
            loss = tf.reduce_mean(values["loss"])
            total = self.optimizer.scale_loss(loss + sum(self.model.losses))
        self.optimizer.apply(tape.gradient(total, weights), weights)
        return {name: tf.reduce_mean(value) for name, value in values.items()}

    def _validate(self, images: Tensor, y: Tensor, key: Tensor) -> dict[str, Tensor]:
        with drawing(Rng(key)):
            return self.objective(to_unit(images), y, Rng(key), training=False)

    def state(self) -> list[np.ndarray]:
        """All numbers that a resumed training needs: model and optimiser variables."""
        return [variable.numpy() for variable in self._variables()]

    def restore(self, state: list[np.ndarray]) -> None:
        for variable, value in zip(self._variables(), state, strict=True):
            variable.assign(value)

    def _variables(self) -> list[Any]:
        return [*self.model.variables, *self.optimizer.variables]


class Game:
    """Training steps of several networks, one after the other on each batch, as one compiled step: a GAN, or a teacher and its student.

    Args:
        players: by name, in order. A player's values get its name before them, "discriminator_loss"; those of the player "" do not.
    """

    def __init__(self, players: Mapping[str, TrainStep]) -> None:
        self.players = players
        self.train = compiled(self._train)
        self.validate = compiled(self._validate)

    def _train(self, images: Tensor, y: Tensor, key: Tensor) -> dict[str, Tensor]:
        return self._each(lambda step, key: step.step(images, y, key), key)

    def _validate(self, images: Tensor, y: Tensor, key: Tensor) -> dict[str, Tensor]:
        return self._each(lambda step, key: step.objective(to_unit(images), y, Rng(key), training=False), key)

    def _each(self, play: Callable[[TrainStep, Tensor], dict[str, Tensor]], key: Tensor) -> dict[str, Tensor]:
        values: dict[str, Tensor] = {}
        for i, (name, step) in enumerate(self.players.items()):
            values |= {f"{name}_{each}".strip("_"): value for each, value in play(step, Rng(key).fold(i).key).items()}
        return values

    def state(self) -> list[np.ndarray]:
        """All numbers that a resumed training needs, of all players."""
        return [array for step in self.players.values() for array in step.state()]

    def restore(self, state: list[np.ndarray]) -> None:
        for step in self.players.values():
            count = len(step.state())
            step.restore(state[:count])
            state = state[count:]
