"""Crafting: classifier + images + attack -> adversarial images, and what they cost.

An attack never judges itself. Every batch it returns is checked again (box, ball, NaN), and what it asked of the model is read off the
classifier's counters, image by image (`batchwise.py`). Images that are misclassified without any attack are not attacked.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from advrun import engine
from advrun.attack import Attack
from advrun.batchwise import SAID, Batches, Setup
from advrun.console import Bar, Console
from advrun.engine import Rng
from advrun.errors import ConfigError
from advrun.geometry import Ball
from advrun.images import HELD, AnyImages, Canvas, Images, by_blocks, painted
from advrun.lesson import Learnt
from advrun.system import Classifier
from advrun.system.classifier import check_images, check_labels
from advrun.turns import batches
from advrun.types import Cost

STARTS = 5
"""Images of the pool that are handed to an attack for each that it starts from: the system may take some for the wrong class."""
TARGETS = "a class number, random, least_likely, second or all"


@dataclass(frozen=True, eq=False)
class Crafted:
    """Adversarial images and what they cost.

    x_adv: (n, h, w, c) float32; a `Canvas` of `Images`. attacked: (n,) bool, False for images left clean. target: (n,) int32 or None.
    gradients, queries: (n,) int64, what was asked of the model for each image. seconds: of the attack alone, compilation included.
    learnt: what the attack learnt before the first image, once for each of its stages (or targets) that learns.
    said: numbers (n,) by name that the attack says of its images; NaN where there is nothing to be said.
    """

    x_adv: Any
    attacked: np.ndarray
    target: np.ndarray | None
    gradients: np.ndarray
    queries: np.ndarray
    seconds: float
    learnt: tuple[Learnt, ...] = ()
    said: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def learning(self) -> Cost:
        """Gradients and queries of an attack that learns, before its first image."""
        return sum((Cost(**each.asked) for each in self.learnt), Cost())

    @property
    def fitted(self) -> Any:
        """What the attack had learnt before, where all images went through one attack; else None."""
        return self.learnt[0].fitted if len(self.learnt) == 1 else None

    def mean(self, cost: np.ndarray) -> float:
        """Mean over the attacked images."""
        return float(cost[self.attacked].mean()) if self.attacked.any() else 0.0


def craft(
    classifier: Classifier,
    attack: Attack,
    x: AnyImages,
    y: np.ndarray,
    *,
    seed: int = 0,
    batch_size: int = 256,
    target: str | int | None = None,
    only_correct: bool = True,
    train: tuple[AnyImages, np.ndarray] | None = None,
    checkpoints: Any = None,
    bar: Bar | None = None,
    console: Console | None = None,
    logits: np.ndarray | None = None,
    learnt: Learnt | None = None,
) -> Crafted:
    """Adversarial images for x.

    Args:
        classifier: the whole system under attack.
        attack: what to run.
        x: (n, h, w, c), uint8 or float32 in [0, 1]; `Images` need not fit into memory, and neither do the adversarial ones then.
        y: (n,) true labels.
        seed: of everything random in the attack.
        batch_size: images attacked at once; halved, with a warning, when they do not fit into memory.
        target: None, or the class to reach: a class number, "random", "least_likely", "second" (most likely), or "all":
            every class in turn, of which the closest (in a ball: the first) that was reached is kept.
        only_correct: leave images alone that are misclassified already (and, targeted, those already of the target class).
        train: images and labels of the attacker's own, for attacks that learn or start from other images; x and y by default.
        checkpoints: a `store.Checkpoints` that finished batches are kept in, and taken from.
        bar: advanced by one for each image.
        console: where an attack that trains networks says how far it is.
        logits: (n, classes) of the clean images where they are known.
        learnt: what the attack learnt from images alone, where that was done before.

    Raises:
        DataError, ConfigError: for images, labels or targets that do not fit the classifier.
        BudgetError: when the attack leaves its ball, the box, or returns NaN.
    """
    _check_options(seed, batch_size, target, only_correct)
    x = check_images(x, classifier.image_shape)
    classifier.check(attack.plugin, x)
    x = engine.to_unit(x)
    y = check_labels(y, len(x), classifier.classes)
    pool = held((x, y) if train is None else _pool(classifier, *train), attack, seed)
    if train is None and attack.plugin.fit:
        logging.getLogger("advrun").warning("no training images: %s learns, if it does, from those under attack", attack.plugin.name)
    logits = classifier.predict(x, batch_size) if logits is None else logits
    right = classifier.right(logits, y) if only_correct else np.ones(len(x), bool)
    work = _Work(classifier, seed, batch_size, pool, checkpoints, bar, console, learnt=learnt)
    if target == "all":
        crafted = _every_target(work, attack, x, y, right)
    elif target is None:
        crafted = _cascade(work, attack, x, y, right)
    else:
        goal = choose_targets(target, logits[:, : classifier.classes], x, y, seed)
        crafted = work(attack, x, y, np.flatnonzero(right & (goal != y) if only_correct else right), goal)
    return crafted


def _pool(classifier: Classifier, x: AnyImages, y: np.ndarray) -> tuple[AnyImages, np.ndarray]:
    """The attacker's own images and their labels, checked."""
    x = check_images(x, classifier.image_shape)
    return x, check_labels(y, len(x), classifier.classes)


