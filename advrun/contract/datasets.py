"""What every data set promises; `--set NAME=VALUE` gives the settings that it needs, the path of a file for example."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from advrun.config.entries import settings_of
from advrun.contract.promise import Inapplicable, Promise, documented, exceptions, hold
from advrun.data import Dataset
from advrun.registry import Plugin

LOOKED_AT = 2000
"""Images that are told apart: photographs need not fit into memory."""


@dataclass
class Drawn:
    """A data set on trial, and what it returned."""

    plugin: Plugin
    given: Mapping[str, Any] = field(default_factory=dict)

    def again(self, **handed: Any) -> Any:
        """What the function returns. handed: what the runner hands over."""
        return self.plugin.function(**handed, **settings_of(self.plugin, {**exceptions(self.plugin).get("settings", {}), **self.given}))

    @cached_property
    def data(self) -> Dataset:
        data: Dataset = self.again()
        hold(isinstance(data, Dataset), f"it returns {type(data).__name__}; expected advrun.data.Dataset")
        return data


def cases(plugin: Plugin, given: Mapping[str, Any]) -> Iterator[tuple[str, tuple[Promise, ...], Drawn]]:
    """One case: (no label, promises, the data set on trial)."""
    yield "", PROMISES, Drawn(plugin, given)


def it_is_documented(trial: Drawn) -> None:
    """Every setting is explained."""
    documented(trial.plugin)


def it_returns_images_and_labels(trial: Drawn) -> None:
    """uint8 images and int32 labels, as `Dataset` itself demands; groups, where there are some, for every training image."""
    data = trial.data
    for name, labels in (("y_train", data.y_train), ("y_test", data.y_test)):
        hold(labels.dtype == np.int32 and labels.ndim == 1, f"{name} is {labels.dtype} {labels.shape}; expected int32 (n,)")
    if data.group is not None:
        hold(data.group.shape == data.y_train.shape, f"group is {data.group.shape}; expected one number for each training image")


def classes_have_names_of_their_own(trial: Drawn) -> None:
    """Tables and figures tell classes apart by their names."""
    names = trial.data.class_names
    hold(len(names) >= 2, f"it has {len(names)} class; a classifier needs 2")
    hold(all(isinstance(name, str) and name for name in names), "a class name is empty, or no text")
    twice = {name for name in names if names.count(name) > 1}
    hold(not twice, f"{len(twice)} names stand for several classes, {min(twice, default='')!r} for example")


def it_is_the_same_each_time(trial: Drawn) -> None:
    """Results are kept by the images' fingerprint: all that is drawn comes from a seed among the settings, or a fixed one."""
    first = trial.data.fingerprint
    np.random.seed(1)
    random.seed(1)
    hold(trial.again().fingerprint == first, "asked twice, it returns other images: draw from np.random.default_rng(seed)")


def what_is_tested_was_not_trained_on(trial: Drawn) -> None:
    """At most one test image in twenty is also a training image."""
    data = trial.data
    if not len(data.y_train):
        raise Inapplicable("has no training images")
    seen = {image.tobytes() for image in data.x_train}
    share = np.mean([image.tobytes() in seen for image in data.x_test])
    hold(share <= 0.05, f"{share:.0%} of the test images are training images")


def test_images_are_the_same_without_training_images(trial: Drawn) -> None:
    """Where nothing is trained, `training` is False: then images to learn from need not be read, and what is measured stays."""
    if "training" not in trial.plugin.arguments:
        raise Inapplicable("takes no training")
    data = trial.again(training=False)
    hold(len(data.y_train) == 0, f"without training it still has {len(data.y_train)} training images")
    hold(data.test_fingerprint == trial.data.test_fingerprint, "without training its test images, or their classes, are others")


def the_images_differ(trial: Drawn) -> None:
    """More than one grey level, and more than one image."""
    x = np.asarray(trial.data.x_test[:LOOKED_AT])
    hold(x.max() > 1, "no pixel is above 1: images are grey levels from 0 to 255, not 0 to 1")
    hold(len({image.tobytes() for image in x}) > len(x) / 2, "more than half of the test images are copies of others")


PROMISES: tuple[Promise, ...] = (
    it_is_documented,
    it_returns_images_and_labels,
    classes_have_names_of_their_own,
    it_is_the_same_each_time,
    what_is_tested_was_not_trained_on,
    test_images_are_the_same_without_training_images,
    the_images_differ,
)
