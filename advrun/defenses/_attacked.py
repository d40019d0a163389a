"""Training images under attack, as adversarial training meets them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from advrun import engine
from advrun.checkpoints import Checkpoints, Section
from advrun.engine import Rng, keras, ops
from advrun.errors import ConfigError
from advrun.images import HELD
from advrun.lesson import Learnt, Lesson
from advrun.losses import cross_entropy
from advrun.train import Fit, Objective, accuracy
from advrun.types import Tensor


def on_pairs(network: Any, craft: Callable[..., Tensor], loss: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Objective:
    """The objective of a training that looks at clean images and at attacked ones beside them.

    Args:
        network: what is trained.
        craft: (x, y, rng, training) -> the attacked images.
        loss: (logits of clean images, of attacked ones, y) -> (n,).
    """

    def objective(x: Tensor, y: Tensor, rng: Rng, training: bool) -> dict[str, Tensor]:
        x_adv = craft(x, y, rng, training)
        clean, adversarial = network(x, training=training), network(x_adv, training=training)
        return {
            "loss": loss(clean, adversarial, y),
            "accuracy": accuracy(clean, y),
            "adversarial_accuracy": accuracy(adversarial, y),
        }

    return objective


def mixture(ratio: float) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """(1 - r) J(x, y) + r J(x_adv, y) of the logits of clean images and attacked ones."""
    return lambda clean, adversarial, y: (1 - ratio) * cross_entropy(clean, y) + ratio * cross_entropy(adversarial, y)


def attacked(attack: Any, learner: Any, undefended: Any, x: Tensor, y: Tensor, rng: Rng, replay: float) -> Tensor:
    """Adversarial images of an attack that learns nothing, as `Opponent` makes them. Raises ConfigError for one that does."""
    opponent = Opponent(attack, learner, undefended, replay)
    if opponent.learns:
        raise ConfigError(f"attack {attack.plugin.name!r} learns before it attacks, and this defence gives it no time to")
    return opponent(x, y, rng)


class Opponent:
    """Attacks the batches of a training; no gradient flows back into how the images were made.

    A share `replay` is crafted on the undefended classifier, the rest on the learner as it is now: ensemble adversarial training (Tramèr
    et al., 2018, arXiv:1705.07204, section 4) with one static model.

    An attack that learns (a network that attacks, one perturbation for all images) learns against the undefended classifier once, and
    against the learner, from nothing, before each epoch; see `Generations`. The training must say so: `fit(..., before=opponent.prepare)`.

    Args:
        attack: what the batches are attacked with.
        learner: the system in training.
        undefended: the one before.
        replay: a share, 0 to 1.
        generations: of an attack that learns, how many of the last fits against the learner attack each batch, in equal shares.

    Raises:
        ConfigError: for a cascade, which is more than one function of a batch.
    """

    def __init__(self, attack: Any, learner: Any, undefended: Any, replay: float = 0.0, generations: int = 1) -> None:
        self.replay, self.learns = replay, attack.plugin.fit is not None
        self.static = Generations(attack, undefended, "undefended", 1)
        self.latest = Generations(attack, learner, "learner", generations)

    def __call__(self, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        """Adversarial images for a batch of a known size."""
        count = round(self.replay * x.shape[0])
        parts = [*self.static(x[:count], y[:count], rng.fold(0)), *self.latest(x[count:], y[count:], rng.fold(1))]
        return ops.stop_gradient(ops.concatenate(parts))

    def prepare(self, fit: Fit, epoch: int) -> None:
        """Called before each epoch, the first being 0: what learns, learns."""
        if self.replay > 0:
            self.static.prepare(fit, 0)
        if self.replay < 1:
            self.latest.prepare(fit, epoch)


class Repertoire:
    """Several attacks on a system that stays as it is, each on an equal share of a batch, and each image at a strength of its own.

    So the training set of Liao et al. (2018, arXiv:1712.02976, section 4.1) is made, anew for each batch. What learns, learns once: the
    training must say `fit(..., before=repertoire.prepare)`.

    Args:
        attacks: as many as may be.
        system: what they attack.
        weakest: the strength of each image is drawn between this share of the attack's eps, 0 to 1, and the whole; an attack without eps
            is as strong as it is.

    Raises:
        ConfigError: for a cascade.
    """

    def __init__(self, attacks: Sequence[Any], system: Any, weakest: float = 1.0) -> None:
        self.weakest = weakest
        self.each = [Generations(attack, system, f"undefended-{i}-", 1) for i, attack in enumerate(attacks)]

    def __call__(self, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        """Adversarial images for a batch of a known size, in its order; the first attack has the first share."""
        edges = np.linspace(0, x.shape[0], len(self.each) + 1).round().astype(int)
        parts: list[Tensor] = []
        for i, (one, rows) in enumerate(zip(self.each, map(slice, edges[:-1], edges[1:]), strict=True)):
            drawn = rng.fold(i)
            eps = one.attack.eps * drawn.uniform((rows.stop - rows.start,), self.weakest, 1.0)
            parts += one(x[rows], y[rows], drawn, eps if one.attack.plugin.needs_eps else None)
        return ops.stop_gradient(ops.concatenate(parts))

    def prepare(self, fit: Fit, epoch: int) -> None:
        """Called before each epoch: what learns, learns before the first."""
        for one in self.each:
            one.prepare(fit, 0)


class Generations:
    """An attack on one system; where it learns, the last `count` things that it learnt, each for an equal share of the images.

    A classifier soon knows what one generator does, and forgets what those before it did: several keep it from going in circles.
    Raises ConfigError for a cascade.
    """

    def __init__(self, attack: Any, system: Any, name: str, count: int) -> None:
        if attack.plugin.is_cascade:
            raise ConfigError(
                f"attack {attack.plugin.name!r} cannot run inside adversarial training: it is more than one function of a batch"
            )
        self.attack, self.system, self.name = attack, system, name
        self.count = count if attack.plugin.fit else 1
        self._learnt: dict[int, Any] = {}
        self._variables: list[Any] = []

    def __call__(self, x: Tensor, y: Tensor, rng: Rng, eps: Tensor | None = None) -> list[Tensor]:
        """Adversarial images, in parts that follow one another; nothing for no images. eps: (n,) in place of the attack's own."""
        edges = np.linspace(0, x.shape[0], self.count + 1).round().astype(int)
        made = []
        for i, rows in enumerate(map(slice, edges[:-1], edges[1:])):
            if rows.start < rows.stop:
                fitted = keras.tree.map_structure(_value, self._variables[i]) if self._variables else None
                size = None if eps is None else eps[rows]
                made.append(self.attack(self.system, x[rows], y[rows], rng.fold(i) if i else rng, size, fitted=fitted))
        return made

    def prepare(self, fit: Fit, number: int) -> None:
        """Learn for the time `number`, the first being 0, unless that was done before a kill; forget what is too old."""
        if self.attack.plugin.fit is None:
            return
        known = [self._of(fit, max(number - self.count + 1, 0) + i) for i in range(min(self.count, number + 1))]
        self._learnt = {each: fitted for each, fitted in self._learnt.items() if each > number - self.count}
        wanted = [known[i % len(known)] for i in range(self.count)]
        if not self._variables and known[0] is not None:
            self._variables = [keras.tree.map_structure(_variable, fitted) for fitted in wanted]
        for variables, fitted in zip(self._variables, wanted, strict=False):
            for variable, value in zip(keras.tree.flatten(variables), keras.tree.flatten(fitted), strict=True):
                variable.assign(value)

    def _of(self, fit: Fit, number: int) -> Any:
        """What was learnt at that time: nested arrays, or None where an attack learns into networks of its own."""
        checkpoints = Section(cast(Checkpoints, fit.checkpoints), f"{self.name}{number}-")
        if number not in self._learnt:
            kept = checkpoints.get("fit", Learnt.from_arrays)
            if kept is None:
                kept = self._learn(fit, number, checkpoints)
            self._learnt[number] = kept.fitted
        return self._learnt[number]

    def _learn(self, fit: Fit, number: int, checkpoints: Section) -> Learnt:
        x, y = fit.data.x_train, fit.data.y_train
        rows = fit.data.validation_split(fit.validation, fit.seed)[0]
        rows = np.random.default_rng([fit.seed, 0x5F00, number]).permutation(rows)[: max(HELD // x[:1].nbytes, 1)]
        seed = int(np.random.default_rng([fit.seed, 0x0BB0, number]).integers(2**31))
        lesson = Lesson(seed, checkpoints, fit.console, f"{fit.label}, {self.attack.plugin.name} {number + 1}")
        learnt = Learnt(self.attack.fit(self.system, engine.to_unit(np.asarray(x[rows])), np.asarray(y[rows]), seed, None, lesson))
        for note in lesson.notes:
            logging.getLogger("advrun").info("%s: %s", lesson.label, note)
        if learnt.fitted is not None:
            checkpoints.put("fit", learnt.to_arrays())
            checkpoints.flush()
        return learnt


def _variable(array: Any) -> Any:
    return keras.Variable(array, trainable=False, dtype=np.asarray(array).dtype.name)


def _value(variable: Any) -> Tensor:
    return ops.convert_to_tensor(variable)
