"""Crafting and measuring: classifier + images + attack -> adversarial images -> a typed row.

An attack never judges itself. Every batch it returns is re-checked here (box, ball, NaN), its images are classified anew,
and what it cost is read off the classifier's counters. Images that are misclassified without any attack are not attacked.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from advrun import engine, registry
from advrun.classifier import Classifier, check_images, check_labels, pad
from advrun.console import Bar
from advrun.engine import Rng
from advrun.errors import BudgetError, ConfigError, ModelError
from advrun.geometry import Ball
from advrun.losses import cross_entropy
from advrun.metrics import Outcome
from advrun.registry import Plugin
from advrun.results import Result, Row, binomial_interval

TOLERANCE = 1e-6
"""By how much float32 rounding may leave the box or an Linf ball, in pixel units; for other norms 1e-5 of eps, at least of 1."""


@dataclass(frozen=True)
class Attack:
    """An attack with all its settings and its geometry: Linf(8/255), or L2() for a minimal-norm attack."""

    plugin: Plugin
    geometry: Ball | None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Attacks with the same key share one compiled graph: eps is an argument of the graph."""
        return json.dumps([self.plugin.name, str(type(self.geometry)), dict(self.settings)], default=str, sort_keys=True)

    @property
    def eps(self) -> float:
        return float(self.geometry.eps) if self.geometry is not None else 0.0

    def __call__(self, model: Any, x: Any, y: Any, rng: Rng, eps: Any = None) -> Any:
        """Adversarial tensors for tensors; `eps` replaces the geometry's, as a number or a scalar tensor."""
        arguments = self.plugin.arguments
        handed: dict[str, Any] = {}
        if self.geometry is not None:
            ball = self.geometry if eps is None else type(self.geometry)(eps)
            handed = {"ball": ball} if "ball" in arguments else {"norm": self.geometry}
        if "rng" in arguments:
            handed["rng"] = rng
        return self.plugin.function(model, x, y, **handed, **self.settings)

    def budget(self) -> str:
        """The settings that say how hard the attack tried, in a few words: `5 search steps x 100 steps`."""
        counts = [(name, value) for name, value in self.settings.items() if type(value) is int and value > 1]
        return " x ".join(f"{value} {name.replace('_', ' ')}" for name, value in counts)


@dataclass(frozen=True, eq=False)
class Crafted:
    """Adversarial images and what they cost.

    x_adv: (n, h, w, c) float32. attacked: (n,) bool, False for images left clean. target: (n,) int32 or None.
    gradients, queries: per attacked image. seconds: of the attack alone, compilation included.
    """

    x_adv: np.ndarray
    attacked: np.ndarray
    target: np.ndarray | None
    gradients: float
    queries: float
    seconds: float


def craft(
    classifier: Classifier,
    attack: Attack,
    x: np.ndarray,
    y: np.ndarray,
    *,
    seed: int = 0,
    batch_size: int = 256,
    target: str | int | None = None,
    only_correct: bool = True,
    checkpoints: Any = None,
    bar: Bar | None = None,
) -> Crafted:
    """Adversarial images for x.

    Args:
        classifier: the whole system under attack.
        attack: what to run.
        x: (n, h, w, c), uint8 or float32 in [0, 1].
        y: (n,) true labels.
        seed: of everything random in the attack.
        batch_size: images attacked at once; halved, with a warning, when they do not fit into memory.
        target: None, or the class to reach: a class number, "random", "least_likely" or "second" (most likely).
        only_correct: leave images alone that are misclassified already (and, targeted, those already of the target class).
        checkpoints: a `store.Checkpoints` that finished batches are kept in, and taken from.
        bar: advanced by one for each image.

    Raises:
        DataError, ConfigError: for images, labels or targets that do not fit the classifier.
        BudgetError: when the attack leaves its ball, the box, or returns NaN.
    """
    x = engine_unit(check_images(x, classifier.image_shape))
    y = check_labels(y, len(x), classifier.classes)
    logits = classifier.predict(x, batch_size)
    goal = None if target is None else choose_targets(target, logits, y, seed)
    attacked = np.ones(len(x), bool)
    if only_correct:
        attacked = logits.argmax(-1) == y if goal is None else (logits.argmax(-1) == y) & (goal != y)
    rows = np.flatnonzero(attacked)
    batch_size = min(batch_size, max(len(rows), 1))
    x_adv, cost = x.copy(), np.zeros(3)
    runner = _Batches(classifier, attack, seed, batch_size, checkpoints, targeted=goal is not None)
    start = 0
    while start < len(rows):
        batch = rows[start : start + runner.batch_size]
        images, spent = runner(x[batch], (y if goal is None else goal)[batch], start)
        if images is None:  # did not fit: the same images again, at half the batch size
            continue
        x_adv[batch], cost = images, cost + spent
        start += len(batch)
        if bar is not None:
            bar.advance(len(batch))
    gradients, queries = cost[:2] / max(len(rows), 1)
    return Crafted(x_adv, attacked, goal, float(gradients), float(queries), float(cost[2]))


