"""A trained system, defended or not: its Keras file, and its curves."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from advrun import registry
from advrun.attack import bind
from advrun.config import DefenseEntry
from advrun.errors import ModelError
from advrun.runs.plan import Cell, is_trained
from advrun.runs.work.worker import Done, Files, Worker
from advrun.system import Classifier
from advrun.system.check import check_against_keras
from advrun.system.copies import full_precision
from advrun.system.ends import logits_model
from advrun.system.modelfile import load_model, save_model
from advrun.train import Fit, classification, merged_history


def train(worker: Worker, cell: Cell) -> Done:
    """Build, train, or read the system of a cell."""
    if cell.model.label in worker.opened.boxes:  # nothing to train, and no file
        read = {"epochs": {}, "model": worker.opened.info[cell.model.label]}
        return {f"models/{cell.stem}.json": partial(Path.write_text, data="{}")}, read
    fit = Fit(
        data=worker.data,
        settings=worker.experiment.train if cell.defense is None else cell.defense.train,
        validation=worker.experiment.data.validation,
        seed=cell.seed,
        checkpoints=worker.store.checkpoints(cell),
        console=worker.console,
        label=f"train {cell.label}",
    )
    original = undefended(worker, cell, fit) if cell.defense is None else defended(worker, cell, cell.defense, fit)
    model = full_precision(as_logits(original, cell.model.settings.get("path")))
    worker.check_fits(model)
    check_against_keras(Classifier(model), original, worker.checked)
    history = json.dumps(merged_history(fit.histories), indent=1)
    files: Files = {
        f"models/{cell.stem}.keras": partial(save_model, model),
        f"models/{cell.stem}.json": partial(Path.write_text, data=history),
    }
    info: dict[str, Any] = {"epochs": {stage: len(history["loss"]) for stage, history in fit.histories.items()}}
    if cell.defense is None and not is_trained(cell.model):
        info["model"] = worker.opened.info[cell.model.label]
    return files, info


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
    build = registry.get("models", cell.model.name).function
    model = build(worker.data.image_shape, worker.data.classes, **cell.model.settings)
    return fit(model, classification(model), monitor="accuracy")


def defended(worker: Worker, cell: Cell, entry: DefenseEntry, fit: Fit) -> Any:
    """What a defence makes of the trained classifier."""
    model = worker.store.read(cell.needs[0], ".keras", load_model)
    plugin = registry.get("defenses", entry.name)
    settings = {key: bind(value) if plugin.settings[key].is_attack else value for key, value in entry.settings.items()}
    return plugin.function(model, fit, **settings)
