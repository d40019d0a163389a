"""Runs the cells of a plan, one after the other, each once. One that fails does not stop the others."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from advrun import engine, evaluate, registry
from advrun.attack import Attack
from advrun.classifier import Classifier
from advrun.console import Console
from advrun.craft import craft, unit
from advrun.errors import AdvrunError, ModelError
from advrun.geometry import GEOMETRIES
from advrun.kerasmodel import full_precision, load_model, logits_model, save_model
from advrun.metrics import Outcome
from advrun.plan import Cell, Plan, is_trained
from advrun.report.findings import Gallery
from advrun.results import ZERO_GRADIENTS
from advrun.store import Store
from advrun.train import Fit, classification, merged_history

GALLERY_IMAGES = 8
"""Images per attack that the report's figures can show."""

CHECKED_IMAGES = 2000
"""Images on which a system must predict what plain Keras does."""

WORK = [registry.PACKAGE / f"{module}.py" for module in ("craft", "store", "train")]
"""What plugins call that does more than arithmetic."""

Files = Mapping[str, Callable[[Path], Any]]


@dataclass
class Outcomes:
    """What happened to the cells of a run: labels by fate; `failed` holds (label, reason)."""

    done: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    blocked: list[str] = field(default_factory=list)


def execute(plan: Plan, cells: tuple[Cell, ...], store: Store, console: Console, *, fail_fast: bool = False) -> Outcomes:
    """Run every cell that is not done. A cell whose input failed is not tried; with `fail_fast` the first failure ends it."""
    outcomes = Outcomes()
    worker = Worker(plan, store, console)
    pending = [cell for cell in cells if store.manifest(cell) is None]
    outcomes.skipped = [cell.label for cell in cells if cell not in pending]
    with console.live():
        for number, cell in enumerate(pending, 1):
            if store.manifest(cell) is not None:  # its input was lost, and has been rebuilt to the same bytes
                outcomes.skipped.append(cell.label)
                continue
            if any(store.manifest(needed) is None for needed in cell.needs):
                outcomes.blocked.append(cell.label)
                continue
            store.event("start", cell=cell.label, kind=cell.kind)
            clock = time.perf_counter()
            try:
                worker.run(cell)
            except (Exception, MemoryError) as error:
                reason = str(error) if isinstance(error, AdvrunError) else f"{place(error)}{engine.reason(error)}"
                store.event("failed", cell=cell.label, reason=reason, traceback=traceback.format_exc())
                console.event("failed", label=cell.label, reason=reason)
                outcomes.failed.append((cell.label, reason))
                if fail_fast:
                    break
                continue
            seconds = round(time.perf_counter() - clock, 2)
            store.event("done", cell=cell.label, seconds=seconds)
            console.event("done", label=cell.label, cell=f"{number} of {len(pending)}", seconds=seconds)
            outcomes.done.append(cell.label)
    return outcomes


def place(error: BaseException) -> str:
    """The line of a plugin that the error came from, `advrun/attacks/pgd.py:31: `, or nothing: what training or the disk did is no fault
    of the defence that asked for it."""
    found = ""
    for frame in traceback.extract_tb(error.__traceback__):
        file = Path(frame.filename)
        if file.parent.parent == registry.PACKAGE:
            found = f"advrun/{file.parent.name}/{file.name}:{frame.lineno}: "
        elif file in WORK:
            found = ""
    return found


