"""A trained system, defended or not: its file, and its curves."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from advrun import defend, engine, registry
from advrun.config import Training
from advrun.errors import ModelError
from advrun.lesson import merged_history
from advrun.runs.needs import is_trained, training_of
from advrun.runs.plan import Cell
from advrun.runs.work.worker import Done, Files, Worker
from advrun.system import Classifier
from advrun.system.check import check_against_keras, zero_gradients
from advrun.system.copies import full_precision
from advrun.system.ends import logits_model
from advrun.system.modelfile import save_model
from advrun.system.stages import Chain, is_one_file
from advrun.train import Fit, trained

PROBED = 64
"""Images whose gradients are looked at behind purifiers, and what these make of them."""
TOGETHER = 16
"""Of these, so many are purified at once."""
ROUNDING = 1e-4
"""By so much a pixel may leave [0, 1], and the mean pixel of an image depend on where in a batch it stands: float16, and sums in another
order."""
MANY = 0.2
"""Share of them that may be blind: a sure network has gradients of 0 too."""


def train(worker: Worker, cell: Cell) -> Done:
    """Build, train, or read the system of a cell."""
    if cell.model.label in worker.opened.boxes:  # nothing to train, and no file
        read = {"epochs": {}, "model": worker.opened.info[cell.model.label]}
        return {f"models/{cell.stem}.json": partial(Path.write_text, data="{}")}, read
    training = training_of(cell.model, cell.defense) or Training()  # where nothing is trained they are not looked at
    fit = Fit(
        data=worker.data.half(training.half),
        settings=training,
        validation=worker.experiment.data.validation,
        seed=cell.seed,
        checkpoints=worker.store.checkpoints(cell),
        console=worker.console,
        label=f"train {cell.label}",
    )
    if cell.defense is None:
        original = undefended(worker, cell, fit)
        system = Chain(full_precision(as_logits(original, cell.model.settings.get("path"))))
    else:
        base = worker.read(cell.needs[0])
        original = defend.defended(cell.defense.name, base, fit, cell.defense.settings)
        system = defend.settled(original)
    worker.check_fits(system.network)
    classifier = Classifier(system)
    rows = worker.order[:PROBED]
    if cell.defense and (system.purifiers or classifier.purifier is not None):
        refuse_no_images(f"defence {cell.defense_label!r}", classifier, engine.to_unit(np.asarray(worker.data.x_test[rows])))
    check_against_keras(classifier, original, worker.checked)
    if system.purifiers:
        say_if_blind(worker, cell, zero_gradients(classifier, worker.data.x_test[rows], worker.data.y_test[rows], PROBED))
    history = json.dumps(merged_history(fit.histories), indent=1)
    files: Files = {
        **system_file(worker, cell, system, fit),
        f"models/{cell.stem}.json": partial(Path.write_text, data=history),
    }
    info: dict[str, Any] = {"epochs": {stage: len(history["loss"]) for stage, history in fit.histories.items()}}
    if cell.defense is None and not is_trained(cell.model):
        info["model"] = worker.opened.info[cell.model.label]
    return files, info


def refuse_no_images(name: str, classifier: Classifier, x: np.ndarray) -> None:
    """Raises ModelError for purifiers that do not make images of the images x (n, h, w, c), each of its own alone.

    NaN: the network behind them may hide it, as the largest of a pool does. Pixels outside of [0, 1], but for noise that a smoothed
    classifier does not clip. And what changes with the other images of the batch: half of it is purified again, each image elsewhere in the
    batch and between others. Compared is the mean pixel of the middle image, so that a grey level that rounding has moved does not count.
    """
    purifiers = classifier.chain.purifiers
    shown = np.asarray(classifier.purify(x, TOGETHER))
    lost = int((~np.isfinite(shown).all(axis=(1, 2, 3))).sum())
    if lost:
        raise ModelError(f"{name}: it makes NaN or infinite pixels of {lost} of the first {len(shown)} test images")
    low, high = float(shown.min()), float(shown.max())
    if (low < -ROUNDING or high > 1 + ROUNDING) and not any(purifier.sigma for purifier in purifiers):
        raise ModelError(f"{name}: it makes pixels from {low:.4g} to {high:.4g} of the test images; clip them: ops.clip(x, 0.0, 1.0)")
    others = 1 - x[:TOGETHER]
    places = np.arange(len(others))[::-2]
    others[places] = x[: len(places)]
    again = np.asarray(classifier.purify(others, TOGETHER))[places]
    apart = float(np.median(np.abs(again - shown[: len(places)]).mean(axis=(1, 2, 3))))
    if apart > ROUNDING:
        reason = f"with other images in the batch it makes another of an image, by {apart:.2g} in the mean pixel"
        raise ModelError(
            f"{name}: {reason}; purify each by itself: no mean, order or index over the first axis, and random numbers from rng"
        )


def say_if_blind(worker: Worker, cell: Cell, share: float) -> None:
    """Warn of purifiers that gradients do not pass, before anything is attacked: what rounds would look robust."""
    if share > MANY:
        text = f"defence {cell.defense_label!r}: behind it the loss gradient of {100 * share:.0f} % of the images is zero or not a number"
        worker.console.warn(f"{text}, so gradient attacks are blind; what rounds needs Purifier(..., backward='identity')")


def as_logits(model: Any, path: str | None) -> Any:
    """`logits_model`, whose refusal names the file that the model is from, if any."""
    try:
        return logits_model(model)
    except ModelError as error:
        raise ModelError(f"{path}: {error}" if path else str(error)) from error


def undefended(worker: Worker, cell: Cell, fit: Fit) -> Any:
    """The classifier as it is, trained on clean images unless it comes trained."""
    if not is_trained(cell.model):
        return worker.opened.models[cell.model.label].system(worker.data.image_shape, worker.data.class_names)
    return trained(registry.get("models", cell.model.name), cell.model.settings, fit)


def system_file(worker: Worker, cell: Cell, system: Chain, fit: Fit) -> Files:
    """How the system is written: as one `.keras` file where that holds all of it, else as what its defence fitted."""
    defense = cell.defense
    if defense is None or is_one_file(system):
        return {f"models/{cell.stem}.keras": partial(save_model, system.network)}
    base = worker.store.file(cell.needs[0], worker.ending(cell.needs[0])).name

    def write(path: Path) -> None:
        path.write_bytes(defend.packed(defense.name, defense.settings, base, fit.fitted, fit.learnt))
        defend.check_read_again(system, defend.load(path))

    return {f"models/{cell.stem}{defend.FILE}": write}
