"""Training: epochs over shuffled batches, best weights by validation, early stop, resumable after a kill.

Everything random is drawn by (seed, epoch, step), and a checkpoint holds all weights and optimiser variables, so a
training that was killed and resumed ends with the same weights, bit for bit, as one that was not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from advrun import engine
from advrun.attack import bind
from advrun.checkpoints import Checkpoints, Section
from advrun.console import Console
from advrun.data import Dataset
from advrun.engine import Game, Progress, Rng, TrainStep, ops
from advrun.errors import ConfigError, ModelError, PluginError
from advrun.lesson import History, Lesson
from advrun.losses import cross_entropy
from advrun.registry import Plugin
from advrun.robust import ROBUST, RobustAccuracy
from advrun.samples import Samples
from advrun.system.classifier import batches
from advrun.types import Tensor

Objective = Callable[..., dict[str, Tensor]]
"""(x (n, h, w, c) float32 in [0, 1], y (n,) int32, rng: Rng, training: bool) -> {"loss": (n,), more names: (n,)}.

With a parameter `progress` it sees how far the training is (`engine.Progress`), with `memory` the variables that it keeps.
"""
Update = Callable[..., dict[str, Tensor]]
"""(step: TrainStep, x, y, rng, progress) -> the objective's values: one update of the weights, by `step.backward` and `step.apply`."""


Picture = Callable[[], Any]
"""() -> a few images (k, h, w, c) in [0, 1]."""
Before = Callable[["Fit", int], None]
"""(the fit, the number of the epoch, the first being 0) -> None: what is done before an epoch; a resumed training does it again."""


@dataclass(frozen=True, eq=False)
class Player:
    """A network that learns against others in `Fit.game`: what makes its mean loss small, how a batch moves it, and Adam's beta_1."""

    network: Any
    objective: Objective
    update: Update | None = None
    momentum: float = 0.9


