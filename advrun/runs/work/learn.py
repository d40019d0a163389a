"""What attacks learn from images alone, once for all of them: a GAN, for instance."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import cast

from advrun.attack import bind
from advrun.batchwise import learn as learn_by
from advrun.checkpoints import Section
from advrun.config import AttackEntry
from advrun.craft import held
from advrun.lesson import LEARNT
from advrun.npz import pack
from advrun.runs.plan import Cell
from advrun.runs.work.attack import concerned, taught
from advrun.runs.work.worker import Done, Worker


def learn(worker: Worker, cell: Cell) -> Done:
    """Call the `fit` of the cell's attack on the training images, or on those of the class that the attack concerns."""
    data, entry = worker.data, cast("AttackEntry", cell.attack)
    rows = concerned(entry, data.y_train)
    attack = bind(entry, cell.eps)
    pool = held((data.x_train[rows], data.y_train[rows]), attack, cell.seed)
    learnt = learn_by(attack, None, pool, cell.seed, Section(worker.store.checkpoints(cell)), worker.console)
    files, info = taught((learnt,), cell.stem, "learnt")
    return {**files, f"learnt/{cell.stem}{LEARNT}": partial(Path.write_bytes, data=pack(learnt.to_arrays()))}, info
