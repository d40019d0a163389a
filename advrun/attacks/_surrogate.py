"""Networks that stand in for the attacked one: read from files, or trained here."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from advrun import engine
from advrun.engine import Rng, keras
from advrun.errors import ConfigError
from advrun.geometry import Ball
from advrun.system import Classifier
from advrun.train import classification
from advrun.types import Tensor

BATCH = 64


@cache
def network(owner: str, image_shape: tuple[int, ...], classes: int) -> Classifier:
    """The one surrogate of an attack for images and classes of this kind: compiled code refers to its variables. `train` fills them."""
    from advrun.models.cnn import cnn

    blocks = max(min(3, int(np.log2(min(image_shape[:2])))), 1)
    return Classifier(cnn(image_shape, classes, width=16, blocks=blocks, dropout=0.0), name=owner)


def from_files(paths: tuple[str, ...], image_shape: tuple[int, ...], classes: int) -> Classifier:
    """The mean of the logits of one or several model files (Dong et al., 2018, arXiv:1710.06081). Raises ConfigError, ModelError."""
    return _ensemble(paths, tuple(Path(path).stat().st_mtime_ns if Path(path).exists() else 0 for path in paths), image_shape, classes)


@cache
def _ensemble(paths: tuple[str, ...], written: tuple[int, ...], image_shape: tuple[int, ...], classes: int) -> Classifier:
    """`written` tells a file from the one that had its name before."""
    members = [Classifier.from_file(path) for path in paths]
    for path, member in zip(paths, members, strict=True):
        if member.image_shape != image_shape or member.classes != classes:
            raise ConfigError(
                f"transfer: {path} maps images {member.image_shape} to {member.classes} classes; "
                f"the attacked model {image_shape} to {classes}"
            )
    if len(members) == 1:
        return members[0]
    inputs = keras.Input(image_shape)
    # Models saved by one program have one name; here each needs its own.
    named = [keras.Model(member.model.inputs, member.model.outputs[0], name=f"member{i}") for i, member in enumerate(members)]
    return Classifier(keras.Model(inputs, keras.layers.Average()([each(inputs) for each in named]), name="ensemble"))


def reset(model: Any, seed: list[int]) -> None:
    """Weights that only the seed decides: Glorot's uniform ones, normalisation that changes nothing, and zeros."""
    rng = np.random.default_rng(seed)
    for weight in model.trainable_variables:
        if len(weight.shape) > 1:
            limit = np.sqrt(6 / (np.prod(weight.shape[:-1]) + weight.shape[-1]))
            weight.assign(rng.uniform(-limit, limit, weight.shape))
        else:
            weight.assign(np.ones(weight.shape) if weight.name == "gamma" else np.zeros(weight.shape))
    for weight in model.non_trainable_variables:
        if weight.name.startswith("moving"):
            weight.assign(np.ones(weight.shape) if "variance" in weight.name else np.zeros(weight.shape))


class Student:
    """Trains a surrogate, from weights that only the seed decides."""

    def __init__(self, surrogate: Classifier, seed: np.ndarray) -> None:
        self.model, self.seed, self.epoch = surrogate.model, [int(number) & 0xFFFFFFFF for number in seed], 0
        reset(self.model, self.seed)
        self.step = engine.TrainStep(self.model, classification(self.model), engine.adam(1e-3))

    def learn(self, x: np.ndarray, y: np.ndarray, epochs: int) -> None:
        """Pass over the images `epochs` times, each time in another order; what fills no batch is left out of that pass."""
        size = min(BATCH, len(x))
        for _ in range(epochs):
            self.epoch += 1
            order = np.random.default_rng([*self.seed, self.epoch]).permutation(len(x))
            for i in range(0, len(x) - size + 1, size):
                rows = order[i : i + size]
                self.step.train(x[rows], y[rows].astype(np.int32), Rng.from_seed(*self.seed, self.epoch, i).key)


def craft_on(surrogate: Classifier, name: str, *, targeted: bool, x: Tensor, y: Tensor, ball: Ball, rng: Rng) -> Tensor:
    """Adversarial images of the attack `name`, at its default settings, against the surrogate."""
    from advrun import registry
    from advrun.attack import Attack
    from advrun.config.entries import settings_of

    plugin = registry.crafter(name)
    return Attack(plugin, ball, settings_of(plugin, {}))(surrogate.toward() if targeted else surrogate, x, y, rng)
