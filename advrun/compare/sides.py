"""A results folder as it is read to be compared: nothing in it is run, no link in it followed, and what is damaged is named and left out.

It needs neither the data set nor the units of the configuration. What a row's images are is in the folder's record (`runs/record.py`).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from advrun.config import yamlfile
from advrun.errors import AdvrunError, DataError, printable
from advrun.files import inside, opened, read_json
from advrun.flags import in_order
from advrun.report.accuracy import crafted_on
from advrun.report.summary import summarise
from advrun.results import CLEAN, Result, Row
from advrun.runs.manifest import Manifest
from advrun.runs.record import MAX_BYTES, Record
from advrun.runs.store import RECORD, Store
from advrun.runs.untouched import check_folder, listed

PACKAGES = ("advrun", "python", "tensorflow", "keras", "numpy", "device")
"""What manifests say of where their cells were done."""
TABLE = "tables/accuracy.json"
"""Where a report says its flags."""


class RowName(NamedTuple):
    """What two rows must have in common to be compared; fields as in `results.Row`."""

    model: str
    defense: str
    attack: str
    norm: str
    target: str
    eps: float | None
    threat: str
    source: str
    seed: int

    @classmethod
    def of(cls, row: Row) -> RowName:
        return cls(*(getattr(row, name) for name in cls._fields))

    def __str__(self) -> str:
        """For remarks."""
        parts = (self.model, self.defense, self.attack, self.norm, "" if self.eps is None else f"{self.eps:g}", self.threat)
        return " ".join(filter(None, (*parts, self.source and f"from {self.source}", f"seed {self.seed}")))


@dataclass(frozen=True, eq=False)
class Side:
    """One results folder.

    letter: what tables call it. config: the resolved configuration, None where it cannot be read. record: None where there is none.
    results: the rows by what they are, those of worst cases too, in the order of reports, with the flags of the folder's own report.
    versions: what was used, each value once. systems: by model, defence and seed, the hash of the trained system's files.
    remarks: what is missing or damaged.
    """

    letter: str
    folder: Path
    config: Mapping[str, Any] | None
    record: Record | None
    results: Mapping[RowName, Result]
    versions: Mapping[str, tuple[str, ...]]
    systems: Mapping[tuple[str, str, int], str]
    remarks: tuple[str, ...]

    @cached_property
    def _images(self) -> np.ndarray:
        """(n,) The identity of each test image in evaluation order; of images that are the same, the first, the second, ..."""
        seen: dict[str, int] = defaultdict(int)
        names = []
        for image in self.record.images if self.record else ():
            names.append(f"{image} {seen[image]}")
            seen[image] += 1
        return np.array(names, dtype=object)

    @cached_property
    def _labels(self) -> np.ndarray:
        return np.asarray(self.record.labels if self.record else (), np.int64)

    def images(self, result: Result) -> np.ndarray | None:
        """Who the images of a row are, (n,) text; None where that is not known."""
        source, n = result.row.settings.get("source_class"), result.row.n
        places = np.arange(len(self._labels)) if source is None else np.flatnonzero(self._labels == source)
        if len(places) < n or not _alike(self._labels[places[:n]], result.labels):
            return None
        return np.asarray(self._images[places[:n]])


def _alike(labels: np.ndarray, others: np.ndarray) -> bool:
    """Whether these are the same classes, if under other numbers (a model has its own)."""
    if np.array_equal(labels, others):
        return True
    pairs = np.unique(np.stack([labels, others.astype(np.int64)]), axis=1).shape[1]
    return pairs == len(np.unique(labels)) == len(np.unique(others))


def read(folder: Path, letter: str) -> Side:
    """Read a results folder. Raises DataError where it is none."""
    check_folder(folder)
    return _Reader(folder, letter).side()


class _Reader:
    def __init__(self, root: Path, letter: str) -> None:
        self.root, self.letter, self.store = root, letter, Store(root)
        self.remarks: list[str] = []
        self.versions: dict[str, dict[str, None]] = {name: {} for name in PACKAGES}
        self.systems: dict[tuple[str, str, int], str] = {}

    def side(self) -> Side:
        record, config = self._record(), self._config()
        rows = list(self._rows(record))
        if not rows and config is None:
            raise DataError(
                f"{self.root}: holds no measured row and no config.yaml; give the results folder of a run, such as results/demo"
            )
        return Side(
            letter=self.letter,
            folder=self.root,
            config=config,
            record=record,
            results=self._named(self._flagged(self._with_worst_cases(rows))),
            versions={name: tuple(sorted(found)) for name, found in self.versions.items()},
            systems=self.systems,
            remarks=tuple(self.remarks),
        )

    def remark(self, text: str) -> None:
        self.remarks.append(printable(text))

    def _record(self) -> Record | None:
        try:
            record = Record.read(self.root)
            if record is not None and len(record.images) != len(record.labels):
                raise ValueError("as many images as labels were expected")
        except (ValueError, AdvrunError) as error:
            self.remark(f"record.json is damaged ({error}); `advrun report CONFIG` writes it anew, until then its rows are not paired")
            return None
        if record is None:
            self.remark(
                "there is no record.json of its images and code; `advrun report CONFIG` writes it, until then its rows are not paired"
            )
        return record

    def _config(self) -> Mapping[str, Any] | None:
        try:
            with opened(inside(self.root, "config.yaml")) as file:
                text = file.read(yamlfile.MAX_BYTES + 1).decode()
            data = yamlfile.parse(text, "config.yaml").data
            if not isinstance(data, dict):
                raise ValueError("no mapping")
        except (OSError, ValueError, RecursionError, AdvrunError) as error:
            self.remark(f"config.yaml cannot be read ({getattr(error, 'strerror', None) or error}); its settings are not compared")
            return None
        return data

    def _rows(self, record: Record | None) -> Iterator[Result]:
        """The rows of the last run; where nothing tells which these are, all that are there."""
        missing = 0
        for stem in record.rows if record else self._stems():
            try:
                result = self._row(stem, anything=record is None)
            except FileNotFoundError:
                missing += 1
            except (OSError, ValueError, AdvrunError) as error:
                self.remark(f"manifests/{stem}.json: damaged, left out ({error})")
            else:
                if result is not None:
                    yield result
        if missing:
            self.remark(f"{missing} of {len(record.rows) if record else missing} rows are not measured yet")

    def _stems(self) -> list[str]:
        names = (PurePosixPath(name) for name in listed(self.root, "manifests") if name != RECORD)
        return [name.stem for name in names if name.suffix == ".json"]

    def _row(self, stem: str, *, anything: bool) -> Result | None:
        """The row of a finished cell; None for a cell of another kind. Raises ValueError for what is damaged."""
        manifest = Manifest.read(inside(self.root, f"manifests/{stem}.json"))
        if manifest is None:
            raise ValueError("an earlier version wrote it; run again")
        name = next((name for name in manifest.files if name.startswith("rows/") and name.endswith(".json")), None)
        if name is None:
            if anything:
                return None
            raise ValueError("it names no row")
        place = inside(self.root, name)
        if not self.store.holds(name, manifest.files[name]):
            raise ValueError(f"{name} is missing, or its bytes are not those that were written")
        result = Result.read(place)
        row = result.row
        if abs(row.accuracy - result.correct.mean()) > 1e-6 or not (row.eps is None or 0 <= row.eps < math.inf):
            raise ValueError(f"{name}: its accuracy is not that of its images, or its eps is no number")
        for package in PACKAGES:
            if isinstance(said := manifest.info.get(package), str):
                self.versions[package][printable(said)[:100]] = None
        if manifest.inputs:
            self.systems[_system(row)] = next(iter(manifest.inputs.values()))  # the system, then the images
        return result

    def _with_worst_cases(self, rows: list[Result]) -> list[Result]:
        try:
            return summarise(rows).results
        except (ValueError, IndexError, TypeError, KeyError) as error:  # of rows that no run left beside each other
            self.remark(f"its rows do not belong together ({type(error).__name__}); worst cases are left out")
            return rows

    def _flagged(self, results: list[Result]) -> list[Result]:
        """With the flags that the folder's own report raised, of the clean row too: what is chance there is chance under attack."""
        try:
            lines = read_json(inside(self.root, TABLE), MAX_BYTES)
            said = {_line_name(line): (float(line["accuracy"]), tuple(map(str, line["flags"]))) for line in lines}
        except FileNotFoundError:
            said = {}
        except (OSError, ValueError, TypeError, KeyError, AttributeError, AdvrunError):
            self.remark(f"{TABLE} is damaged")
            said = {}
        flags = [_flags_of(result.row, said) for result in results]
        if unknown := sum(each is None for each in flags):
            self.remark(
                f"{TABLE} says nothing of {unknown} of {len(results)} rows, whose flags are not known; `advrun report CONFIG` writes it"
            )
        clean = {_system(each.row): found or () for each, found in zip(results, flags, strict=True) if each.row.attack == CLEAN}
        doubts = [(*(found or ()), *clean.get(_system(each.row), ())) for each, found in zip(results, flags, strict=True)]
        return [replace(each, row=replace(each.row, flags=tuple(in_order(found)))) for each, found in zip(results, doubts, strict=True)]

    def _named(self, results: list[Result]) -> dict[RowName, Result]:
        named: dict[RowName, list[Result]] = defaultdict(list)
        for result in results:
            named[RowName.of(result.row)].append(result)
        for name, several in named.items():
            if len(several) > 1:
                self.remark(f"{name}: {len(several)} rows of this name, all left out; remove those of earlier configurations")
        return {name: several[0] for name, several in named.items() if len(several) == 1}


def _system(row: Row) -> tuple[str, str, int]:
    return row.model, row.defense, row.seed


def _line_name(line: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(line.get(name, "") if name == "source" else line[name] for name in RowName._fields)


def _flags_of(row: Row, said: Mapping[tuple[Any, ...], tuple[float, tuple[str, ...]]]) -> tuple[str, ...] | None:
    for source in (crafted_on(row), row.source):  # earlier versions left out what the threat says
        accuracy, flags = said.get(tuple(RowName.of(row)._replace(source=source)), (math.nan, ()))
        if abs(accuracy - row.accuracy) < 1e-6:
            return tuple(map(printable, flags))
    return None
