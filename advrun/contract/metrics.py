"""What every metric promises, tried on outcomes of several kinds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

import numpy as np

from advrun import engine, registry
from advrun.attack import Attack
from advrun.config.entries import settings_of
from advrun.contract import victims
from advrun.contract.promise import Promise, documented, hold
from advrun.contract.victims import Elsewhere
from advrun.engine import ops
from advrun.errors import PluginError
from advrun.geometry import Linf
from advrun.metrics import Guarded, Outcome, Transferred, columns
from advrun.probed import Again, Probed
from advrun.registry import Plugin
from advrun.results import Row
from advrun.retry import retrying
from advrun.system import Chain, Classifier, Detector
from advrun.system.detectors import Thresholded
from advrun.system.witness import Witness


@dataclass
class Measured:
    """A metric on trial."""

    plugin: Plugin

    def __call__(self, outcome: Outcome) -> dict[str, float | None]:
        return columns(self.plugin.name, outcome)

    def outcomes(self) -> dict[str, Outcome]:
        """Those that it will be asked about, in arrays of their own."""
        wanted = self.plugin.arguments.get("outcome")
        if wanted is Guarded:
            return {said: guarded(outcome) for said, outcome in outcomes().items()}
        if wanted is Probed:
            return {said: probed(outcome) for said, outcome in outcomes().items() if outcome.attacked is not None}
        if wanted is not Transferred:
            return outcomes()
        return {said: crossed(outcome) for said, outcome in outcomes().items() if outcome.attacked is not None}


def outcomes() -> dict[str, Outcome]:
    """Outcomes by what is special about them, in arrays of their own, which a metric may spoil."""
    return {said: copied(outcome) for said, outcome in _outcomes().items()}


def copied(outcome: Outcome) -> Outcome:
    """The same outcome in other arrays."""
    arrays = {field.name: getattr(outcome, field.name) for field in fields(outcome)}
    copies: dict[str, Any] = {name: value.copy() for name, value in arrays.items() if isinstance(value, np.ndarray)}
    return replace(outcome, **copies)


def crossed(outcome: Outcome) -> Transferred:
    """The same images as examples of another system, which was right on most of them and gives other answers."""
    parts = {field.name: getattr(outcome, field.name) for field in fields(outcome)}
    crafted = np.arange(len(outcome.y)) % 3 > 0
    return Transferred(**parts, crafted=crafted, source_after=np.roll(outcome.after.argmax(-1), 1).astype(np.int32))


def guarded(outcome: Outcome) -> Outcome:
    """The same images, as a system with a detector beside the same network sees them: it finds a quarter of the clean images dark."""
    detector = Detector(lambda x, logits: -ops.mean(x, axis=(1, 2, 3)))
    chain = Chain(victims.network().model)
    darkness = -np.asarray(outcome.x).mean((1, 2, 3))
    classifier = Classifier(replace(chain, detectors=(Thresholded(detector, float(np.quantile(darkness, 0.75)), 0.1, 0),)))
    after = classifier.predict(outcome.x_adv)
    return replace(outcome, classifier=classifier, before=classifier.predict(outcome.x), after=after)


def probed(outcome: Outcome) -> Probed:
    """The same images as those of an attack of two steps, which can be tried again."""
    parts = {field.name: getattr(outcome, field.name) for field in fields(outcome)}
    return Probed(**parts, ball=Linf(0.2), again=_again(), iterated=True, widest=True)


@cache
def _again() -> Again:
    """An attack of two steps on the network of all outcomes, compiled once."""
    plugin = registry.get("attacks", "bim")
    return retrying(Witness(victims.network()), Attack(plugin, Linf(0.2), settings_of(plugin, {"steps": 2})), seed=0, batch_size=16)


@cache
def _outcomes() -> dict[str, Outcome]:
    """Images under random noise."""
    network, y = victims.network(), victims.labels()
    images = np.rint(victims.images() * 255).astype(np.uint8)
    noise = np.random.default_rng(2).uniform(-0.2, 0.2, images.shape)
    attacked = (engine.to_unit(images) + noise).clip(0, 1).astype(np.float32)
    before, after = network.predict(images), network.predict(attacked)
    usual = Outcome(network, images, attacked, y, before, after)
    first = slice(2, 3)
    return {
        "attacked images": usual,
        "clean images": Outcome(network, images, None, y, before, before),
        "targeted attacks": replace(usual, target=((y + 1) % victims.CLASSES).astype(np.int32)),
        "images that were all wrong before": replace(usual, y=((before.argmax(-1) + 1) % victims.CLASSES).astype(np.int32)),
        "images that came back as they were": Outcome(network, images, engine.to_unit(images), y, before, before),
        "images that need not fit into memory": replace(usual, images=Elsewhere(images), attacked=Elsewhere(attacked)),
        "a single image": Outcome(network, images[first], attacked[first], y[first], before[first], after[first]),
    }


def cases(plugin: Plugin, given: Mapping[str, Any]) -> Iterator[tuple[str, tuple[Promise, ...], Measured]]:
    """One case: (no label, promises, the metric on trial). Raises PluginError for settings, which metrics have none of."""
    if plugin.settings or given:
        raise PluginError(f"metrics have no settings; got {', '.join({*plugin.settings, *given})}")
    yield "", PROMISES, Measured(plugin)


def it_is_documented(trial: Measured) -> None:
    """The function says what its columns are."""
    documented(trial.plugin)


def its_columns_are_numbers_or_none(trial: Measured) -> None:
    """Whatever happened to the images; `columns` refuses NaN, and what JSON cannot hold."""
    for said, outcome in trial.outcomes().items():
        try:
            trial(outcome)
        except PluginError as error:
            hold(False, f"of {said}: {error}")


def its_columns_are_the_same_for_every_row(trial: Measured) -> None:
    """A table has one head."""
    usual = list(trial(trial.outcomes()["attacked images"]))
    for said, outcome in trial.outcomes().items():
        own = list(trial(outcome))
        hold(own == usual, f"of {said} its columns are {', '.join(own) or 'none'}; of attacked ones {', '.join(usual)}")


def its_columns_have_names_of_their_own(trial: Measured) -> None:
    """No other metric, and no column of the row itself, has the same name."""
    usual = outcomes()["attacked images"]
    taken = {field.name: "the row itself" for field in fields(Row)} | dict.fromkeys(("attacked", "zero_gradients"), "the attack's cost")
    for name in registry.names("metrics"):
        if name != trial.plugin.name:
            with suppress(Exception):  # a broken metric takes no names
                wanted = registry.get("metrics", name).arguments.get("outcome")
                made: dict[Any, Any] = {Transferred: crossed, Probed: probed, Guarded: guarded}
                outcome = made.get(wanted, copied)(usual)
                taken |= dict.fromkeys(columns(name, outcome), f"metric {name!r}")
    for column in trial(trial.outcomes()["attacked images"]):
        hold(column not in taken, f"the column {column!r} is that of {taken.get(column)}")


def what_it_measures_is_left_as_it_is(trial: Measured) -> None:
    """The next metric sees the same arrays."""
    for said, outcome in trial.outcomes().items():
        arrays = {name: value for name, value in vars(outcome).items() if isinstance(value, np.ndarray)}
        before = {name: value.copy() for name, value in arrays.items()}
        trial(outcome)
        moved = [name for name, value in arrays.items() if not np.array_equal(value, before[name])]
        hold(not moved, f"of {said} it changes {', '.join(moved)}; work on a copy")


def it_says_the_same_twice(trial: Measured) -> None:
    """Nothing random."""
    for said, outcome in trial.outcomes().items():
        first, second = trial(copied(outcome)), trial(copied(outcome))
        hold(first == second, f"of {said} it says {first}, and asked again {second}")


PROMISES: tuple[Promise, ...] = (
    it_is_documented,
    its_columns_are_numbers_or_none,
    its_columns_are_the_same_for_every_row,
    its_columns_have_names_of_their_own,
    what_it_measures_is_left_as_it_is,
    it_says_the_same_twice,
)
