"""One compiled step of training, and its optimiser."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import numpy as np

from advrun.engine.backend import is_half, keras, ops, tf
from advrun.engine.graphs import compiled
from advrun.engine.pixels import to_unit
from advrun.engine.rng import Rng, drawing
from advrun.engine.schedules import SCHEDULES
from advrun.types import Tensor

FIRST_STEPS = 10
"""Of a moving average: while it is young its decay is (1 + t) / (10 + t), so that it soon forgets the weights that it began with."""


class Progress(NamedTuple):
    """Where a training stands.

    epoch, step: int32, from 0. share: of all steps done, float32, 0 to 1, 1 only when all is done. rows: which of the training images the
    batch has, (n,) int32; none in validation.
    """

    epoch: Tensor = np.array(0, np.int32)
    step: Tensor = np.array(0, np.int32)
    share: Tensor = np.array(0, np.float32)
    rows: Tensor = np.zeros(0, np.int32)

    @classmethod
    def at(cls, epoch: int, step: int, steps: int, epochs: int, rows: Any = ()) -> Progress:
        """Before the given step of the given epoch, both from 0; there are `steps` in each of `epochs`."""
        share = (epoch * steps + step) / (epochs * steps)
        return cls(np.array(epoch, np.int32), np.array(step, np.int32), np.array(share, np.float32), np.asarray(rows, np.int32))


def adam(learning_rate: float, beta_1: float = 0.9) -> Any:
    """Adam (Kingma and Ba, 2015, arXiv:1412.6980), with loss scaling where the weights' policy is half precision."""
    optimizer = keras.optimizers.Adam(learning_rate, beta_1=beta_1)
    return keras.optimizers.LossScaleOptimizer(optimizer) if is_half() else optimizer


class Backward(NamedTuple):
    """What a backward pass gives. values: (n,) by name; weights: a gradient for each trainable weight; images: that of the images (n, ...).

    In half precision the gradients are scaled, as `TrainStep.apply` expects them.
    """

    values: dict[str, Tensor]
    weights: list[Tensor]
    images: Tensor | None = None


