"""Batches of images through a compiled attack: what it learnt before, what each image cost, and a check of all that comes back."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from advrun import engine
from advrun.attack import Attack
from advrun.checkpoints import Section
from advrun.console import Bar, Console
from advrun.engine import Rng
from advrun.errors import BudgetError
from advrun.geometry import PIXEL_ROUNDING
from advrun.lesson import Learnt, Lesson
from advrun.system import Classifier
from advrun.system.classifier import pad

SAID = "said "
"""What the names of numbers begin with that an attack says of its images."""


@dataclass(frozen=True)
class Setup:
    """What all batches share.

    pool: images and labels of the attacker's own. name: tells the checkpoints of stages apart. learnt: what was learnt elsewhere.
    """

    classifier: Classifier
    seed: int
    batch_size: int
    pool: tuple[np.ndarray, np.ndarray]
    checkpoints: Any
    bar: Bar | None
    console: Console | None = None
    name: str = ""
    learnt: Learnt | None = None


class Batches:
    """Runs the compiled attack on one batch after the other, all of one shape; a `turns.Runner`.

    Args:
        work: what they share.
        attack: what to run.
        batch_size: images at once.
        targets: the classes to be reached, or None.
        images: of a batch, by the numbers of its images: x, y (or the classes to be reached), and the images to start from, or None.
    """

    def __init__(
        self, work: Setup, attack: Attack, batch_size: int, targets: np.ndarray | None, images: Callable[[slice], tuple[Any, Any, Any]]
    ) -> None:
        self.work, self.attack, self.batch_size, self.targets, self._images = work, attack, batch_size, targets, images
        self.view = work.classifier if targets is None else work.classifier.toward()

    @cached_property
    def run(self) -> Any:
        def build() -> Any:
            def run(x: Any, y: Any, key: Any, eps: Any, starts: Any, fitted: Any) -> Any:
                view = self.view.around(x, self.attack.ball(eps), y)
                x_adv, said = self.attack.telling(view, x, y, Rng(key).of(x), eps, starts=starts, fitted=fitted)
                return view.shown(x_adv), said

            return run

        return self.view.compiled(self.attack.key, build, xla=not self.attack.plugin.in_python)

    @cached_property
    def learnt(self) -> Learnt:
        if self.attack.plugin.fit is None:
            return Learnt()
        if self.work.learnt is not None:
            return self.work.learnt
        section = Section(self.work.checkpoints, self.work.name)
        with self.view.failing_as_itself():
            return learn(self.attack, self.view, self.work.pool, self.work.seed, section, self.work.console, self.targets)

    def make(self, rows: slice) -> dict[str, np.ndarray]:
        """x_adv; gradients, queries and `said` numbers of each image; seconds."""
        return self._attack(*self._images(rows), rows.start)

    def room(self, rows: slice) -> int:
        """Twice as much as the images."""
        return 2 * 4 * (rows.stop - rows.start) * math.prod(self.work.classifier.image_shape) + (1 << 20)

    def checked(self, saved: dict[str, np.ndarray], rows: slice) -> dict[str, np.ndarray]:
        """A batch from a checkpoint, if it is one of this attack. Raises ValueError or BudgetError where it is not."""
        x, first = self._images(rows)[0], rows.start
        expected = {"x_adv": (x.shape, "f"), "gradients": (x.shape[:1], "i"), "queries": (x.shape[:1], "i"), "seconds": ((), "f")}
        expected |= {name: (x.shape[:1], "f") for name in saved if name.startswith(SAID)}
        found = {name: (array.shape, array.dtype.kind) for name, array in saved.items()}
        if found != expected:
            raise ValueError(f"it holds {found}; expected {expected}")
        if min(saved["gradients"].min(), saved["queries"].min(), saved["seconds"]) < 0:
            raise ValueError("costs below zero")
        check_budget(saved["x_adv"], x, self.attack, first, saved["queries"])
        return saved

    def _attack(self, x: np.ndarray, y: np.ndarray, starts: np.ndarray | None, first: int) -> dict[str, np.ndarray]:
        fitted, size, counter = self.learnt.fitted, self.batch_size, self.view.counter
        clock = time.perf_counter()
        counter.start(size)
        key, eps = Rng.from_seed(self.work.seed).key, np.float32(self.attack.eps)
        others = None if starts is None else np.stack([pad(each, size) for each in starts])
        with self.view.failing_as_itself():
            returned, said = self.run(pad(x, size), pad(y, size), key, eps, others, fitted)
        shape = tuple(returned.shape) if hasattr(returned, "shape") else type(returned).__name__
        if shape != (size, *x.shape[1:]):
            raise BudgetError(f"{self.attack.plugin.name}: {shape} came back for images {(size, *x.shape[1:])}")
        x_adv = np.asarray(returned)[: len(x)]
        seconds = time.perf_counter() - clock
        counts = {name: count[: len(x)] for name, count in counter.read().items()}
        check_budget(x_adv, x, self.attack, first, counts["queries"])
        # The tolerance of the check was for rounding.
        told = {f"{SAID}{name}": np.asarray(values, np.float32)[: len(x)] for name, values in said.items()}
        return {"x_adv": x_adv.clip(0, 1), **counts, **told, "seconds": np.array(seconds)}


def learn(
    attack: Attack,
    view: Any,
    pool: tuple[np.ndarray, np.ndarray],
    seed: int,
    checkpoints: Section,
    console: Console | None = None,
    targets: np.ndarray | None = None,
) -> Learnt:
    """What an attack that learns learns from the attacker's own images, unless that is among the checkpoints.

    Args:
        attack: its `fit` is called.
        view: what it attacks; None where `fit` does not ask.
        pool: images and labels.
        seed: of everything random.
        checkpoints: of the cell.
        console: where a training says how far it is.
        targets: the classes to be reached.
    """
    kept = checkpoints.get("fit", Learnt.from_arrays)
    if kept is not None:
        return kept
    clock, name = time.perf_counter(), attack.plugin.name
    counter = None if view is None else view.counter
    if counter is not None:
        counter.start()
    # Data sets often come class by class: the first images shall be of all of them.
    order = np.random.default_rng([seed, 0x5F00]).permutation(len(pool[0]))
    images, labels = (each[order] for each in pool)
    lesson = Lesson(seed, checkpoints, console or Console(quiet=True), f"train {name}", counter)
    fitted = attack.fit(view, engine.to_unit(images), labels, seed, targets, lesson)
    asked, seconds = lesson.asked(), time.perf_counter() - clock
    if asked:
        logging.getLogger("advrun").info("%s: fitting asked for %d gradients and %d queries", name, *asked.values())
    learnt = Learnt(fitted, lesson.histories, lesson.pictures, tuple(lesson.notes), asked, seconds)
    if fitted is not None:  # an attack that learns into networks of its own learns again
        checkpoints.put("fit", learnt.to_arrays())
        checkpoints.flush()
    return learnt


def check_budget(x_adv: np.ndarray, x: np.ndarray, attack: Attack, start: int, queries: np.ndarray) -> None:
    """Raise BudgetError unless every image is finite, in the box, in the attack's ball, and within its setting `queries`.

    start: the number of the first image. queries: (n,) int64, how many each image cost.
    """
    name = attack.plugin.name

    def refuse(bad: Any, what: str) -> None:
        if bad.any():
            first = int(bad.argmax())
            raise BudgetError(f"{name}: {int(bad.sum())} of {len(bad)} images {what}, first image {start + first} of those attacked")

    pixels = (1, 2, 3)
    refuse(~np.isfinite(x_adv).all(pixels), "hold NaN or infinite pixels")
    refuse((x_adv < -PIXEL_ROUNDING).any(pixels) | (x_adv > 1 + PIXEL_ROUNDING).any(pixels), "leave the box [0, 1]")
    if attack.plugin.needs_eps and attack.geometry is not None:
        distance = np.asarray(attack.geometry.distance(x_adv, x))
        refuse(distance > attack.geometry.reach, f"are farther than {attack.geometry} (up to {distance.max():g})")
    if "queries" in attack.settings:
        most = attack.settings["queries"]
        refuse(queries > most, f"cost more than {most} queries (up to {queries.max()})")
