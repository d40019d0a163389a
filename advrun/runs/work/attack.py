"""Adversarial images against one system, with what they cost."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from advrun.attack import bind
from advrun.config import AttackEntry
from advrun.craft import craft
from advrun.lesson import LEARNT, PICTURES, WHOLE, Learnt, merged_history
from advrun.npz import pack, unpack
from advrun.runs.examples import write_examples
from advrun.runs.oracles import DRIFT
from advrun.runs.plan import Cell
from advrun.runs.work.worker import Done, Files, Worker
from advrun.survey import SURVEY, surveyed
from advrun.system import BlackBox
from advrun.system.check import zero_gradients
from advrun.types import Cost


def attack(worker: Worker, cell: Cell) -> Done:
    """Attack the first test images of the evaluation order, or the first of the class that the attack concerns."""
    data, system, entry = worker.data, worker.system(cell.system), cast("AttackEntry", cell.attack)
    rows = worker.order[concerned(entry, data.y_test[worker.order])][: entry.examples]
    pool = concerned(entry, data.y_train)
    known = cell.learnt
    shared = None if known is None else worker.store.read(known, LEARNT, lambda path: Learnt.from_arrays(unpack(path)))
    x, y = data.x_test[rows], data.y_test[rows]
    with worker.console.bar(f"attack {cell.label}", len(rows)) as bar:
        crafted = craft(
            system.classifier,
            bind(entry, cell.eps, cell.draws or 1),
            x,
            y,
            logits=system.clean_of(rows),
            seed=cell.seed,
            batch_size=worker.batch_size,
            target=entry.target,
            train=(data.x_train[pool], data.y_train[pool]) if len(data.y_train) else None,
            checkpoints=worker.store.checkpoints(cell),
            bar=bar,
            console=worker.console,
            learnt=shared,
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
    means: dict[str, Any] = {"gradients": crafted.mean(crafted.gradients), "queries": crafted.mean(crafted.queries)}
    means |= {"learning": str(crafted.learning)} if crafted.learning != Cost() else {}
    cost = {**means, "seconds": crafted.seconds, "attacked": float(crafted.attacked.mean())}
    files: dict[str, Any] = {f"examples/{cell.stem}.h5": partial(write_examples, arrays, cell.label)}
    lessons, info = taught(() if shared else crafted.learnt, cell.stem)
    info["said"] = [sentence(name, values) for name, values in crafted.said.items()]
    survey = surveyed(system.classifier, bind(entry, cell.eps, cell.draws or 1), crafted, x, y, cell.seed)
    if survey is not None:
        files[f"surveys/{cell.stem}{SURVEY}"] = survey.write
    return {**files, **lessons}, {**cost, **info, **seen}


def sentence(name: str, values: np.ndarray) -> str:
    """What an attack says of its images, (n,), in words."""
    told = values[np.isfinite(values)]
    return f"{name.replace('_', ' ')} {told.mean():.3g} on average of {len(told)} images" if len(told) else f"no {name.replace('_', ' ')}"


def taught(lessons: tuple[Learnt, ...], stem: str, folder: str = "examples") -> tuple[Files, dict[str, Any]]:
    """The curves and pictures of what an attack trained before the first image, and what all that cost and came to."""
    if not lessons:
        return {}, {}
    names = [f"{number} " if len(lessons) > 1 else "" for number in range(1, len(lessons) + 1)]
    curves = {f"{name}{stage}": curves for name, each in zip(names, lessons, strict=True) for stage, curves in each.histories.items()}
    pictures = {
        f"{name}{stage}".strip() or WHOLE: images
        for name, each in zip(names, lessons, strict=True)
        for stage, images in each.pictures.items()
    }
    files: dict[str, Any] = {}
    if curves:
        files[f"{folder}/{stem}.json"] = partial(Path.write_text, data=json.dumps(merged_history(curves), indent=1))
    if pictures:
        files[f"{folder}/{stem}{PICTURES}"] = partial(Path.write_bytes, data=pack(pictures, compressed=True))
    asked = {f"fit_{what}": sum(each.asked.get(what, 0) for each in lessons) for what in ("gradients", "queries")}
    notes = list(dict.fromkeys(note for each in lessons for note in each.notes))
    return files, {**asked, "fit_seconds": sum(each.seconds for each in lessons), "fit_notes": notes}


def concerned(entry: AttackEntry, labels: np.ndarray) -> slice | np.ndarray:
    """What takes those rows that the attack concerns."""
    return slice(None) if entry.source_class is None else np.flatnonzero(labels == entry.source_class)