class TrainStep:
    """One compiled step of training, and the same objective without it for validation.

    Args:
        model: the Keras model whose trainable weights move.
        objective: (x (n, h, w, c) float32 in [0, 1], y (n,) int32, rng, training) -> {"loss": (n,), further names: (n,)}. It may have
            two parameters more: `progress`, a `Progress`, and `memory`.
        optimizer: a Keras optimiser.
        update: (step, x, y, rng, progress) -> values (n,) by name: one update of the weights, by `backward` and `apply`.
        schedule: name of the learning-rate schedule; its peak is the optimiser's learning rate.
        ema: decay of a moving average of the weights, which is what is validated and kept: a <- d a + (1 - d) w, with d growing to `ema`.
        memory: arrays that objective and update keep from step to step, by name; both find them in `memory` as variables.
    """

    def __init__(
        self,
        model: Any,
        objective: Callable[..., dict[str, Tensor]],
        optimizer: Any,
        *,
        update: Callable[..., dict[str, Tensor]] | None = None,
        schedule: str = "constant",
        ema: float = 0.0,
        memory: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self.model, self.objective, self.optimizer = model, objective, optimizer
        self._update, self._schedule, self._ema = update or plain, schedule, ema
        optimizer.build(model.trainable_variables)
        self._peak = float(optimizer.learning_rate)
        self.memory = {name: keras.Variable(value, dtype=value.dtype, trainable=False) for name, value in (memory or {}).items()}
        self._averages = [keras.Variable(each.numpy(), dtype=each.dtype, trainable=False) for each in model.variables] if ema else []
        self._offered = inspect.signature(objective).parameters.keys() & {"progress", "memory"}
        # Training batches are dropped when ragged and validation batches padded, so each is traced once.
        self.train = compiled(self.step)
        self.validate = compiled(self.validation)

    def step(self, images: Tensor, y: Tensor, key: Tensor, progress: Progress = Progress()) -> dict[str, Tensor]:  # noqa: B008
        """One step, not compiled: means over the batch."""
        if self._schedule != "constant":
            self.optimizer.learning_rate = self._peak * SCHEDULES[self._schedule](progress.share)
        values = self._update(self, to_unit(images), y, Rng(key), progress)
        return {name: tf.reduce_mean(value) for name, value in values.items()}

    def validation(self, images: Tensor, y: Tensor, key: Tensor, progress: Progress = Progress()) -> dict[str, Tensor]:  # noqa: B008
        """The objective's values (n,), not compiled, and without a step."""
        return self.values(to_unit(images), y, Rng(key), progress, training=False)

    # What updates are made of --------------------------------------------------------------------------------------

    def values(self, x: Tensor, y: Tensor, rng: Rng, progress: Progress, *, training: bool, **given: Any) -> dict[str, Tensor]:
        """The objective's; `given` are parameters of its own, which an update may fill."""
        extra = {"progress": progress, "memory": self.memory}
        with drawing(Rng(rng.key)):  # what random stages draw from
            return self.objective(x, y, rng, training=training, **{name: extra[name] for name in self._offered}, **given)

    def backward(self, x: Tensor, y: Tensor, rng: Rng, progress: Progress, *, images: bool = False, **given: Any) -> Backward:
        """Values, and the gradients of the mean loss, by one backward pass; with `images` that of the images too."""
        weights = self.model.trainable_variables
        with tf.GradientTape() as tape:
            if images:
                tape.watch(x)
            values = self.values(x, y, rng, progress, training=True, **given)
            loss = tf.reduce_mean(values["loss"])
            total = self.optimizer.scale_loss(loss + sum(self.model.losses))
        return Backward(values, *tape.gradient(total, (weights, x))) if images else Backward(values, tape.gradient(total, weights))

    def apply(self, gradients: list[Tensor]) -> None:
        """One step of the optimiser, and of the moving average."""
        self.optimizer.apply(gradients, self.model.trainable_variables)
        if self._ema:
            age = ops.cast(self.optimizer.iterations, "float32")
            decay = ops.minimum(self._ema, (1 + age) / (FIRST_STEPS + age))
            for average, weight in zip(self._averages, self.model.variables, strict=True):
                is_real = np.dtype(weight.dtype).kind == "f"
                average.assign(decay * average + (1 - decay) * weight if is_real else weight)

    # The state -------------------------------------------------------------------------------------------------------

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """While inside, the model has the weights that count: their moving average, where there is one."""
        own = [variable.numpy() for variable in self.model.variables] if self._averages else []
        self.finish()
        try:
            yield
        finally:
            for variable, value in zip(self.model.variables, own, strict=bool(own)):
                variable.assign(value)

    def finish(self) -> None:
        """Give the model the weights that count."""
        for variable, average in zip(self.model.variables, self._averages, strict=bool(self._averages)):
            variable.assign(average)

    def weights(self) -> list[np.ndarray]:
        """Those that count."""
        return [variable.numpy() for variable in self._averages or self.model.variables]

    def end(self, weights: list[np.ndarray]) -> None:
        """The training ends with these weights."""
        for variable, value in zip(self.model.variables, weights, strict=True):
            variable.assign(value)

    def state(self) -> list[np.ndarray]:
        """All numbers that a resumed training needs: model and optimiser variables, averages, memory."""
        return [variable.numpy() for variable in self._variables()]

    def restore(self, state: list[np.ndarray]) -> None:
        for variable, value in zip(self._variables(), state, strict=True):
            variable.assign(value)

    def _variables(self) -> list[Any]:
        return [*self.model.variables, *self.optimizer.variables, *self._averages, *self.memory.values()]


def take_rows(variable: Any, rows: Tensor) -> Tensor:
    """variable[rows], (n, ...), without a copy of all others; `rows` (n,) int32."""
    return tf.gather(variable.value, rows)


def replace_rows(variable: Any, rows: Tensor, values: Tensor) -> None:
    """variable[rows] = values, in place; `rows` (n,) int32, `values` (n, ...), cast to the variable's type."""
    variable.value.scatter_nd_update(rows[:, None], ops.cast(values, variable.dtype))


def plain(step: TrainStep, x: Tensor, y: Tensor, rng: Rng, progress: Progress) -> dict[str, Tensor]:
    """The update of a common training: down the gradient of the loss."""
    made = step.backward(x, y, rng, progress)
    step.apply(made.weights)
    return made.values


class Game:
    """Training steps of several networks, one after the other on each batch, as one compiled step: a GAN, or a teacher and its student.

    Args:
        players: by name, in order. A player's values get its name before them, "discriminator_loss"; those of the player "" do not.
    """

    def __init__(self, players: Mapping[str, TrainStep]) -> None:
        self.players = players
        self.train = compiled(self._train)
        self.validate = compiled(self._validate)

    def _train(self, images: Tensor, y: Tensor, key: Tensor, progress: Progress = Progress()) -> dict[str, Tensor]:  # noqa: B008
        return self._each(lambda step, key: step.step(images, y, key, progress), key)

    def _validate(self, images: Tensor, y: Tensor, key: Tensor, progress: Progress = Progress()) -> dict[str, Tensor]:  # noqa: B008
        return self._each(lambda step, key: step.validation(images, y, key, progress), key)

    def _each(self, play: Callable[[TrainStep, Tensor], dict[str, Tensor]], key: Tensor) -> dict[str, Tensor]:
        values: dict[str, Tensor] = {}
        for i, (name, step) in enumerate(self.players.items()):
            values |= {f"{name}_{each}".strip("_"): value for each, value in play(step, Rng(key).fold(i).key).items()}
        return values

    def averaged(self) -> Any:
        """The networks of a game have no moving averages: a context that changes nothing."""
        return nullcontext()

    def weights(self) -> list[np.ndarray]:
        """Those of all players."""
        return [array for step in self.players.values() for array in step.weights()]

    def end(self, weights: list[np.ndarray]) -> None:
        """The training ends with these weights."""
        for step in self.players.values():
            count = len(step.model.variables)
            step.end(weights[:count])
            weights = weights[count:]

    def state(self) -> list[np.ndarray]:
        """All numbers that a resumed training needs, of all players."""
        return [array for step in self.players.values() for array in step.state()]

    def restore(self, state: list[np.ndarray]) -> None:
        for step in self.players.values():
            count = len(step.state())
            step.restore(state[:count])
            state = state[count:]
