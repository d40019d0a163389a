"""Results folders made by hand: one row after the other, with everything beside them that a run leaves there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from advrun.files import content_key, digest
from advrun.report.accuracy import records, to_json
from advrun.report.summary import summarise
from advrun.results import Result
from advrun.runs.manifest import Manifest
from advrun.runs.record import Record
from tests._rows import result

VERSIONS = {"python": "3.11.7", "advrun": "0.1.0", "tensorflow": "2.21.0", "keras": "3.15.1", "numpy": "2.4.6", "device": "CPU"}
CONFIG = "name: x\nmodels: [{name: lnet, label: m}]\nattacks: [{name: pgd, label: pgd, steps: 5}, {name: fgsm, label: fgsm}]\n"


def bits(right: Iterable[bool]) -> str:
    return "".join("1" if each else "0" for each in right)


def row(attack: str, right: Sequence[bool] | str, **more: object) -> Result:
    """A measured row; `right` is a bit for each image, which are of four classes in turn."""
    text = right if isinstance(right, str) else bits(right)
    if attack == "clean":
        more = {"threat": "none", "eps": None, "norm": "", **more}
    made = result(attack, text, **more)
    labels = np.arange(len(text), dtype=np.int32) % 4
    return Result(made.row, labels, np.where(made.correct, labels, (labels + 1) % 4).astype(np.int32), made.distances)


def permuted(made: Result, order: np.ndarray) -> Result:
    """The same outcomes with the images in another order; `order` as the record of the images is permuted."""
    return replace(made, labels=made.labels[order], predictions=made.predictions[order], distances=made.distances[order])


def images(count: int, first: int = 0) -> list[str]:
    return [f"{number:016x}" for number in range(first, first + count)]


def write_folder(
    root: Path,
    results: Sequence[Result],
    names: Sequence[str] | None = None,
    labels: Sequence[int] | None = None,
    *,
    code: dict[str, str] | None = None,
    config: str = CONFIG,
    system: str = "weights",
    flags: dict[str, tuple[str, ...]] | None = None,
    versions: dict[str, str] | None = None,
) -> Path:
    """A results folder. names: who the images are, None for no record. flags: by attack, what the report has raised."""
    most = max((each.row.n for each in results), default=1)
    stems = []
    for number, each in enumerate(results):
        stem = f"{each.row.defense}-{re.sub(r'[^a-z]', '', each.row.attack)}-{number}"
        (root / "rows").mkdir(parents=True, exist_ok=True)
        (root / "manifests").mkdir(exist_ok=True)
        (root / "rows" / f"{stem}.json").write_text(each.to_json())
        files = {f"rows/{stem}.json": digest(root / "rows" / f"{stem}.json")}
        manifest = Manifest(f"key {stem}", stem, files, {"system": system}, {**VERSIONS, **(versions or {})})
        (root / "manifests" / f"{stem}.json").write_text(manifest.to_json())
        stems.append(stem)
    (root / "config.yaml").write_text(config)
    (root / "tables").mkdir()
    raised = [replace(each, row=replace(each.row, flags=(flags or {}).get(each.row.attack, ()))) for each in results]
    (root / "tables/accuracy.json").write_text(to_json(records(summarise(raised).rows)))
    if names is not None:
        known = [number % 4 for number in range(len(names))] if labels is None else labels
        data = {"name": "toy", "images": len(names), "fingerprint": content_key(list(names))}
        record = Record(data, tuple(names), tuple(known), code or {"attacks/pgd": "0" * 32}, tuple(stems))
        (root / "record.json").write_text(record.says())
        assert len(names) >= most
    return root


def sealed_again(root: Path, stem: str) -> None:
    """Make a manifest agree with a row that was changed by hand."""
    path = root / "manifests" / f"{stem}.json"
    content = json.loads(path.read_text())
    del content["seal"]
    content["files"] = {name: digest(root / name) for name in content["files"]}
    path.write_text(json.dumps({**content, "seal": content_key(content)}))