@dataclass(frozen=True, eq=False)
class OwnImages:
    """What an attack learns from: x_train (n, h, w, c), y_train (n, ...), whatever its objective wants to know of each image."""

    x_train: np.ndarray
    y_train: np.ndarray

    def validation_split(self, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Row numbers (training, validation): `fraction` of the images."""
        order = np.random.default_rng([seed, 0x5EED]).permutation(len(self.y_train))
        count = min(round(fraction * len(order)), len(order) - 1)
        return np.sort(order[count:]), np.sort(order[:count])


@dataclass(frozen=True)
class Pace:
    """How long and how fast an attack trains; as the `train` of an experiment."""

    epochs: int
    batch_size: int
    learning_rate: float
    patience: int
    schedule: str | None = None
    ema: float = 0.0
    robust_attack: None = None


@dataclass
class Fit:
    """How a defence or a plain classifier is trained: `fit(model, objective)` returns the model with its best weights.

    data, seed and the training settings are the experiment's. Several calls in one cell (a purifier first, then the whole
    system) each have their own checkpoint and curves; `histories` collects the curves by stage name, `fitted` the weights of each call,
    `learnt` what `statistics` gave, by name.
    """

    data: Dataset | OwnImages
    settings: Any
    validation: float
    seed: int
    checkpoints: Checkpoints | Section
    console: Console
    label: str
    histories: dict[str, History] = field(default_factory=dict)
    fitted: list[list[np.ndarray]] = field(default_factory=list)
    learnt: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    pictures: dict[str, np.ndarray] = field(default_factory=dict)
    lesson: Lesson | None = None
    """Of an attack that learns: what it asked of the attacked model is kept with the weights."""

    @classmethod
    def of_attack(
        cls, lesson: Lesson, x: np.ndarray, y: np.ndarray, *, epochs: int, batch_size: int, learning_rate: float, validation: float = 0.1
    ) -> Fit:
        """How an attack trains networks of its own on x (n, h, w, c) float32, and what its objective is told of each image, y (n, ...)."""
        data = OwnImages(x, y)
        batch_size = min(batch_size, len(data.validation_split(validation, lesson.seed)[0]))
        return cls(
            data=data,
            settings=Pace(epochs, batch_size, learning_rate, patience=epochs),
            validation=validation,
            seed=lesson.seed,
            checkpoints=lesson.checkpoints,
            console=lesson.console,
            label=lesson.label,
            histories=lesson.histories,
            pictures=lesson.pictures,
            lesson=lesson,
        )

    def __call__(
        self,
        model: Any,
        objective: Objective,
        *,
        monitor: str = "loss",
        stage: str = "",
        system: Any = None,
        update: Update | None = None,
        schedule: str = "constant",
        before: Before | None = None,
        memory: Mapping[str, np.ndarray] | None = None,
    ) -> Any:
        """Train `model` to make the mean of objective["loss"] small.

        Args:
            model: its trainable weights move.
            objective: per-example values of a batch; one of them is called "loss".
            monitor: which of the objective's values, on the validation images, chooses the best epoch: the lowest if it
                ends in "loss", else the highest; "" for the last epoch. `train.monitor` may say otherwise.
            stage: name of this training among several of one cell.
            system: the Keras model that classifies images, where that is not `model` itself but what it is a part of; its robust
                accuracy is looked at where `train.monitor` asks for it.
            update: how a batch moves the weights; down the gradient of the loss by default.
            schedule: of the learning rate, where `train.schedule` names none.
            before: called before each epoch.
            memory: arrays that objective and update keep from step to step, by name, as they begin. They are saved with the checkpoints.

        Raises:
            ModelError: when the loss becomes NaN or infinite. ConfigError: where robust accuracy is to be looked at, and there is none.
        """
        settings = self.settings
        step = TrainStep(
            model,
            objective,
            engine.adam(settings.learning_rate),
            update=update,
            schedule=settings.schedule or schedule,
            ema=settings.ema,
            memory=memory,
        )
        attack = settings.robust_attack
        robust = attack and RobustAccuracy(model if system is None else system, bind(attack), self.label)
        self.play(step, monitor=monitor, stage=stage, before=before, robust=robust)
        self.fitted.append(model.get_weights())
        return model

    def game(self, model: Any, players: Mapping[str, Player], *, stage: str = "") -> Any:
        """Train networks that learn from one another, one after the other on each batch, as those of a GAN do; the last epoch is taken.

        Args:
            model: the one that is kept, with its last weights.
            players: by name, in order; curves are called after them, "critic_loss", but those of the player "".
            stage: as above.

        Raises:
            ModelError: when a loss becomes NaN or infinite. ConfigError: where the training shall keep an average or the most robust epoch.
        """
        settings = self.settings
        if settings.robust_attack or settings.ema:
            asked = "monitor: robust_accuracy" if settings.robust_attack else f"ema: {settings.ema:g}"
            raise ConfigError(f"{self.label}: {asked} is not for networks that play against one another; take it out of its train section")
        steps = {
            name: TrainStep(
                player.network,
                player.objective,
                engine.adam(settings.learning_rate, player.momentum),
                update=player.update,
                schedule=settings.schedule or "constant",
            )
            for name, player in players.items()
        }
        self.play(Game(steps), monitor="", stage=stage)
        self.fitted.append(model.get_weights())
        return model

    def statistics(self, name: str, compute: Callable[[Samples, Samples], Mapping[str, Any]]) -> dict[str, np.ndarray]:
        """Arrays that a defence learns otherwise than by training: thresholds, means of classes. They are kept with its weights.

        Args:
            name: of these arrays among all of the defence.
            compute: called with the images that are trained on and those that are held out for validation; returns arrays by name.

        Raises:
            ModelError: where the name is taken, or the arrays hold anything but finite numbers.
        """
        if name in self.learnt:
            raise ModelError(f"{self.label}: statistics {name!r} are there already; give these another name")
        parts = [Samples(self.data.x_train, self.data.y_train, rows) for rows in self.data.validation_split(self.validation, self.seed)]
        found = {key: np.asarray(value) for key, value in compute(*parts).items()}
        for key, value in found.items():
            if value.dtype.kind not in "fiub" or not np.isfinite(value).all():
                raise ModelError(f"{self.label}: {key} of the statistics {name!r} is {value.dtype} with values that are no numbers")
        self.learnt[name] = found
        return found

    def play(
        self,
        step: TrainStep | Game,
        *,
        monitor: str = "loss",
        stage: str = "",
        picture: Picture | None = None,
        robust: RobustAccuracy | None = None,
        before: Before | None = None,
    ) -> None:
        """Train what `step` trains, which ends with its best weights.

        Args:
            step: one compiled step, of one network or of several. Its values must hold "loss".
            monitor, stage, before: as above.
            picture: called after each epoch for a few images (k, h, w, c) in [0, 1]; `pictures` collects them, (epochs, k, h, w, c) uint8.
            robust: asked after each epoch about the validation images; its answer then chooses the best epoch.
        """
        run = _Run(self, step, monitor, stage, picture, robust)
        run.resume()
        with self.console.bar(f"{self.label} {stage}".strip(), self.settings.epochs) as bar:
            bar.advance(run.epoch)
            while not run.finished:
                if before:
                    before(self, run.epoch)
                run.one_epoch(bar)
        self.histories[stage] = run.history
        if run.pictures:
            self.pictures[stage] = np.stack(run.pictures)
        run.use_best()


class _Run:
    """The state of one training: epoch, weights, best weights, history."""

    def __init__(
        self,
        fit: Fit,
        step: TrainStep | Game,
        monitor: str,
        stage: str,
        picture: Picture | None = None,
        robust: RobustAccuracy | None = None,
    ) -> None:
        self.fit, self.step, self.stage, self.picture, self.robust = fit, step, stage, picture, robust
        self.monitor = ROBUST if robust else monitor
        self.train_rows, self.validation_rows = fit.data.validation_split(fit.validation, fit.seed)
        self.batch_size = fit.settings.batch_size
        if robust and not len(self.validation_rows):
            raise ConfigError(f"{fit.label}: {ROBUST} comes from validation images, and there are none; make data.validation larger")
        if len(self.train_rows) < self.batch_size:
            raise ConfigError(
                f"train.batch_size is {self.batch_size}, but there are {len(self.train_rows)} training images; make it smaller"
            )
        self.history: History = {}
        self.best: list[np.ndarray] = step.weights()
        self.best_epoch = 0
        self.pictures: list[np.ndarray] = []

    @property
    def epoch(self) -> int:
        return len(self.history.get("loss", ()))

    @property
    def finished(self) -> bool:
        settings = self.fit.settings
        return self.epoch >= settings.epochs or self.epoch - self.best_epoch >= settings.patience

    def one_epoch(self, bar: Any) -> None:
        data, seed, epoch = self.fit.data, self.fit.seed, self.epoch
        order = np.random.default_rng([seed, epoch]).permutation(self.train_rows)
        totals: dict[str, float] = {}
        steps = len(order) // self.batch_size
        for i in range(steps):
            rows = order[i * self.batch_size : (i + 1) * self.batch_size]
            progress = Progress.at(epoch, i, steps, self.fit.settings.epochs, rows)
            values = self.step.train(data.x_train[rows], data.y_train[rows], Rng.from_seed(seed, epoch, i).key, progress)
            if i == 0 or i % 20 == 19:
                loss = float(values["loss"])
                if not np.isfinite(loss):
                    rate = f"{'' if self.fit.lesson else 'train.'}learning_rate"
                    raise ModelError(f"{self.fit.label}: the loss is {loss} in epoch {epoch + 1}; try a smaller {rate}")
                bar.advance(0, f"epoch {epoch + 1}, step {i + 1} of {steps}, loss {loss:.3f}")
            for name, value in values.items():
                totals[name] = totals.get(name, 0.0) + value
        means = {name: float(total) / steps for name, total in totals.items()}
        with self.step.averaged():
            means |= {
                f"val_{name}": value for name, value in self.validate(Progress.at(epoch + 1, 0, steps, self.fit.settings.epochs)).items()
            }
        for name, value in means.items():
            self.history.setdefault(name, []).append(value)
        *earlier, latest = self.scores()
        if latest > max(earlier, default=-np.inf):
            self.best, self.best_epoch = self.step.weights(), self.epoch
        if self.picture:
            self.pictures.append(np.rint(255 * np.asarray(self.picture())).astype(np.uint8))
        self.save()
        bar.advance(1, ", ".join(f"{name} {value:.3f}" for name, value in means.items()))

    def validate(self, progress: Progress) -> dict[str, float]:
        """Means over the validation images; nothing where none were held out."""
        rows = self.validation_rows
        if len(rows) == 0:
            return {}
        x, y = self.fit.data.x_train[rows], self.fit.data.y_train[rows]
        totals: dict[str, float] = {}
        key = Rng.from_seed(self.fit.seed, 0xFACE).key
        for (images, size), (labels, _) in zip(batches(x, 256), batches(y, 256), strict=True):
            for name, value in self.step.validate(images, labels, key, progress).items():
                totals[name] = totals.get(name, 0.0) + float(np.asarray(value)[:size].sum())
        robust = {ROBUST: self.robust(x, y, self.fit.seed)} if self.robust else {}
        return {name: total / len(rows) for name, total in totals.items()} | robust

    def scores(self) -> list[float]:
        """One number for each epoch, larger is better."""
        if f"val_{self.monitor}" not in self.history:  # nothing held out: the last epoch is the best that can be known
            known = [name.removeprefix("val_") for name in self.history if name.startswith("val_")]
            if known and self.monitor:
                raise PluginError(f"monitor is {self.monitor!r}, which the objective does not give; it gives {', '.join(known)}")
            return [float(epoch) for epoch in range(self.epoch)]
        values = self.history[f"val_{self.monitor}"]
        return [-value for value in values] if self.monitor.endswith("loss") else list(values)

    def use_best(self) -> None:
        self.step.end(self.best)

    # Checkpoints -------------------------------------------------------------------------------------------------

    @property
    def _name(self) -> str:
        return f"fit-{self.stage or 'model'}"

    def save(self) -> None:
        state = {f"state_{i}": value for i, value in enumerate(self.step.state())}
        best = {f"best_{i}": value for i, value in enumerate(self.best)}
        asked = self.fit.lesson.asked() if self.fit.lesson else {}
        progress = json.dumps({"history": self.history, "best_epoch": self.best_epoch, "asked": asked})
        pictures = {"pictures": np.stack(self.pictures)} if self.pictures else {}
        self.fit.checkpoints.put(self._name, {**state, **best, **pictures, "progress": np.array(progress)})
        if self.finished:
            self.fit.checkpoints.flush()

    def resume(self) -> None:
        most = 2 * sum(array.nbytes for array in [*self.step.state(), *self.best]) + (1 << 20)  # with room for the curves
        if self.fit.checkpoints.get(self._name, self._take, most):
            self.fit.console.event("resumed", label=self.fit.label, epoch=self.epoch)

    def _take(self, saved: Mapping[str, np.ndarray]) -> bool:
        """Go on from a checkpoint. Raises ValueError, and changes nothing, where it is none of this training."""
        state, best = (
            [_like(array, saved[f"{kind}_{i}"]) for i, array in enumerate(arrays)]
            for kind, arrays in (("state", self.step.state()), ("best", self.best))
        )
        progress = json.loads(str(saved["progress"]))
        history, best_epoch = progress["history"], progress["best_epoch"]
        curves = [[float(value) for value in curve] for curve in history.values()]
        if not curves or len({len(curve) for curve in curves}) != 1 or "loss" not in history or not 0 <= best_epoch <= len(curves[0]):
            raise ValueError("curves that do not belong together")
        if len(curves[0]) > self.fit.settings.epochs:
            raise ValueError("more epochs than are to be trained")
        pictures = list(saved.get("pictures", ()))
        if self.picture and len(pictures) != len(curves[0]):
            raise ValueError("not a picture for each epoch")
        asked = {name: int(count) for name, count in progress.get("asked", {}).items()}
        self.step.restore(state)
        self.best, self.history, self.best_epoch = best, dict(zip(history, curves, strict=True)), int(best_epoch)
        self.pictures = pictures
        if self.fit.lesson:
            self.fit.lesson.asked_already(asked)
        return True


def _like(ours: np.ndarray, saved: np.ndarray) -> np.ndarray:
    """The saved array. Raises ValueError where it cannot stand in the place of ours."""
    if (saved.shape, saved.dtype) != (ours.shape, ours.dtype):
        raise ValueError(f"an array of shape {saved.shape} where the model has {ours.shape}: of another architecture")
    if ours.dtype.kind == "f" and not np.isfinite(saved).all():
        raise ValueError("weights that are NaN or infinite")
    return saved


def trained(plugin: Plugin, settings: Mapping[str, Any], fit: Fit) -> Any:
    """An architecture built for the data and trained: as its file's function `objective` says, or by cross-entropy.

    Raises ConfigError, from the architecture, where the images do not suit it; ModelError where the training diverges.
    """
    data = cast(Dataset, fit.data)  # images of an attack's own are for networks of its own
    model = plugin.function(data.image_shape, data.classes, **settings)
    network, objective = plugin.objective(model, settings) or (model, classification(model))
    fit(network, objective, monitor="accuracy", system=model)
    return model


def classification(model: Any) -> Objective:
    """The plain objective: cross-entropy of clean images, with accuracy beside it."""

    def objective(x: Tensor, y: Tensor, rng: Rng, training: bool) -> dict[str, Tensor]:
        logits = model(x, training=training)
        return {"loss": cross_entropy(logits, y), "accuracy": accuracy(logits, y)}

    return objective


def accuracy(logits: Tensor, y: Tensor) -> Tensor:
    """1 where the largest logit is the label's, else 0; float32 (n,)."""
    return ops.cast(ops.equal(ops.argmax(logits, axis=-1), ops.cast(y, "int32")), "float32")
