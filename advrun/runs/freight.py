"""The driver's side of workers that do not see the results folder: what they need goes to them, what they make is written here.

The results folder stays the only authority: a file from a worker is written as one of ours is, whole or not at all, its cell's manifest
last, and that only where the files have the hashes that it names.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from advrun import folders, registry
from advrun.config import Experiment, yamlfile
from advrun.data import Dataset
from advrun.errors import AdvrunError, ConfigError
from advrun.files import atomic, inside, opened
from advrun.images import Images
from advrun.runs.manifest import Manifest
from advrun.runs.needs import is_oracle, is_trained
from advrun.runs.plan import Cell, Plan
from advrun.runs.store import Store

CHUNK = 16 << 20
"""Bytes that travel together."""
MADE = ("models", "learnt", "examples", "surveys", "rows", "metrics", "bounds", "proofs")
"""Folders that a worker's files may be in."""


class CellFreight:
    """Carries the files of these cells, by key; see `pools.Freight`."""

    def __init__(self, plan: Plan, cells: Mapping[str, Cell], store: Store) -> None:
        self._plan, self._cells, self._store = plan, cells, store
        self.results = store.root.absolute()

    def outfit(self) -> dict[str, Any]:
        """The images as arrays, so that no worker reads them from a disk, and the files and folders that the configuration and the command
        line name, with the configuration that names them where they will lie."""
        experiment = self._plan.experiment
        moved = {path: f"files/{number}/{Path(path).name}" for number, path in enumerate(sorted(set(_paths(experiment))))}
        return {
            "config": yamlfile.dump(_moved(experiment.to_plain(), moved)),
            "files": {name: np.fromfile(path, np.uint8) for path, name in moved.items()},
            "plugins": [folder_contents(folder) for folder in folders.own()],
            "data": arrays(self._plan.data),
        }

    def needed(self, key: str | None) -> Mapping[str, str]:
        if key is None:
            self._refuse_oracles()
            return self._files(cell for cell in self._plan.cells if _came_trained(cell))
        files = self._files(self._cells[key].needs)
        for place in sorted(self._store.root.glob(f"partial/{key}/[!.]*.npz")):
            if not place.stem.endswith(".before"):
                files[place.relative_to(self._store.root).as_posix()] = f"{place.stat().st_mtime_ns} {place.stat().st_size}"
        return files

    def chunks(self, name: str) -> Iterator[bytes]:
        with opened(inside(self._store.root, name)) as file:
            yield from iter(lambda: file.read(CHUNK), b"")

    def bring(self, key: str, name: str, chunks: Iterable[bytes]) -> None:
        cell, store = self._cells[key], self._store
        is_manifest = name == f"manifests/{cell.stem}.json"
        if not (is_manifest or name.startswith(f"partial/{key}/") or name.split("/")[0] in MADE):
            raise AdvrunError(f"{cell.label}: its worker sends {name!r:.100}, which is no file of a cell; look for another version there")
        with atomic(inside(store.root, name)) as temporary:
            with temporary.open("wb") as file:
                for chunk in chunks:
                    file.write(chunk)
            if is_manifest:
                self._check(cell, temporary)

    def finish(self, key: str) -> None:
        self._store.checkpoints(self._cells[key]).clear()

    def log(self, line: str) -> None:
        with contextlib.suppress(ValueError, KeyError):
            said = json.loads(line)
            self._store.event(said.pop("event"), **said)

    def _files(self, cells: Iterable[Cell]) -> dict[str, str]:
        """Of these cells, and of all that they need, as far as they are done; each cell's manifest after its files."""
        files: dict[str, str] = {}
        for cell in cells:
            manifest = self._store.manifest(cell)
            if manifest is not None:
                files |= self._files(cell.needs) | dict(manifest.files) | {f"manifests/{cell.stem}.json": manifest.output}
        return files

    def _check(self, cell: Cell, place: Path) -> None:
        """Raise AdvrunError for a manifest that is not that of the cell, made from our files, with the files that we were sent."""
        try:
            manifest = Manifest.read(place)
        except ValueError as error:
            raise AdvrunError(f"{cell.label}: its worker sends no manifest ({error}); run again") from error
        inputs = {needed.key: self._store.output(needed) for needed in cell.needs}
        if manifest is None or manifest.key != cell.key or dict(manifest.inputs) != inputs:
            raise AdvrunError(f"{cell.label}: its worker sends the manifest of something else; run again")
        for name, expected in manifest.files.items():
            if not self._store.holds(name, expected):
                raise AdvrunError(f"{cell.label}: {name} has not the bytes that its worker has hashed; run again")

    def _refuse_oracles(self) -> None:
        asked = next((model.label for model in self._plan.experiment.models if is_oracle(model)), None)
        if asked is not None:
            raise ConfigError(
                f"model {asked!r} can only be asked, and what it was asked is counted in {self._store.root}, which workers do not see: "
                "take --pool processes, or a `results` folder that all machines share"
            )


def arrays(data: Dataset) -> dict[str, Any] | None:
    """A data set as arrays and names; None where its images need not fit into memory: then each worker reads them from its own disk."""
    if isinstance(data.x_train, Images) or isinstance(data.x_test, Images):
        return None
    return {name: getattr(data, name) for name in Dataset.__dataclass_fields__}


def folder_contents(folder: Path) -> dict[str, bytes]:
    """The files of a folder of plugins, by their names in it."""
    kinds = (*folders.KINDS, folders.LAYERS)
    files = (file for kind in kinds for file in sorted((folder / kind).rglob("*")) if file.is_file() and "__pycache__" not in file.parts)
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def _came_trained(cell: Cell) -> bool:
    return cell.kind == "train" and cell.defense is None and not is_trained(cell.model)


def _paths(experiment: Experiment) -> Iterator[str]:
    """Every file that a setting names whose bytes are part of the result."""
    parts = [part for defense in experiment.defended for part in defense.chain]
    for kind, entries in (
        ("models", experiment.models),
        ("attacks", experiment.attacks),
        ("defenses", parts),
        ("bounds", experiment.bounds),
    ):
        for entry in entries:  # type: ignore[attr-defined]
            yield from _named(kind, entry.name, entry.settings)
            training = getattr(entry, "train", None)
            if training is not None and training.robust_attack:
                yield from _named("attacks", training.robust_attack.name, training.robust_attack.settings)


def _named(kind: str, plugin: str, settings: Mapping[str, Any]) -> Iterator[str]:
    known = registry.get(kind, plugin).settings
    for name, value in settings.items():
        if known[name].is_attack and value is not None:
            yield from _named("attacks", value.name, value.settings)
        elif known[name].is_file and value is not None:
            yield from (path for path in ([value] if isinstance(value, str) else value) if path not in known[name].words)


def _moved(plain: Any, moved: Mapping[str, str]) -> Any:
    """Plain data with other paths in it."""
    if isinstance(plain, Mapping):
        return {name: _moved(value, moved) for name, value in plain.items()}
    if isinstance(plain, (list, tuple)):
        return [_moved(value, moved) for value in plain]
    return moved.get(plain, plain) if isinstance(plain, str) else plain
