"""A row of the table: what a system makes of clean or adversarial images, and the few of them that figures show."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from advrun import evaluate
from advrun.errors import ModelError
from advrun.images import Images
from advrun.metrics import Outcome, Transferred
from advrun.results import Result
from advrun.roc import SCORES, Scored
from advrun.runs.columns import row
from advrun.runs.examples import read_examples
from advrun.runs.gallery import gallery
from advrun.runs.plan import Cell
from advrun.runs.work.worker import Done, Worker


def measure(worker: Worker, cell: Cell) -> Done:
    """Accuracy with its interval, and the outcome of every image."""
    images = cell.images
    outcome = outcome_of(worker, cell)
    cost = worker.store.finished(images).info if images else {}
    known = {name: cost.get(name) for name in ("attacked", "zero_gradients")} | {name: cost[name] for name in ("drift",) if name in cost}
    answers = drawn(outcome) if outcome.classifier.random else None
    known |= {} if answers is None else evaluate.varied(answers, outcome.after, outcome.y)
    result = evaluate.measure(outcome, row(cell, cost), known, answers if answers is not None and outcome.classifier.chain.votes else None)
    files: dict[str, Any] = {f"rows/{cell.stem}.json": partial(Path.write_text, data=result.to_json())}
    if outcome.attacked is not None and cell.own is None:  # the source's own row shows the same images
        files[f"rows/{cell.stem}.npz"] = gallery(outcome, outcome.attacked, result.distances, cell).write
    if outcome.attacked is not None and outcome.classifier.detects:
        files[f"rows/{cell.stem}{SCORES}"] = Scored.of(outcome.before, outcome.after, outcome.y).write
    return files, {"accuracy": result.row.accuracy}


def drawn(outcome: Outcome) -> np.ndarray:
    """The class that a random system gives each image of a row in each draw, (n, draws)."""
    shown = outcome.images if outcome.attacked is None else outcome.attacked
    return outcome.classifier.answers(shown, outcome.batch_size)


def outcome_of(worker: Worker, cell: Cell) -> Outcome:
    """The images of a row, and the system's logits of them; those of the last row are kept."""
    return worker.last(cell.key, lambda: _outcome(worker, cell))


def _outcome(worker: Worker, cell: Cell) -> Outcome:
    system, images = worker.system(cell.system), cell.images
    most, whole = (len(worker.order), *worker.data.image_shape), not isinstance(worker.data.x_test, Images)
    arrays = worker.store.read(images, ".h5", lambda path: read_examples(path, most, whole=whole)) if images else {}
    rows = arrays.get("row", worker.order)
    x, y, before = worker.data.x_test[rows], worker.data.y_test[rows], system.clean_of(rows)
    finite(before, system.classifier.name)
    if not images:
        return Outcome(system.classifier, x, None, y, before, before, batch_size=worker.batch_size)
    after = system.classifier.predict(arrays["x_adv"], worker.batch_size)
    finite(after, f"{system.classifier.name}, attacked")
    seen = system.classifier, x, arrays["x_adv"], y, before, after, arrays.get("target"), worker.batch_size
    if cell.own is None:
        return Outcome(*seen)
    answers = worker.store.read(cell.own, ".json", Result.read).predictions
    return Transferred(*seen, crafted=arrays["attacked"].astype(bool), source_after=answers)


def finite(logits: np.ndarray, name: str) -> None:
    """Raises ModelError for answers that are no numbers: of a network, or of what a defence puts in front of it."""
    lost = int((~np.isfinite(logits).all(axis=-1)).sum())
    if lost:
        raise ModelError(f"{name}: NaN or infinite logits of {lost:,} of {len(logits):,} images; look at the network, and at its defences")
