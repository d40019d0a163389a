"""What every bound promises, tried in each of its norms on a linear classifier, whose boundaries are known, and on a small network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from advrun.attack import Attack
from advrun.certify import Bound, Certified, certify
from advrun.config.entries import settings_of
from advrun.contract import victims
from advrun.contract.promise import Inapplicable, Promise, documented, exceptions, hold, names_its_source
from advrun.craft import craft
from advrun.errors import PluginError, UnboundedError
from advrun.geometry import Ball
from advrun.registry import Plugin, get
from advrun.system import Classifier

ROOM = 1e-3
"""By which share a radius may be above the true distance, for rounding."""


@dataclass
class Judged:
    """A bound on trial in one norm."""

    plugin: Plugin
    norm: Ball
    given: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, classifier: Classifier, x: np.ndarray, y: np.ndarray, *, seed: int = 0) -> Certified:
        settings = settings_of(self.plugin, {**exceptions(self.plugin).get("settings", {}), **self.given})
        return certify(classifier, Bound(self.plugin, self.norm, settings), x, y, seed=seed)

    def linear(self) -> tuple[Certified, np.ndarray]:
        """What it says of a linear classifier, and the true distances."""
        classifier = victims.linear()
        x = victims.well_inside(classifier, victims.images())
        found = self(classifier, x, classifier.predict(x).argmax(-1))
        return found, victims.boundary_distances(classifier, x, self.norm.order)

    @cached_property
    def victim(self) -> Classifier:
        """A small network; where the bound refuses such, the linear classifier. Raises Inapplicable where it refuses both."""
        for classifier in (victims.network(), victims.linear()):
            try:
                self(classifier, *images_of(classifier))
            except UnboundedError as error:
                reason = str(error)
            else:
                return classifier
        raise Inapplicable(f"it refuses a small network, and a linear one: {reason}")

    def found(self) -> Certified:
        """What it says of the victim."""
        return self(self.victim, *images_of(self.victim))


def images_of(classifier: Classifier) -> tuple[np.ndarray, np.ndarray]:
    """Ten images and their classes, two of which the classifier gets wrong."""
    x = victims.images()
    y = classifier.predict(x).argmax(-1)
    y[:2] = (y[:2] + 1) % victims.CLASSES
    return x, y


def cases(plugin: Plugin, given: Mapping[str, Any]) -> Iterator[tuple[str, tuple[Promise, ...], Judged]]:
    """One case for each norm."""
    for geometry in plugin.geometries:
        yield geometry.__name__.lower(), PROMISES, Judged(plugin, geometry(), given)


def it_is_documented(trial: Judged) -> None:
    """The function says what it does, every setting is explained, and the file names its paper."""
    documented(trial.plugin)
    names_its_source(trial.plugin)


def its_radii_are_numbers_from_zero_on(trial: Judged) -> None:
    """One for each image; `certify` refuses anything else. A system of a kind that it cannot deal with may be refused in words."""
    try:
        trial.found()
    except PluginError as error:
        hold(False, str(error))


def it_says_something_of_a_linear_classifier(trial: Judged) -> None:
    """Where each image is far from every boundary."""
    hold((trial.linear()[0].radius > 0).any(), "of a linear classifier and images well within their class it says 0 for all")


def on_a_linear_classifier_it_is_not_above_the_true_distance(trial: Judged) -> None:
    """Which is known; for estimates too, as all gradients are the same there."""
    found, true = trial.linear()
    worst = float((found.radius / true).max())
    hold(worst <= 1 + ROOM, f"of a linear classifier it says {worst:.3g} times the true distance")


def images_that_are_wrong_have_no_radius(trial: Judged) -> None:
    """Their distance to an error is 0."""
    if trial.plugin.about:
        raise Inapplicable(f"it is about {trial.plugin.about}, which may get right what the system gets wrong")
    hold((trial.found().radius[:2] == 0).all(), "it gives a radius to images that the system gets wrong")


def no_attack_comes_nearer(trial: Judged) -> None:
    """Neither PGD nor noise, just within the radius of each image."""
    if not trial.plugin.sound or trial.plugin.about:
        raise Inapplicable(f"it is about {trial.plugin.about}" if trial.plugin.about else "it is an estimate, and says so")
    classifier, (x, y) = trial.victim, images_of(trial.victim)
    for i, radius in enumerate(trial.found().radius):
        for name, settings in (("pgd", {"steps": 20, "restarts": 5}), ("noise", {})) if radius > 0 else ():
            plugin = get("attacks", name)
            if type(trial.norm) in plugin.geometries:
                ball = trial.norm.resized(float(radius) * 0.999)
                x_adv = craft(classifier, Attack(plugin, ball, settings_of(plugin, settings)), x[i : i + 1], y[i : i + 1]).x_adv
                right = classifier.predict(x_adv).argmax(-1) == y[i]
                hold(right.all(), f"{name} fools the network within the radius {radius:g} of image {i}")


def the_same_seed_gives_the_same_radii(trial: Judged) -> None:
    """Asked twice."""
    one, other = trial.found().radius, trial.found().radius
    hold(np.array_equal(one, other), "asked again with the same seed, it says something else; draw everything random from `rng`")


def an_image_has_the_same_radius_alone(trial: Judged) -> None:
    """Whatever the other images of its batch are."""
    if "rng" in trial.plugin.arguments:
        raise Inapplicable("it draws random numbers, other ones for each batch")
    together, (x, y) = trial.found().radius, images_of(trial.victim)
    alone = np.concatenate([trial(trial.victim, x[i : i + 1], y[i : i + 1]).radius for i in range(2, 5)])
    hold(np.allclose(alone, together[2:5], rtol=1e-3, atol=1e-6), f"alone {alone[0]:g}, in a batch {together[2]:g}")


PROMISES: tuple[Promise, ...] = (
    it_is_documented,
    its_radii_are_numbers_from_zero_on,
    it_says_something_of_a_linear_classifier,
    on_a_linear_classifier_it_is_not_above_the_true_distance,
    images_that_are_wrong_have_no_radius,
    no_attack_comes_nearer,
    the_same_seed_gives_the_same_radii,
    an_image_has_the_same_radius_alone,
)
