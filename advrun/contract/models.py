"""What every model promises: an architecture is built in several sizes and trained on small images; a model that comes trained is read."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from advrun import engine
from advrun.checkpoints import Checkpoints
from advrun.config.entries import settings_of
from advrun.contract import oracles, systems, victims
from advrun.contract.promise import Inapplicable, Promise, documented, exceptions, hold, names_its_source
from advrun.data import Dataset
from advrun.registry import Plugin
from advrun.system import Classifier
from advrun.system.modelfile import save_model
from advrun.train import trained

SIZES = (((28, 28, 1), 10), ((32, 32, 3), 43), ((64, 48, 3), 2))
"""Images and classes for which an architecture must be built."""
EPOCHS = 6
ENOUGH = 0.6
"""The least accuracy on four classes after so few epochs; guessing has 0.25."""


@dataclass
class Built:
    """A model on trial: an architecture, trained on the toy images at 32 x 32; or one that comes trained, with noise as images."""

    plugin: Plugin
    given: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_trained(self) -> bool:
        """True for architectures, which are trained here."""
        return self.plugin.trains(self.settings)

    def build(self, *size: Any) -> Any:
        """The untrained model for (image_shape, classes)."""
        engine.start(0)
        return self.plugin.function(*size, **self.settings)

    @property
    def epochs(self) -> int:
        """Of the training here; more where the file's CONTRACT says so."""
        return int(exceptions(self.plugin).get("epochs", EPOCHS))

    @property
    def settings(self) -> dict[str, Any]:
        """All settings: defaults, those of the file's CONTRACT, and those given."""
        return settings_of(self.plugin, {**exceptions(self.plugin).get("settings", {}), **self.given})

    @cached_property
    def data(self) -> Dataset:
        return enlarged() if self.is_trained else noise(self.build())

    @cached_property
    def system(self) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            return self.again(Checkpoints(Path(folder)))

    def again(self, checkpoints: Checkpoints) -> Any:
        """The model built and trained anew."""
        if not self.is_trained:
            return self.build()
        engine.start(0)
        return trained(self.plugin, self.settings, systems.fit_on(self.data, checkpoints, self.epochs, 3e-3))

    def write(self, folder: Path) -> Path:
        """The model as a run writes it."""
        save_model(self.system, folder / "system.keras")
        return folder / "system.keras"


@cache
def enlarged() -> Dataset:
    """The toy images at 32 x 32."""
    toy = victims.toy_data()
    x_train, x_test = (x.repeat(4, axis=1).repeat(4, axis=2) for x in map(np.asarray, (toy.x_train, toy.x_test)))
    return Dataset("enlarged", x_train, toy.y_train, x_test, toy.y_test, toy.class_names, toy.group)


def noise(model: Any) -> Dataset:
    """Images that fit a model."""
    shape, classes = [side or 32 for side in model.input_shape[1:]], model.output_shape[-1]
    x = np.random.default_rng(0).integers(0, 256, (20, *shape), np.uint8)
    return Dataset("noise", x[:0], np.zeros(0, np.int32), x, np.arange(20, dtype=np.int32) % classes, tuple(map(str, range(classes))))


def cases(plugin: Plugin, given: Mapping[str, Any]) -> Iterator[tuple[str, tuple[Promise, ...], Built | oracles.Asked]]:
    """One case: (no label, promises, the model on trial). A model that can only be asked has promises of its own."""
    if plugin.is_oracle:
        yield "", oracles.PROMISES, oracles.Asked(plugin, given)
        return
    yield "", PROMISES, Built(plugin, given)


def it_is_documented(trial: Built) -> None:
    """Every setting is explained; an architecture's file names its paper."""
    if trial.is_trained:
        names_its_source(trial.plugin)
    documented(trial.plugin)


def it_is_built_for_images_of_any_size(trial: Built) -> None:
    """Grey and coloured images, square or not, 2 to 43 classes."""
    if not trial.is_trained:
        raise Inapplicable("comes trained, for images of one size")
    for shape, classes in SIZES:
        classifier = Classifier(trial.build(shape, classes))
        size = (classifier.image_shape, classifier.classes)
        hold(size == (shape, classes), f"asked for {shape} and {classes} classes, it was built for {size[0]} and {size[1]}")


def it_learns(trial: Built) -> None:
    """Four classes of bright corners, in a few epochs."""
    if not trial.is_trained:
        raise Inapplicable("comes trained")
    accuracy = Classifier(trial.system).accuracy(trial.data.x_test, trial.data.y_test)
    hold(
        accuracy > ENOUGH,
        f"after {trial.epochs} epochs {accuracy:.0%} of the images with one bright corner are right; expected {ENOUGH:.0%}",
    )


PROMISES: tuple[Promise, ...] = (
    it_is_documented,
    it_is_built_for_images_of_any_size,
    systems.it_maps_images_to_logits,
    it_learns,
    systems.gradients_pass_through_it,
    systems.an_image_is_answered_alike_alone_and_in_a_batch,
    systems.it_is_read_again_as_it_was_written,
    systems.killed_and_resumed_it_ends_the_same,
)
