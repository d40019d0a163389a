"""What every defence promises, tried on a small classifier and 240 small images."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from advrun import defend, engine, registry
from advrun.checkpoints import Checkpoints
from advrun.config.entries import settings_of
from advrun.contract import systems, victims
from advrun.contract.promise import Promise, documented, exceptions, hold, names_its_source
from advrun.data import Dataset
from advrun.registry import Plugin
from advrun.system import Chain, Classifier
from advrun.system.modelfile import save_model
from advrun.system.stages import chained, is_one_file
from advrun.train import classification

EPOCHS = 4
ENOUGH = 0.7
"""The least clean accuracy; the undefended classifier has more than 0.9, and guessing 0.25."""


@dataclass
class Defended:
    """A defence on trial, and the system that it made of the undefended classifier."""

    plugin: Plugin
    given: Mapping[str, Any] = field(default_factory=dict)
    fitted: list[list[np.ndarray]] = field(default_factory=list)
    learnt: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)

    @cached_property
    def data(self) -> Dataset:
        return victims.toy_data()

    @cached_property
    def system(self) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            return self.again(Checkpoints(Path(folder)))

    def again(self, checkpoints: Checkpoints) -> Any:
        """The defence applied anew."""
        _weights()  # before the defence has seen the network, and before the seed is set
        engine.start(0)
        fit = systems.fit_on(self.data, checkpoints, int(exceptions(self.plugin).get("epochs", EPOCHS)))
        system = defend.applied(self.plugin, Chain(undefended()), fit, self.settings)
        self.fitted, self.learnt = fit.fitted, fit.learnt
        return system

    @property
    def settings(self) -> dict[str, Any]:
        """All of them."""
        return settings_of(self.plugin, {**exceptions(self.plugin).get("settings", {}), **self.given})

    def write(self, folder: Path) -> Path:
        """The system as a run writes it: one `.keras` file, or what the defence fitted beside the undefended network."""
        system = chained(self.system)
        if is_one_file(system):
            save_model(system.network, folder / "system.keras")
            return folder / "system.keras"
        save_model(undefended(), folder / "undefended.keras")
        path = folder / f"system{defend.FILE}"
        path.write_bytes(defend.packed(self.plugin.name, self.settings, "undefended.keras", self.fitted, self.learnt))
        return path


@cache
def undefended() -> Any:
    """A small network trained on the toy images; the same object each time, for no defence may change it."""
    engine.start(0)
    model = registry.get("models", "cnn").function((8, 8, 3), 4, width=4, blocks=2, dropout=0.0)
    with tempfile.TemporaryDirectory() as folder:
        fit = systems.fit_on(victims.toy_data(), Checkpoints(Path(folder)), 8)
        return fit(model, classification(model), monitor="accuracy")


@cache
def _weights() -> tuple[np.ndarray, ...]:
    """The weights of the undefended network as they were trained."""
    return tuple(weight.numpy().copy() for weight in undefended().weights)


def cases(plugin: Plugin, given: Mapping[str, Any]) -> Iterator[tuple[str, tuple[Promise, ...], Defended]]:
    """One case: (no label, promises, the defence on trial)."""
    yield "", PROMISES, Defended(plugin, given)


def it_is_documented(trial: Defended) -> None:
    """The file names its paper, every setting is explained, and the presets fit the signature."""
    names_its_source(trial.plugin)
    documented(trial.plugin)


def the_given_classifier_is_left_as_it_is(trial: Defended) -> None:
    """Static accuracy is measured on it: what a defence trains is a copy (`fresh_copy`), or stands in front of it."""
    hold(trial.system is not None, "it returns nothing; expected the defended system")
    same = all(np.array_equal(old, new.numpy()) for old, new in zip(_weights(), undefended().weights, strict=True))
    hold(same, "it changed the weights of the classifier that it was given; train a `fresh_copy` of it")


def clean_images_stay_right(trial: Defended) -> None:
    """A defence that classifies nothing right defends nothing."""
    accuracy = Classifier(trial.system).accuracy(trial.data.x_test, trial.data.y_test)
    plain = Classifier(undefended()).accuracy(trial.data.x_test, trial.data.y_test)
    hold(
        accuracy > ENOUGH, f"{accuracy:.0%} of the clean images are right, {plain:.0%} without the defence; expected more than {ENOUGH:.0%}"
    )


PROMISES: tuple[Promise, ...] = (
    it_is_documented,
    the_given_classifier_is_left_as_it_is,
    systems.it_maps_images_to_logits,
    clean_images_stay_right,
    systems.what_is_classified_are_images,
    systems.gradients_pass_through_it,
    systems.an_image_is_answered_alike_alone_and_in_a_batch,
    systems.it_is_read_again_as_it_was_written,
    systems.killed_and_resumed_it_ends_the_same,
)