def held(pool: tuple[AnyImages, np.ndarray], attack: Attack, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The pool in memory: as many of its images as may be held there, drawn at random, and none where the attack looks at none."""
    x, y = pool
    if not isinstance(x, Images):
        return x, y
    used = any(stage.plugin.fit or "starts" in stage.plugin.arguments for stage in attack.stages())
    most = HELD // x[:1].nbytes if used else 0
    rows = np.sort(np.random.default_rng([seed, 0x9001]).permutation(len(x))[:most])
    if used and most < len(x):
        logging.getLogger("advrun").warning("%s: learns or starts from %d of %d images", attack.plugin.name, most, len(x))
    return np.asarray(x[rows]), y[rows]


def _check_options(seed: Any, batch_size: Any, target: Any, only_correct: Any) -> None:
    """Raise ConfigError for what a YAML file could not say."""
    for name, value, least in (("seed", seed, 0), ("batch_size", batch_size, 1)):
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < least:
            raise ConfigError(f"{name} is {value!r}; expected a whole number >= {least}")
    if isinstance(target, (bool, np.ndarray, list, tuple)):
        raise ConfigError(f"target is {target!r:.60}; expected one for all images: {TARGETS}")
    if not isinstance(only_correct, (bool, np.bool_)):
        raise ConfigError(f"only_correct is {only_correct!r:.60}; expected True or False")


def _cascade(work: _Work, attack: Attack, x: AnyImages, y: np.ndarray, right: np.ndarray) -> Crafted:
    """Each stage attacks what survived the stages before it; an attack that is none of a cascade is its only stage."""
    stages = attack.stages()
    if len(stages) == 1:
        return work(stages[0], x, y, np.flatnonzero(right))
    total = work.clean(x, right)
    alive = right
    for number, stage in enumerate(stages):
        crafted = replace(work, name=f"stage{number}-", bar=None)(stage, x, y, np.flatnonzero(alive))
        wrong = work.classifier.wrong(work.classifier.predict(crafted.x_adv, work.batch_size), y)
        within = alive & _inside(attack.geometry, crafted.x_adv, x)
        fooled = wrong & within
        total = _taken(total, crafted, within if number == 0 else fooled)  # what survives all stages keeps the first one's image
        alive = alive & ~fooled
        work.advance(fooled.sum())
    work.advance(alive.sum())
    return total


def _every_target(work: _Work, attack: Attack, x: AnyImages, y: np.ndarray, right: np.ndarray) -> Crafted:
    """The targeted attack towards every class; in a ball, images that reached one are done."""
    classes = work.classifier.classes
    nearest = np.full(len(x), np.inf)
    total = replace(work.clean(x, right), target=((y + 1) % classes).astype(np.int32))
    for goal in range(classes):
        aimed = right & (y != goal) & ~(np.isfinite(nearest) if attack.plugin.needs_eps else False)
        if not aimed.any():
            continue
        goals = np.full(len(x), goal, np.int32)
        crafted = replace(work, name=f"target{goal}-", bar=None)(attack, x, y, np.flatnonzero(aimed), goals)
        reached = aimed & (work.classifier.predict(crafted.x_adv, work.batch_size).argmax(-1) == goal)
        distance = np.zeros(len(x)) if attack.geometry is None else by_blocks(attack.geometry.distance, crafted.x_adv, x)
        closer = reached & (distance < nearest)
        total, nearest = _taken(total, crafted, closer), np.where(closer, distance, nearest)
    work.advance(right.sum())
    return total


def _taken(total: Crafted, crafted: Crafted, better: np.ndarray) -> Crafted:
    """`total`, with the images of `crafted` where they are better, and the costs of both."""
    target = total.target if total.target is None or crafted.target is None else np.where(better, crafted.target, total.target)
    said = {name: np.where(better, values, total.said.get(name, np.nan)) for name, values in crafted.said.items()}
    return Crafted(
        painted(total.x_adv, crafted.x_adv, better),
        total.attacked,
        target,
        total.gradients + crafted.gradients,
        total.queries + crafted.queries,
        total.seconds + crafted.seconds,
        total.learnt + crafted.learnt,
        {**total.said, **said},
    )


def _inside(ball: Ball | None, x_adv: AnyImages, x: AnyImages) -> np.ndarray:
    """(n,) bool: in the ball, up to rounding."""
    if ball is None:
        return np.ones(len(x), bool)
    return np.asarray(by_blocks(ball.distance, x_adv, x) <= ball.reach)


@dataclass(frozen=True)
class _Work(Setup):
    """Crafts with one attack: the batches, one after the other."""

    def clean(self, x: AnyImages, attacked: np.ndarray) -> Crafted:
        """The images as they are."""
        gradients, queries = np.zeros((2, len(x)), np.int64)
        folder = self.checkpoints.folder.parent if self.checkpoints else None
        return Crafted(Canvas(x, folder) if isinstance(x, Images) else x.copy(), attacked, None, gradients, queries, 0.0)

    def __call__(self, attack: Attack, x: AnyImages, y: np.ndarray, rows: np.ndarray, goal: np.ndarray | None = None) -> Crafted:
        """Attack the images numbered `rows`; the others come back clean."""
        crafted = replace(self.clean(x, np.isin(np.arange(len(x)), rows)), target=goal)
        labels = y if goal is None else goal
        starts = self._starts(x, y, goal, rows) if "starts" in attack.plugin.arguments else None
        targets = None if goal is None else np.unique(goal[rows])

        def images(part: slice) -> tuple[Any, Any, Any]:
            from_images = None if starts is None else engine.to_unit(self.pool[0][starts[:, part]])
            return np.asarray(x[rows[part]]), labels[rows[part]], from_images

        runner, seconds = Batches(self, attack, min(self.batch_size, max(len(rows), 1)), targets, images), 0.0
        for part, finished in batches(runner, len(rows), self.checkpoints, self.name):
            batch = rows[part]
            crafted.x_adv[batch] = finished["x_adv"]
            crafted.gradients[batch], crafted.queries[batch] = finished["gradients"], finished["queries"]
            seconds += float(finished["seconds"])
            for name in (name for name in finished if name.startswith(SAID)):
                crafted.said.setdefault(name.removeprefix(SAID), np.full(len(x), np.nan, np.float32))[batch] = finished[name]
            self.advance(len(batch))
        learnt = (runner.learnt,) if attack.plugin.fit and len(rows) else ()
        return replace(crafted, seconds=seconds, learnt=learnt)

    def _starts(self, x: AnyImages, y: np.ndarray, goal: np.ndarray | None, rows: np.ndarray) -> np.ndarray:
        """The numbers (STARTS, len(rows)) of images of the pool that show another class (targeted: the target); 0 where it has none."""
        chance = by_blocks(lambda x: Rng.from_seed(self.seed, 0x57A275).of(x).uniform((len(x), STARTS)), x[rows])
        labels, wanted = self.pool[1], y[rows] if goal is None else goal[rows]
        chosen, missing = np.zeros((STARTS, len(rows)), int), []
        for label in np.unique(wanted):
            candidates = np.flatnonzero(labels != label if goal is None else labels == label)
            if len(candidates):
                chosen[:, wanted == label] = candidates[(chance[wanted == label].T * len(candidates)).astype(int)]
            else:
                missing.append(f"{label}" if goal is not None else f"other than {label}")
        if missing:
            logging.getLogger("advrun").warning("no image to start from shows class %s: random ones must do", ", ".join(missing))
        return chosen

    def advance(self, images: int) -> None:
        """So many more images are done."""
        if self.bar is not None:
            self.bar.advance(int(images))


def choose_targets(choice: str | int, logits: np.ndarray, x: AnyImages, y: np.ndarray, seed: int) -> np.ndarray:
    """Target classes (n,) int32: a class number, `random` (never the true class), `least_likely`, or `second` most likely.

    x: (n, h, w, c) float32 in [0, 1]; a random target depends on the seed and the image alone.
    """
    n, classes = logits.shape
    if isinstance(choice, (int, np.integer)):
        if not 0 <= choice < classes:
            raise ConfigError(f"target {choice}: the model has the classes 0 to {classes - 1}")
        return np.full(n, choice, np.int32)
    if choice == "random":
        shift = by_blocks(lambda x: Rng.from_seed(seed, 0x7A46E7).of(x).integers((len(x),), 1, classes), x)
        return ((y + shift) % classes).astype(np.int32)
    others = np.where(np.arange(classes) == y[:, None], np.nan, logits)
    if choice == "least_likely":
        return np.nanargmin(others, axis=-1).astype(np.int32)
    if choice == "second":
        return np.nanargmax(others, axis=-1).astype(np.int32)
    raise ConfigError(f"target {choice!r}: expected {TARGETS}")
