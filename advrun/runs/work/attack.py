"""Adversarial images against one system, with what they cost."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import numpy as np

from advrun.attack import bind
from advrun.config import AttackEntry
from advrun.craft import craft
from advrun.runs.examples import write_examples
from advrun.runs.plan import Cell
from advrun.runs.work.worker import Done, Worker
from advrun.survey import surveyed
from advrun.system.check import zero_gradients


def attack(worker: Worker, cell: Cell) -> Done:
    """Attack the first test images of the evaluation order, or the first of the class that the attack concerns."""
    data, system, entry = worker.data, worker.system(cell.system), cast("AttackEntry", cell.attack)
    rows = worker.order[concerned(entry, data.y_test[worker.order])][: entry.examples]
    pool = concerned(entry, data.y_train)
    x, y = data.x_test[rows], data.y_test[rows]
    with worker.console.bar(f"attack {cell.label}", len(rows)) as bar:
        crafted = craft(
            system.classifier,
            bind(entry, cell.eps),
            x,
            y,
            logits=system.clean_of(rows),
            seed=cell.seed,
            batch_size=worker.batch_size,
            target=entry.target,
            train=(data.x_train[pool], data.y_train[pool]) if len(data.y_train) else None,
            checkpoints=worker.store.checkpoints(cell),
            bar=bar,
        )
    probe = np.flatnonzero(crafted.attacked)[: 2 * worker.batch_size]
    blind = zero_gradients(system.classifier, x[probe], y[probe], worker.batch_size) if len(probe) else 0.0
    arrays = {"x_adv": crafted.x_adv, "attacked": crafted.attacked, "row": rows}
    arrays |= {"gradients": crafted.gradients, "queries": crafted.queries}
    if crafted.target is not None:
        arrays["target"] = crafted.target
    means = {"gradients": crafted.mean(crafted.gradients), "queries": crafted.mean(crafted.queries)}
    cost = {**means, "seconds": crafted.seconds, "attacked": float(crafted.attacked.mean())}
    files: dict[str, Any] = {f"examples/{cell.stem}.h5": partial(write_examples, arrays, cell.label)}
    survey = surveyed(system.classifier, bind(entry, cell.eps), crafted, x, y, cell.seed)
    if survey is not None:
        files[f"surveys/{cell.stem}.npz"] = survey.write
    return files, {**cost, "zero_gradients": blind}


def concerned(entry: AttackEntry, labels: np.ndarray) -> slice | np.ndarray:
    """What takes those rows that the attack concerns."""
    return slice(None) if entry.source_class is None else np.flatnonzero(labels == entry.source_class)
