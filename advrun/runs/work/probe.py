"""Further columns of a row, by a metric that tries the row's attack again on a few images."""

from __future__ import annotations

import json
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import cast

from advrun.attack import bind
from advrun.config import AttackEntry
from advrun.geometry import Ball
from advrun.metrics import Outcome, columns
from advrun.probed import Probed
from advrun.retry import is_iterated, retrying
from advrun.runs.plan import Cell
from advrun.runs.work.measure import outcome_of
from advrun.runs.work.worker import Done, Worker
from advrun.system.witness import Witness


def probe(worker: Worker, cell: Cell) -> Done:
    """The columns that the metric adds, by name."""
    said = columns(cell.metric, worker.last(cell.needs[0].key, lambda: _probed(worker, cell), "attack"))
    return {f"metrics/{cell.stem}.json": partial(Path.write_text, data=json.dumps(said))}, {}


def _probed(worker: Worker, cell: Cell) -> Probed:
    outcome = outcome_of(worker, cell.needs[0])
    attack = bind(cast("AttackEntry", cell.attack), cell.eps)
    witness = worker.last(cell.system.key, lambda: Witness(outcome.classifier), "witness")
    return Probed(
        **{field.name: getattr(outcome, field.name) for field in fields(Outcome)},
        ball=cast("Ball", attack.geometry),
        again=retrying(witness, attack, seed=cell.seed, batch_size=worker.batch_size),
        iterated=is_iterated(attack),
        widest=cell.is_widest,
    )
