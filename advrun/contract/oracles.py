"""What every model promises that can only be asked. A service must be running: give its address by --set url=..."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from advrun import registry
from advrun.attack import Attack
from advrun.config.entries import settings_of
from advrun.contract.promise import Inapplicable, Promise, documented, exceptions, hold
from advrun.craft import craft
from advrun.errors import ConfigError
from advrun.geometry import Linf
from advrun.registry import Plugin
from advrun.system import BlackBox, Oracle
from advrun.system.ledger import Ledger
from advrun.system.vocabulary import of_clean_answers

COUNT = 8


@dataclass
class Asked:
    """An oracle on trial, with noise as images."""

    plugin: Plugin
    given: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def oracle(self) -> Oracle:
        settings = settings_of(self.plugin, {**exceptions(self.plugin).get("settings", {}), **self.given})
        made = self.plugin.function(**settings)
        hold(isinstance(made, Oracle), f"it is annotated to return an Oracle and returns a {type(made).__name__}")
        return made

    @cached_property
    def images(self) -> np.ndarray:
        """uint8 (COUNT, height, width, channels), of all grey levels."""
        height, width, channels = (side or default for side, default in zip(self.oracle.image_shape, (32, 32, 3), strict=True))
        return np.random.default_rng(0).integers(0, 256, (COUNT, height, width, channels), np.uint8)

    @cached_property
    def answers(self) -> list[Any]:
        return Ledger(self.oracle).answers(self.images)

    def box(self) -> tuple[BlackBox, np.ndarray]:
        """A classifier made of it, and what it takes the images for."""
        vocabulary = None if self.oracle.classes is not None else of_clean_answers(self.oracle, self.answers)[0]
        box = BlackBox(self.oracle, image_shape=self.images.shape[1:], vocabulary=vocabulary)
        return box, box.predict(self.images).argmax(-1)


def it_is_documented(trial: Asked) -> None:
    """Every setting is explained."""
    documented(trial.plugin)


def it_answers_every_image(trial: Asked) -> None:
    """Scores, a class number or labels, as it says."""
    hold(len(trial.answers) == COUNT, f"{len(trial.answers)} answers came for {COUNT} images")
    decisions = all(isinstance(answer, int) for answer in trial.answers)
    hold(decisions == (trial.oracle.gives == "decisions"), f"it says that it gives {trial.oracle.gives}, and does not")


def probabilities_are_some(trial: Asked) -> None:
    """Between 0 and 1, unless they are logits."""
    if trial.oracle.meaning == "logits" or trial.oracle.gives == "decisions":
        raise Inapplicable("gives no probabilities")
    scores = np.array([score for answer in trial.answers for score in (pair[1] if isinstance(pair, list) else pair for pair in answer)])
    hold(((scores >= 0) & (scores <= 1 + 1e-6)).all(), f"scores run from {scores.min():g} to {scores.max():g}; say meaning='logits'")


def an_image_is_answered_alike_alone_and_in_a_batch(trial: Asked) -> None:
    """Else an answer that is kept would be that of another question."""
    box, classes = trial.box()
    alone = BlackBox(trial.oracle, image_shape=box.image_shape, vocabulary=box.vocabulary).predict(trial.images[:1])
    hold(alone.argmax(-1)[0] == classes[0], "the first image is of another class when it is asked about alone")


def asked_again_it_says_the_same(trial: Asked) -> None:
    """What it says does not drift."""
    box, _ = trial.box()
    share = box.drift(trial.images, "again")
    hold(share == 0, f"{share:.0%} of the images are answered otherwise when they are asked about again")


def the_images_are_left_as_they_are(trial: Asked) -> None:
    """They belong to the attack."""
    images = trial.images.copy()
    trial.oracle.ask(images[: trial.oracle.batch])
    hold(np.array_equal(images, trial.images), "it changes the images that it is asked about")


def an_attack_can_ask_it(trial: Asked) -> None:
    """Impulse noise, compiled, whose images are of 8 bits and were all asked about."""
    box, classes = trial.box()
    plugin = registry.get("attacks", "impulse")
    crafted = craft(box, Attack(plugin, None, settings_of(plugin, {"queries": 2})), trial.images, classes)
    spent = box.ledger.spent
    box.predict(crafted.x_adv)
    hold(box.ledger.spent == spent, "what the attack returns are not the images that it asked about")


def attacks_by_gradients_are_refused(trial: Asked) -> None:
    """There are none."""
    box, classes = trial.box()
    plugin = registry.get("attacks", "fgsm")
    try:
        craft(box, Attack(plugin, Linf(8 / 255), settings_of(plugin, {})), trial.images, classes)
    except ConfigError:
        return
    hold(False, "fgsm was not refused")


PROMISES: tuple[Promise, ...] = (
    it_is_documented,
    it_answers_every_image,
    probabilities_are_some,
    the_images_are_left_as_they_are,
    an_image_is_answered_alike_alone_and_in_a_batch,
    asked_again_it_says_the_same,
    an_attack_can_ask_it,
    attacks_by_gradients_are_refused,
)
