"""What systems under attack promise, whether they come from a model's file or from a defence's: Keras models, or chains of stages."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol
from unittest.mock import patch

import numpy as np

from advrun import registry
from advrun.checkpoints import Checkpoints
from advrun.config import Training
from advrun.console import Console
from advrun.contract.promise import Broken, hold
from advrun.data import Dataset
from advrun.defend import load
from advrun.engine import keras
from advrun.errors import ModelError
from advrun.system import Classifier
from advrun.system.check import zero_gradients
from advrun.system.ends import logits_model
from advrun.system.stages import Chain, chained
from advrun.train import Fit

ROUNDING = 1e-5
"""By which a purifier's pixels may leave [0, 1]."""


class Trial(Protocol):
    """A unit that makes systems, with what it made."""

    @property
    def system(self) -> Any:
        """A Keras model from images to logits, or a chain."""

    @property
    def data(self) -> Dataset:
        """The images that it was trained on."""

    def again(self, checkpoints: Checkpoints) -> Any:
        """Another system, made in the same way with the same seed."""

    def write(self, folder: Path) -> Path:
        """Write the system as a run does, and return its file."""


def fit_on(data: Dataset, checkpoints: Checkpoints, epochs: int, learning_rate: float = 1e-2) -> Fit:
    """How units are trained on trial."""
    training = Training(epochs=epochs, batch_size=32, learning_rate=learning_rate, patience=epochs)
    return Fit(data, training, 0.2, 0, checkpoints, Console(quiet=True), "trial")


def it_maps_images_to_logits(trial: Trial) -> None:
    """A Keras model with one image input and one output, the logits of all classes; a defence may return a chain that ends in one."""
    hold(isinstance(trial.system, (keras.Model, Chain)), f"it returns {type(trial.system).__name__}; expected a Keras model")
    network = chained(trial.system).network
    classifier = Classifier(trial.system)
    expected = trial.data.image_shape
    fits = all(side in (None, ours) for side, ours in zip(classifier.image_shape, expected, strict=True))
    hold(fits, f"its images are {classifier.image_shape}; those of the data {expected}")
    hold(classifier.classes == trial.data.classes, f"it has {classifier.classes} classes; the data {trial.data.classes}")
    hold(logits_model(network) is network, "it ends in a softmax, which would be cut off; return logits")


def it_is_read_again_as_it_was_written(trial: Trial) -> None:
    """As a run writes it, by a process that knows no layers but those of Keras and those in `layers/`."""
    before = Classifier(trial.system).predict(trial.data.x_test)
    registry.load_layers()  # registered now, they are still known when what is taken away here is put back
    known = keras.saving.get_custom_objects()
    homes = {name: getattr(of, "__module__", "") for name, of in known.items()}
    elsewhere = [name for name, home in homes.items() if home.startswith("advrun.") and not home.startswith("advrun.layers.")]
    with tempfile.TemporaryDirectory() as folder, patch.dict(known):
        for name in elsewhere:
            del known[name]
        try:
            again = load(trial.write(Path(folder)))
            after = Classifier(again).predict(trial.data.x_test)
        except (ModelError, TypeError, ValueError, NotImplementedError) as error:
            remedy = "register its layers in layers/NAME.py of a folder given by --plugins"
            raise Broken(f"saved, it cannot be read again ({str(error).splitlines()[0]}); {remedy}") from error
        hold(again.network.output_shape == chained(trial.system).network.output_shape, "read again it has other outputs")
    apart = np.abs(after - before).max()
    hold(apart <= 1e-5 * max(1.0, float(np.abs(before).max())), f"saved and read again its logits differ by {apart:g}")


def an_image_is_answered_alike_alone_and_in_a_batch(trial: Trial) -> None:
    """Nothing random is left in inference, and images know nothing of their neighbours."""
    classifier, x = Classifier(trial.system), trial.data.x_test[:9]
    together, alone = classifier.predict(x), np.concatenate([classifier.predict(image[None]) for image in x])
    apart = np.abs(together - alone).max()
    hold(apart <= 1e-4 * max(1.0, float(np.abs(together).max())), f"alone an image's logits differ by {apart:g} from those in a batch")


def gradients_pass_through_it(trial: Trial) -> None:
    """Otherwise gradient attacks would be blind, and the tables flagged."""
    x, y = trial.data.x_test[::5], trial.data.y_test[::5]
    share = zero_gradients(Classifier(trial.system), x, y, len(x))
    remedy = "pass a rounding layer backward as the identity: x + stop_gradient(round(x) - x)"
    hold(share < 0.5, f"the gradient of {share:.0%} of the images is zero or not a number; {remedy}")


def what_is_classified_are_images(trial: Trial) -> None:
    """What purifiers make of images is images again: numbers from 0 to 1."""
    shown = Classifier(trial.system).purify(trial.data.x_test)
    if shown is None:
        return
    low, high = float(shown.min()), float(shown.max())
    hold(np.isfinite([low, high]).all(), "its purifier makes pixels that are NaN or infinite")
    hold(low >= -ROUNDING and high <= 1 + ROUNDING, f"its purifier makes pixels from {low:.4g} to {high:.4g}; clip them to [0, 1]")


class _Killed(BaseException):
    """What stops a training here; no `except Exception` of a unit catches it, as none catches a kill."""


class _Mortal(Checkpoints):
    """Checkpoints that are written at once; the process dies after some of them."""

    def __init__(self, folder: Path, lives: int) -> None:
        super().__init__(folder)
        self.lives = lives

    def put(self, name: str, arrays: Any) -> None:
        super().put(name, arrays)
        self.flush()
        self.lives -= 1
        if self.lives == 0:
            raise _Killed


def killed_and_resumed_it_ends_the_same(trial: Trial) -> None:
    """Made anew with the same seed, killed after the second epoch and gone on with, it has the same weights, bit for bit."""
    with tempfile.TemporaryDirectory() as folder:
        with suppress(_Killed):
            trial.again(_Mortal(Path(folder), 2))
        resumed = _different(trial, trial.again(Checkpoints(Path(folder))))
    if not resumed:
        return
    with tempfile.TemporaryDirectory() as folder:
        unhurt = _different(trial, trial.again(Checkpoints(Path(folder))))
    said = "made a second time with the same seed" if unhurt else "killed and resumed"
    hold(
        False, f"{said}, {len(resumed)} of {len(chained(trial.system).network.weights)} weights differ, {', '.join(resumed[:2])} among them"
    )


def _different(trial: Trial, again: Any) -> list[str]:
    """The weights that are not the same bit for bit; of purifiers what they make of images, of detectors their answers."""
    if chained(trial.system).detectors:
        judged = [Classifier(system).predict(trial.data.x_test)[:, -1] for system in (trial.system, again)]
        if not np.array_equal(judged[0], judged[1]):
            return ["what its detectors say"]
    if chained(trial.system).purifiers:
        shown = [np.asarray(Classifier(system).purify(trial.data.x_test)) for system in (trial.system, again)]
        if not np.array_equal(shown[0], shown[1]):
            return ["what its purifiers make of images"]
    one, other = chained(trial.system).network, chained(again).network
    hold(len(one.weights) == len(other.weights), f"made a second time it has {len(other.weights)} weights, before {len(one.weights)}")
    pairs = zip(one.weights, other.weights, strict=True)
    return [weight.path for weight, again in pairs if not np.array_equal(weight.numpy(), again.numpy())]