class _Batches:
    """Runs the compiled attack on one batch after the other, all of one shape."""

    def __init__(self, classifier: Classifier, attack: Attack, seed: int, batch_size: int, checkpoints: Any, *, targeted: bool) -> None:
        self.attack, self.seed, self.batch_size, self.checkpoints = attack, seed, batch_size, checkpoints
        self.view = classifier.toward() if targeted else classifier

    @cached_property
    def run(self) -> Any:
        def build() -> Any:
            return lambda x, y, key, eps: self.attack(self.view, x, y, Rng(key), eps)

        return self.view.compiled(self.attack.key, build)

    def __call__(self, x: np.ndarray, y: np.ndarray, start: int) -> tuple[np.ndarray | None, np.ndarray]:
        """Images, and (gradients, queries, seconds) summed over them; None when the batch did not fit into memory."""
        name = f"{start}-{len(x)}"
        saved = self.checkpoints.get(name) if self.checkpoints else None
        if saved is None:
            try:
                saved = self._attack(x, y, start)
            except Exception as error:
                if not engine.is_out_of_memory(error) or self.batch_size == 1:
                    raise
                self.batch_size = max(min(self.batch_size, len(x)) // 2, 1)
                import logging

                logging.getLogger("advrun").warning("out of memory: batch size halved to %d", self.batch_size)
                return None, np.zeros(3)
            if self.checkpoints:
                self.checkpoints.put(name, saved)
        return saved["x_adv"], saved["cost"]

    def _attack(self, x: np.ndarray, y: np.ndarray, start: int) -> dict[str, np.ndarray]:
        before, clock = self.view.counter.read(), time.perf_counter()
        padded_x, padded_y = pad(x, self.batch_size), pad(y, self.batch_size)
        key, eps = Rng.from_seed(self.seed, start).key, np.float32(self.attack.eps)
        x_adv = np.asarray(self.run(padded_x, padded_y, key, eps))
        if x_adv.shape != padded_x.shape:
            raise BudgetError(f"{self.attack.plugin.name}: images {x_adv.shape} came back for images {padded_x.shape}")
        x_adv = x_adv[: len(x)]
        seconds, after = time.perf_counter() - clock, self.view.counter.read()
        check_budget(x_adv, x, self.attack, start)
        x_adv = x_adv.clip(0, 1)  # the tolerance of the check was for rounding
        calls = [(after[name] - before[name]) * len(x) for name in ("gradients", "queries")]
        return {"x_adv": x_adv, "cost": np.array([*calls, seconds])}


def check_budget(x_adv: np.ndarray, x: np.ndarray, attack: Attack, start: int = 0) -> None:
    """Raise BudgetError unless every image is finite, in the box, and in the attack's ball. `start` numbers the images."""
    name = attack.plugin.name

    def refuse(bad: Any, what: str) -> None:
        if bad.any():
            first = int(bad.argmax())
            raise BudgetError(f"{name}: {int(bad.sum())} of {len(bad)} images {what}, first image {start + first} of those attacked")

    pixels = (1, 2, 3)
    refuse(~np.isfinite(x_adv).all(pixels), "hold NaN or infinite pixels")
    refuse((x_adv < -TOLERANCE).any(pixels) | (x_adv > 1 + TOLERANCE).any(pixels), "leave the box [0, 1]")
    if attack.plugin.needs_eps and attack.geometry is not None:
        distance = np.asarray(attack.geometry.distance(x_adv, x))
        slack = TOLERANCE if attack.geometry.name == "Linf" else 1e-5 * max(attack.eps, 1.0)
        refuse(distance > attack.eps + slack, f"are farther than {attack.geometry} (up to {distance.max():g})")


def choose_targets(choice: str | int, logits: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """Target classes (n,) int32: a class number, `random` (never the true class), `least_likely`, or `second` most likely."""
    n, classes = logits.shape
    if isinstance(choice, int):
        if not 0 <= choice < classes:
            raise ConfigError(f"target {choice}: the model has the classes 0 to {classes - 1}")
        return np.full(n, choice, np.int32)
    if choice == "random":
        shift = np.random.default_rng([seed, 0x7A46E7]).integers(1, classes, n)
        return ((y + shift) % classes).astype(np.int32)
    others = np.where(np.arange(classes) == y[:, None], np.nan, logits)
    if choice == "least_likely":
        return np.nanargmin(others, axis=-1).astype(np.int32)
    if choice == "second":
        return np.nanargmax(others, axis=-1).astype(np.int32)
    raise ConfigError(f"target {choice!r}: expected a class number, random, least_likely or second")


# Measuring -----------------------------------------------------------------------------------------------------------


def measure(outcome: Outcome, row: Mapping[str, Any], known: Mapping[str, float | None]) -> Result:
    """Accuracy with its interval, and every metric of the registry, as a row.

    Args:
        outcome: the images and what the measured system makes of them.
        row: the row's other columns.
        known: metrics that are known already.
    """
    predictions = outcome.after.argmax(-1).astype(np.int32)
    right, n = int((predictions == outcome.y).sum()), len(outcome.y)
    columns = dict(known)
    for name in registry.names("metrics"):
        columns |= registry.get("metrics", name).function(outcome)
    content = Row(n=n, accuracy=right / n, interval=binomial_interval(right, n), metrics=columns, **row)
    return Result(content, outcome.y, predictions)


def zero_gradients(classifier: Classifier, x: np.ndarray, y: np.ndarray, batch_size: int) -> float:
    """Share of the images whose loss gradient is exactly zero: there a gradient attack is blind, not the model robust."""

    def build() -> Any:
        return lambda images, y: classifier.gradient(cross_entropy, engine.to_unit(images), y)

    run = classifier.compiled("zero gradients", build)
    size = min(batch_size, len(x))
    blind = 0
    for start in range(0, len(x), size):
        images, labels = x[start : start + size], y[start : start + size]
        gradient = np.asarray(run(pad(images, size), pad(labels, size)))[: len(images)]
        blind += int((gradient == 0).all((1, 2, 3)).sum())
    return blind / len(x)


def check_against_keras(classifier: Classifier, model: Any, x: np.ndarray, batch_size: int = 256) -> None:
    """Refuse to go on unless the classifier predicts what plain Keras does. Raises ModelError.

    Args:
        model: the Keras model as it was built or loaded, before anything was cut off.
        x: (n, h, w, c) uint8 or float32 in [0, 1]; at most 0.05 % of the predicted classes may differ, for rounding.
    """
    ours = classifier.predict(x, batch_size).argmax(-1)
    theirs = model.predict(engine_unit(x), batch_size=batch_size, verbose=0).argmax(-1)
    differ = int((ours != theirs).sum())
    if differ > 0.0005 * len(x):
        raise ModelError(
            f"model {classifier.name!r}: {differ} of {len(x)} predictions differ from plain Keras; nothing measured on it would be right"
        )


def engine_unit(x: np.ndarray) -> np.ndarray:
    """uint8 grey levels to float32 in [0, 1], as the compiled code does it; float images as they are."""
    return x.astype(np.float32) / np.float32(255) if x.dtype == np.uint8 else x
