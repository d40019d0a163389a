"""Adversarial images against one system, with what they cost."""

from __future__ import annotations

from functools import partial
from typing import cast

import numpy as np

from advrun.attack import bind
from advrun.config import AttackEntry
from advrun.craft import craft
from advrun.runs.examples import write_examples
from advrun.runs.oracles import DRIFT
from advrun.runs.plan import Cell
from advrun.runs.work.worker import Done, Worker
from advrun.system import BlackBox
from advrun.system.check import zero_gradients


def attack(worker: Worker, cell: Cell) -> Done:
    """Attack the first test images of the evaluation order."""
    data, system, entry = worker.data, worker.system(cell.system), cast("AttackEntry", cell.attack)
    rows = worker.order[: entry.examples]
    x, y = data.x_test[rows], data.y_test[rows]
    with worker.console.bar(f"attack {cell.label}", len(rows)) as bar:
        crafted = craft(
            system.classifier,
            bind(entry, cell.eps),
            x,
            y,
            logits=system.clean(len(rows)),
            seed=cell.seed,
            batch_size=worker.batch_size,
            target=entry.target,
            train=(data.x_train, data.y_train) if len(data.y_train) else None,
            checkpoints=worker.store.checkpoints(cell),
            bar=bar,
        )
    probe = np.flatnonzero(crafted.attacked)[: 2 * worker.batch_size]
    if isinstance(system.classifier, BlackBox):
        seen = {"drift": system.classifier.drift(x[:DRIFT], cell.key)}
    else:
        seen = {"zero_gradients": zero_gradients(system.classifier, x[probe], y[probe], worker.batch_size) if len(probe) else 0.0}
    arrays = {"x_adv": crafted.x_adv, "attacked": crafted.attacked, "row": rows}
    arrays |= {"gradients": crafted.gradients, "queries": crafted.queries}
    if crafted.target is not None:
        arrays["target"] = crafted.target
    means = {"gradients": crafted.mean(crafted.gradients), "queries": crafted.mean(crafted.queries)}
    cost = {**means, "seconds": crafted.seconds, "attacked": float(crafted.attacked.mean())}
    return {f"examples/{cell.stem}.h5": partial(write_examples, arrays, cell.label)}, {**cost, **seen}
