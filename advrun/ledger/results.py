"""The stored examples of a results folder, which is believed no more than a file of somebody else's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from advrun import engine
from advrun.closest import Closest
from advrun.errors import DataError, ModelError
from advrun.ledger.taken import Judge, Taken
from advrun.runs.untouched import Untouched, check_results
from advrun.verify.examples import Asker, images_of
from advrun.verify.rows import Claim, check_labels, labelled, measured
from advrun.verify.seals import SYSTEM, sealed
from advrun.verify.whole import data_of, experiment_of, with_paths


def take_results(ledger: Closest, root: Path, overrides: Sequence[str], taken: Taken) -> None:
    """Take in what attacks of a run have found against its systems; what is false is in `taken`.

    overrides: as after `--set`, for paths that are others on this machine, such as `data.root=PATH`.

    Raises:
        DataError: where there is no results folder, or its data set is not here.
    """
    minutes = taken.minutes
    check_results(root)
    cells = sealed(Untouched(root), minutes)
    experiment = with_paths(experiment_of(root, minutes), overrides, None)
    data = data_of(experiment, minutes) if experiment is not None else None
    if experiment is None or data is None:
        raise DataError("\n".join([*minutes.notes, f"{root}: without its data set its examples cannot be checked"]))
    compute = experiment.compute
    engine.start(0, deterministic=compute.deterministic, mixed_precision=compute.mixed_precision, jit=compute.jit)
    asker = Asker(root, data, minutes, draws=experiment.draws, batch_size=compute.batch_size)
    rows = [each for each in measured(root, cells, minutes) if each.result.row.norm and each.cell.images and each.cell.system]
    judges: dict[str, Judge | None] = {}
    for each in sorted(rows, key=_label):
        if (label := _label(each)) not in judges:
            judges = {label: _judge(asker, each)}  # the systems come one after the other: one is in memory
        judge = judges[label]
        if judge is not None:
            before = taken.kept
            _take(ledger, asker, each, judge, taken)
            if taken.kept > before:
                ledger.call(judge.key, f"{experiment.name}: {label}")


def _label(each: Claim) -> str:
    return each.cell.system.label if each.cell.system else ""


def _judge(asker: Asker, each: Claim) -> Judge | None:
    """The system that a row is about; None where it cannot be asked, which is said."""
    system = each.cell.system
    name = system.file("models", *SYSTEM) if system else None
    classifier = asker.classifier(system, each.result.row.seed) if system else None
    if classifier is None or name is None:
        return None
    try:
        return Judge.of_results(classifier, asker.root, name)
    except ModelError as error:
        asker.minutes.note(str(error))
        return None


def _take(ledger: Closest, asker: Asker, each: Claim, judge: Judge, taken: Taken) -> None:
    """The examples that a row says fool its system."""
    rows, images = check_labels(each, asker.data, taken.minutes), each.cell.images
    arrays = images_of(asker, images, rows) if images is not None and rows is not None else None
    if arrays is None or rows is None or images is None:
        return
    claimed = np.flatnonzero(arrays["attacked"].astype(bool) & ~each.result.correct)
    if len(claimed):
        data = labelled(each.cell, asker.data)
        x, y = data.x_test[rows[claimed]], data.y_test[rows[claimed]]
        judge.judge(ledger, each.result.row.norm, x, arrays["x_adv"][claimed], y, taken, images.examples or "", claimed)
