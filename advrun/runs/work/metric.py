"""Further columns of a row that is measured already, by one metric."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from advrun.metrics import columns
from advrun.runs.plan import Cell
from advrun.runs.work.measure import outcome_of
from advrun.runs.work.worker import Done, Worker


def metric(worker: Worker, cell: Cell) -> Done:
    """The columns that the metric adds, by name."""
    said = columns(cell.metric, outcome_of(worker, cell.needs[0]))
    return {f"metrics/{cell.stem}.json": partial(Path.write_text, data=json.dumps(said))}, {}
