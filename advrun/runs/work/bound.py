"""How far no attack can reach: what a bound says of the test images of one system."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np

from advrun import registry
from advrun.certificates import Certificate
from advrun.certify import bind, certify
from advrun.config import BoundEntry
from advrun.errors import UnboundedError
from advrun.runs.plan import Cell
from advrun.runs.work.worker import Done, Worker


def bound(worker: Worker, cell: Cell) -> Done:
    """Bound the first test images of the evaluation order. Where it cannot be had of such a system, that is the result, and is told."""
    data, system, entry = worker.data, worker.system(cell.system), cast("BoundEntry", cell.bound)
    rows = worker.order[: entry.examples]
    plugin = registry.get("bounds", entry.name)
    said = Certificate(
        model=cell.model.label,
        defense=cell.defense_label,
        bound=entry.label,
        name=entry.name,
        seed=cell.seed,
        norm=entry.norm,
        sound=plugin.sound,
        labels=data.y_test[rows],
        radius=np.zeros(len(rows), np.float32),
        target="" if entry.target is None else str(entry.target),
        about=plugin.about,
        settings=dict(entry.settings),
    )
    try:
        with worker.console.bar(f"bound {cell.label}", len(rows)) as bar:
            found = certify(
                system.classifier,
                bind(entry),
                data.x_test[rows],
                data.y_test[rows],
                logits=system.clean_of(rows),
                seed=cell.seed,
                batch_size=worker.batch_size,
                target=entry.target,
                checkpoints=worker.store.checkpoints(cell),
                bar=bar,
            )
    except UnboundedError as error:
        worker.console.warn(f"{cell.label}: {error}")
        said = replace(said, refused=str(error))
    else:
        said = replace(
            said,
            radius=found.radius,
            about=found.about,
            details=found.details,
            gradients=found.mean(found.gradients),
            queries=found.mean(found.queries),
            seconds=found.seconds,
        )
    return {f"bounds/{cell.stem}.json": partial(Path.write_text, data=said.to_json())}, {"refused": said.refused}
