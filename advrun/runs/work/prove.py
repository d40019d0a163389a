"""A unit test of an evaluation: one attack on a system in which an example is planted near every image."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import cast

import numpy as np

from advrun import engine
from advrun.attack import bind
from advrun.config import AttackEntry
from advrun.errors import ModelError
from advrun.geometry import GEOMETRIES
from advrun.planted import Planted, found, plant
from advrun.proof import Proof
from advrun.runs.plan import Cell
from advrun.runs.proofs import ProofCell, outline
from advrun.runs.work.worker import Done, Worker

NOWHERE = "in none of the images an example could be planted: the system is wrong on them, or its features do not tell points apart"

BARRED = ", or its detector rejects every candidate"

AT_RANDOM = "; the system draws at random, and what one draw tells apart another may not"


def prove(worker: Worker, cell: Cell) -> Done:
    """How many of the planted examples the attack finds."""
    cell = cast("ProofCell", cell)
    proof = Proof(**outline(cell))
    if not cell.reason:
        entry = cast("AttackEntry", cell.attack)
        attack = bind(entry, cell.eps)
        with worker.console.bar(f"{cell.label}", cell.count) as bar:
            try:
                planted = worker.last(
                    f"{cell.system.key} {cell.norm} {cell.within} {cell.count}", lambda: _planted(worker, cell), "planted"
                )
                system = worker.system(cell.system).classifier
                reason = "" if planted else NOWHERE + BARRED * system.detects + AT_RANDOM * system.random
            except ModelError as error:
                planted, reason = None, str(error)
            counts = {"left_out": cell.count, "reason": reason}
            if planted is not None:
                by = partial(found, planted, attack, target=entry.target is not None, seed=cell.seed, batch_size=worker.batch_size)
                reached, unguarded = by(), int(by(unguarded=True).sum()) if planted.classifier.detects else None
                counts = {"n": len(reached), "found": int(reached.sum()), "random": int(planted.random.sum()), "left_out": planted.left_out}
                counts |= {"unguarded": unguarded}
            bar.advance(cell.count)
        proof = Proof(**{**outline(cell), **counts, "budget": attack.budget()})
    return {f"proofs/{cell.stem}.json": partial(Path.write_text, data=proof.to_json())}, {}


def _planted(worker: Worker, cell: ProofCell) -> Planted | None:
    """Systems with planted examples are the same for all attacks within one ball."""
    rows = worker.order[: cell.count]
    x = np.asarray(engine.to_unit(np.asarray(worker.data.x_test[rows])))
    ball, system = GEOMETRIES[cell.norm](cell.within), worker.system(cell.system).classifier
    return plant(system, x, worker.data.y_test[rows], ball, seed=cell.seed, batch_size=worker.batch_size)