class Worker:
    """Does the work of single cells, keeping the classifier of the last system loaded."""

    def __init__(self, plan: Plan, store: Store, console: Console) -> None:
        self.experiment, self.data, self.store, self.console = plan.experiment, plan.data, store, console
        self.order = plan.data.evaluation_order()
        self._loaded: tuple[str, Classifier, np.ndarray] | None = None

    def run(self, cell: Cell) -> None:
        work = {"train": self._train, "attack": self._attack, "measure": self._measure}[cell.kind]
        compute = self.experiment.compute
        engine.start(cell.seed, deterministic=compute.deterministic, mixed_precision=compute.mixed_precision, jit=compute.jit)
        files, info = work(cell)
        self.store.finish(cell, files, {**info, **environment()})
        self.store.checkpoints(cell).clear()

    # Training ----------------------------------------------------------------------------------------------------

    def _train(self, cell: Cell) -> tuple[Files, dict[str, Any]]:
        fit = Fit(
            data=self.data,
            settings=self.experiment.train if cell.defense is None else cell.defense.train,
            validation=self.experiment.data.validation,
            seed=cell.seed,
            checkpoints=self.store.checkpoints(cell),
            console=self.console,
            label=f"train {cell.label}",
        )
        if cell.defense is None:
            model = self._undefended(cell, fit)
        else:
            model = load_model(self.store.file(cell.needs[0], ".keras"))
            plugin = registry.get("defenses", cell.defense.name)
            settings = {key: bind(value) if plugin.settings[key].is_attack else value for key, value in cell.defense.settings.items()}
            model = plugin.function(model, fit, **settings)
        original, model = model, full_precision(logits_model(model))
        self._check_fits(model)
        evaluate.check_against_keras(Classifier(model), original, self.data.x_test[self.order[:CHECKED_IMAGES]])
        history = json.dumps(merged_history(fit.histories), indent=1)
        files: Files = {
            f"models/{cell.stem}.keras": partial(save_model, model),
            f"models/{cell.stem}.json": partial(Path.write_text, data=history),
        }
        return files, {"epochs": {stage: len(history["loss"]) for stage, history in fit.histories.items()}}

    def _undefended(self, cell: Cell, fit: Fit) -> Any:
        build = registry.get("models", cell.model.name).function
        if not is_trained(cell.model):
            return build(**cell.model.settings)
        model = build(self.data.image_shape, self.data.classes, **cell.model.settings)
        return fit(model, classification(model), monitor="accuracy")

    def _check_fits(self, model: Any) -> None:
        if model.output_shape[-1] != self.data.classes:
            raise ModelError(
                f"model {model.name!r} has {model.output_shape[-1]} classes, data set {self.data.name} has {self.data.classes}"
            )
        if any(side not in (None, ours) for side, ours in zip(model.input_shape[1:], self.data.image_shape, strict=True)):
            raise ModelError(
                f"model {model.name!r} takes images {model.input_shape[1:]}, data set {self.data.name} has {self.data.image_shape}"
            )

    # Attacking ---------------------------------------------------------------------------------------------------

    def _attack(self, cell: Cell) -> tuple[Files, dict[str, Any]]:
        classifier, _ = self._system(cell.system)
        attack = bind(cell.attack, cell.eps)
        rows = self.order[: cell.attack.examples]
        batch_size = self.experiment.compute.batch_size
        with self.console.bar(f"attack {cell.label}", len(rows)) as bar:
            crafted = craft(
                classifier,
                attack,
                self.data.x_test[rows],
                self.data.y_test[rows],
                seed=cell.seed,
                batch_size=batch_size,
                target=cell.attack.target,
                train=(self.data.x_train, self.data.y_train) if len(self.data.y_train) else None,
                checkpoints=self.store.checkpoints(cell),
                bar=bar,
            )
        probe = np.flatnonzero(crafted.attacked)[: 2 * batch_size]
        blind = 0.0
        if len(probe):
            blind = evaluate.zero_gradients(classifier, self.data.x_test[rows][probe], self.data.y_test[rows][probe], batch_size)
        arrays = {"x_adv": crafted.x_adv, "attacked": crafted.attacked, "row": rows}
        arrays |= {"gradients": crafted.gradients, "queries": crafted.queries}
        if crafted.target is not None:
            arrays["target"] = crafted.target
        attacked = float(crafted.attacked.mean())
        means = {"gradients": crafted.mean(crafted.gradients), "queries": crafted.mean(crafted.queries)}
        cost = {**means, "seconds": crafted.seconds, "attacked": attacked}
        return {f"examples/{cell.stem}.h5": partial(write_examples, arrays, cell.label)}, {**cost, "zero_gradients": blind}

    # Measuring ---------------------------------------------------------------------------------------------------

    def _measure(self, cell: Cell) -> tuple[Files, dict[str, Any]]:
        classifier, logits = self._system(cell.system)
        images = cell.needs[1] if len(cell.needs) > 1 else None
        arrays = read_examples(self.store.file(images, ".h5")) if images else {}
        rows = arrays.get("row", self.order)
        x, y = unit(self.data.x_test[rows]), self.data.y_test[rows]
        before = logits[rows]
        x_adv = arrays.get("x_adv", x)
        after = classifier.predict(x_adv, self.experiment.compute.batch_size) if images else before
        outcome = Outcome(classifier, x, x_adv, y, before, after, arrays.get("target"))
        cost = self.store.finished(images).info if images else {}
        result = evaluate.measure(outcome, row(cell, cost), {name: cost.get(name) for name in ("attacked", "zero_gradients")})
        files: dict[str, Any] = {f"rows/{cell.stem}.json": partial(Path.write_text, data=result.to_json())}
        if images:
            files[f"rows/{cell.stem}.npz"] = gallery(outcome, cell).write
        return files, {"accuracy": result.row.accuracy}

    def _system(self, cell: Cell) -> tuple[Classifier, np.ndarray]:
        """The trained system of a cell, checked against plain Keras, with its logits of the whole test set."""
        if self._loaded is None or self._loaded[0] != cell.key:
            self._loaded = None
            model = load_model(self.store.file(cell, ".keras"))
            self._check_fits(model)  # the file may be older than the data
            classifier = Classifier(model, name=cell.label)
            batch_size = self.experiment.compute.batch_size
            evaluate.check_against_keras(classifier, model, self.data.x_test[self.order[:CHECKED_IMAGES]], batch_size)
            self._loaded = cell.key, classifier, classifier.predict(self.data.x_test, batch_size)
        return self._loaded[1], self._loaded[2]


