"""What a run was made of, beside its results: which images in which order, which code, which rows. `advrun compare` pairs rows by it.

Keys of cells are hashes, and tell that something is different, not what; `record.json` names it. A results folder may hold rows of earlier
configurations too: those of the last run are in the record.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from advrun import registry
from advrun.data import Dataset
from advrun.errors import AdvrunError
from advrun.files import inside, read_json, write_text
from advrun.images import Images
from advrun.runs.keys import source_key, work_key
from advrun.runs.plan import Plan
from advrun.runs.store import Store

FILE = "record.json"
MAX_BYTES = 64 << 20
"""Of a record: ten thousand rows and a hundred thousand images are a tenth of it."""
WORKS = ("train", "learn", "attack", "measure", "bound")


@dataclass(frozen=True, eq=False)
class Record:
    """What `record.json` says.

    data: name, variant, number of images and of classes, and the fingerprints of the test set and of both sets, by what they are called.
    images: of each test image, in evaluation order, a hash of its pixels and of the name of its class. labels: its class.
    code: hash by unit ("attacks/pgd", "work/measure"). rows: the stems of the measured rows' cells, in the order of the plan.
    """

    data: Mapping[str, Any]
    images: tuple[str, ...]
    labels: tuple[int, ...]
    code: Mapping[str, str]
    rows: tuple[str, ...]

    @classmethod
    def read(cls, root: Path) -> Record | None:
        """The record of a results folder; None where there is none. Raises ValueError for anything else."""
        try:
            content = read_json(inside(root, FILE), MAX_BYTES)
        except FileNotFoundError:
            return None
        try:
            return _form().validate_python(content)  # type: ignore[no-any-return]
        except ValueError as error:
            raise ValueError("no record of a run") from error

    def says(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self), separators=(",", ":"))


@cache
def _form() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(Record)


def keep_record(plan: Plan, store: Store) -> None:
    """Write the record of a plan. The images are hashed anew only where the data are others than those of the last record."""
    try:
        before = Record.read(store.root)
    except (ValueError, AdvrunError):
        before = None
    record = record_of(plan, before)
    if before is None or record.says() != before.says():
        write_text(inside(store.root, FILE), record.says())


def record_of(plan: Plan, before: Record | None = None) -> Record:
    """The record of a plan. before: the last one, whose hashes of images serve again where the data are the same."""
    data = plan.data
    same = before is not None and before.data.get("fingerprint") == data.test_fingerprint and len(before.images) == len(data.y_test)
    order = data.evaluation_order()
    return Record(
        data={
            "name": data.name,
            "variant": data.variant,
            "images": len(data.y_test),
            "training images": len(data.y_train),
            "classes": data.classes,
            "fingerprint": data.test_fingerprint,
            "fingerprint with training images": data.fingerprint,
        },
        images=before.images if before is not None and same else identities(data, order),
        labels=tuple(map(int, data.y_test[order])),
        code=sources(plan),
        rows=tuple(cell.stem for cell in plan.cells if cell.kind == "measure"),
    )


def identities(data: Dataset, rows: np.ndarray) -> tuple[str, ...]:
    """Who the test images are: 16 hexadecimal digits each. Images of equal pixels and class are one and the same."""
    names = [data.class_names[label].encode() for label in data.y_test[rows]]
    return tuple(
        hashlib.blake2b(image + b"\0" + name, digest_size=8).hexdigest() for image, name in zip(_digests(data, rows), names, strict=True)
    )


def _digests(data: Dataset, rows: np.ndarray) -> Iterable[bytes]:
    if isinstance(data.x_test, Images):
        return data.x_test.digests(rows)
    return (hashlib.blake2b(data.x_test[row].tobytes(), digest_size=16).digest() for row in rows)


def sources(plan: Plan) -> dict[str, str]:
    """The hash of the code of every unit of an experiment, of every metric, and of each kind of work."""
    experiment = plan.experiment
    named = {
        "datasets": [experiment.data.name],
        "models": [entry.name for entry in experiment.models],
        "attacks": [entry.name for entry in experiment.attacks],
        "defenses": [part.name for entry in experiment.defended for part in entry.chain],
        "threats": [entry.name for entry in experiment.threats],
        "bounds": [entry.name for entry in experiment.bounds],
        "metrics": registry.names("metrics"),
    }
    units = {f"{kind}/{name}": source_key(kind, name) for kind, names in named.items() for name in dict.fromkeys(names)}
    return units | {f"work/{name}": work_key(name) for name in WORKS}
