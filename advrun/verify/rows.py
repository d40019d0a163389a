"""Measured rows against themselves, against what they were made from, and against the labels of the data set."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from advrun.data import Dataset
from advrun.errors import AdvrunError, DataError
from advrun.files import inside
from advrun.results import Result, binomial_interval
from advrun.runs.columns import row as columns_of
from advrun.runs.plan import Cell
from advrun.verify.minutes import Minutes
from advrun.verify.seals import Sealed

CLOSE = 1e-9
"""Numbers that were written by one processor and computed by another."""
COSTS = ("gradients", "queries", "seconds")


@dataclass(frozen=True, eq=False)
class Claim:
    """A row with the cell that left it. name: its file."""

    cell: Sealed
    name: str
    result: Result


def measured(root: Path, cells: Mapping[str, Sealed], minutes: Minutes) -> Iterator[Claim]:
    """All rows that can be read, each checked by itself; one at a time is in memory."""
    for cell in cells.values():
        name = cell.row
        if name is None:
            continue
        try:
            result = Result.read(inside(root, name))
        except (OSError, ValueError, AdvrunError) as error:
            minutes.find(name, f"nothing that is a row ({error})", "a measured row")
            continue
        each = Claim(cell, name, result)
        _check(each, minutes)
        yield each


def _check(each: Claim, minutes: Minutes) -> None:
    row, images = each.result.row, each.cell.images
    right = int(each.result.correct.sum())
    if abs(row.accuracy - right / row.n) > CLOSE:
        minutes.find(each.name, f"accuracy {row.accuracy:.10g}", f"{right / row.n:.10g}: {right} of its {row.n} predictions are the labels")
    interval = binomial_interval(right, row.n)
    if max(abs(said - true) for said, true in zip(row.interval, interval, strict=True)) > CLOSE:
        minutes.find(each.name, f"interval {row.interval}", f"{interval}")
    kept = each.cell.manifest.info.get("accuracy", row.accuracy)
    if kept != row.accuracy:
        minutes.find(each.cell.record, f"accuracy {kept}", f"{row.accuracy:.10g}, as its row")
    for name in COSTS if images is not None else ():
        cost = images.manifest.info.get(name) if images is not None else None
        if cost is not None and cost != getattr(row, name):
            minutes.find(each.name, f"{name} {getattr(row, name)}", f"{cost}, as {images.record if images else ''}")
    system = each.cell.system
    named = f"{row.model}{'' if row.defense == 'none' else f' {row.defense}'} seed {row.seed}"
    if system is not None and system.label != named:
        minutes.find(each.name, f"that it is of {named}", f"{system.label}, of which its cell is")
    if row.attack not in each.cell.label or (row.threat != "none" and row.threat not in each.cell.label):
        minutes.find(each.name, f"{row.attack}, {row.threat}", f"what its cell is called, {each.cell.label}")


def check_columns(each: Claim, cell: Cell, minutes: Minutes) -> None:
    """The columns that the configuration decides. cell: the same cell of its plan."""
    cost = each.cell.images.manifest.info if each.cell.images else {}
    if cell.images is not None and not set(COSTS) <= cost.keys():
        return
    for name, expected in plain(columns_of(cell, cost)).items():
        said = plain(getattr(each.result.row, name))
        if said != expected:
            minutes.find(each.name, f"{name} {said}", f"{expected}, by config.yaml")


def plain(value: Any) -> Any:
    """As JSON keeps it."""
    return json.loads(json.dumps(value, default=str))


def labelled(cell: Sealed, data: Dataset) -> Dataset:
    """The data as examples of the classes of a cell's system, which may know more of them. Raises DataError."""
    system = cell.system
    while system is not None and "model" not in system.manifest.info and system.sources:
        system = system.sources[0]
    info = system.manifest.info.get("model") if system is not None else None
    if not isinstance(info, dict) or not isinstance(info.get("class_names"), list):
        return data
    names = [str(name) for name in cast("list[Any]", info["class_names"])]
    return data.with_classes(len(names), names)


def rows_of(each: Claim, data: Dataset) -> np.ndarray:
    """The rows of the test set that a measured row must be about, in order: those of its class where its attack concerns one."""
    order, source = data.evaluation_order(), each.result.row.settings.get("source_class")
    kept = order if source is None else order[data.y_test[order] == source]
    return kept[: each.result.row.n]


def check_labels(each: Claim, data: Dataset, minutes: Minutes) -> np.ndarray | None:
    """The labels must be those of the data set; returns the rows of the test set, or None where they are not."""
    try:
        data = labelled(each.cell, data)
    except DataError as error:
        minutes.find(each.name, f"classes that the data set has not ({error})", "those of the data set")
        return None
    rows = rows_of(each, data)
    expected = data.y_test[rows]
    if len(rows) < each.result.row.n:
        minutes.find(each.name, f"{each.result.row.n} images", f"{len(rows)} at most: the data set has no more")
        return None
    wrong = np.flatnonzero(expected != each.result.labels)
    if len(wrong):
        first = wrong[0]
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        minutes.find(each.name, f"label {each.result.labels[first]} of image {first}{more}", f"{expected[first]}, by the data set")
    return rows


def is_of(rows: list[Claim], data: Dataset) -> bool:
    """Whether most rows have the labels of this data set: then it is the one that they were measured on."""
    return 2 * sum(_has_labels_of(each, data) for each in rows) > len(rows)


def _has_labels_of(each: Claim, data: Dataset) -> bool:
    try:
        data = labelled(each.cell, data)
    except DataError:
        return False
    return np.array_equal(data.y_test[rows_of(each, data)], each.result.labels)