def row(cell: Cell, cost: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a cell's row that are known before it is measured. `cost`: what crafting its images took."""
    columns: dict[str, Any] = {
        "model": cell.model.label,
        "defense": cell.defense_label,
        "attack": cell.attack_label,
        "threat": cell.threat,
        "seed": cell.seed,
    }
    if cell.attack is None:
        return columns
    return columns | {
        "eps": cell.eps,
        "norm": cell.attack.norm or "",
        "target": aim(cell),
        "settings": dict(cell.attack.settings),
        "budget": bind(cell.attack, cell.eps).budget() + (" for each class" if aim(cell) == "all" else ""),
        "flags": (ZERO_GRADIENTS,) if cost["zero_gradients"] > 0 else (),
        **{name: cost[name] for name in ("gradients", "queries", "seconds")},
    }


def bind(choice: Any, eps: float | None = None) -> Attack:
    """The attack of a YAML entry, with its geometry; `eps` picks one of a sweep."""
    plugin = registry.get("attacks", choice.name)
    eps = choice.eps if eps is None and isinstance(choice.eps, float) else eps
    ball = GEOMETRIES[choice.norm] if choice.norm else None
    geometry = None if ball is None else ball() if eps is None else ball(eps)
    return Attack(plugin, geometry, dict(choice.settings))


def aim(cell: Cell) -> str:
    """What a targeted attack aims at, as in the YAML file."""
    return "" if cell.attack is None or cell.attack.target is None else str(cell.attack.target)


def gallery(outcome: Outcome, cell: Cell) -> Gallery:
    """The first images that were right before the attack, as the figures show them."""
    chosen = np.flatnonzero(outcome.before.argmax(-1) == outcome.y)[:GALLERY_IMAGES]
    before, after = softmax(outcome.before[chosen]), softmax(outcome.after[chosen])
    return Gallery(
        model=cell.model.label,
        defense=cell.defense_label,
        attack=cell.attack_label,
        eps=cell.eps,
        norm=cell.attack.norm or "",
        target=aim(cell),
        threat=cell.threat,
        seed=cell.seed,
        x=outcome.x[chosen],
        x_adv=outcome.x_adv[chosen],
        defended=outcome.classifier.purify(outcome.x_adv[chosen]) if len(chosen) else None,
        label=outcome.y[chosen],
        predicted=before.argmax(-1).astype(np.int32),
        predicted_adv=after.argmax(-1).astype(np.int32),
        confidence=before.max(-1),
        confidence_adv=after.max(-1),
    )


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities (n, classes) of logits (n, classes)."""
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def write_examples(arrays: Mapping[str, np.ndarray], label: str, path: Path) -> None:
    """x_adv (n, h, w, c) float32, lossless; attacked (n,) bool; row (n,): row of the test set; target (n,) when targeted."""
    import h5py

    with h5py.File(path, "w", track_order=True) as file:
        file.attrs["label"] = label
        for name, array in arrays.items():
            packed = {"compression": "gzip", "compression_opts": 1, "shuffle": True} if name == "x_adv" else {}
            file.create_dataset(name, data=array, track_times=False, **packed)


def read_examples(path: Path) -> dict[str, np.ndarray]:
    """What `write_examples` wrote."""
    import h5py

    with h5py.File(path, "r") as file:
        return {name: file[name][:] for name in file}


def environment() -> dict[str, str]:
    """Versions and device, for the manifest."""
    packages = ("advrun", "tensorflow", "keras", "numpy")
    return {
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in packages},
        "device": engine.devices()[0],
    }
