"""The whole of `advrun verify`: seals, rows, the report made again, images and answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from advrun import registry
from advrun.config import Experiment, loads
from advrun.console import Console
from advrun.data import Dataset
from advrun.errors import AdvrunError, DataError, ModelError, did_you_mean
from advrun.files import content_key, inside, is_regular
from advrun.runs import proofs, record, runner
from advrun.runs.known import FILE as KNOWN
from advrun.runs.known import is_sealed
from advrun.runs.plan import Plan, make_plan
from advrun.runs.store import CELLS, RECORD
from advrun.runs.untouched import Untouched, check_results, listed
from advrun.verify.minutes import Minutes
from advrun.verify.pages import Remade, check_report
from advrun.verify.rows import Claim, check_columns, check_labels, is_of, measured
from advrun.verify.seals import Sealed, bytes_of, check_index, fingerprint, sealed

CONFIG = "config.yaml"


@dataclasses.dataclass(frozen=True)
class Verified:
    """minutes: what was found. fingerprint: one hash of all cells, see `seals.fingerprint`."""

    minutes: Minutes
    fingerprint: str


def verify(root: Path, *, quick: bool = False, model: Path | None = None, system: str = "", overrides: Sequence[str] = ()) -> Verified:
    """Check a results folder again without attacking.

    Args:
        root: the results folder, RESULTS/NAME.
        quick: hashes, rows and tables alone; no figure is drawn, and no model asked.
        model: a Keras file of the user's own, which is asked in place of the stored undefended model.
        system: the label of the system that `model` is, where there are several.
        overrides: as after `--set`, for paths that are others on this machine, such as `data.root=PATH`.

    Raises:
        DataError: where there is no results folder. ModelError: where `model` cannot be read, or nothing says which system it is.
    """
    store, minutes = Untouched(root), Minutes()
    check_results(root)
    if holder := store.holder():
        minutes.note(f"{root} is being written by {holder}: what is not finished yet may be told here")
    cells = sealed(store, minutes)
    _loose_files(root, cells, minutes)
    check_index(root, cells, minutes)
    _check_known(store, minutes)
    written = experiment_of(root, minutes)
    experiment = with_paths(written, overrides, model)
    rows = list(measured(root, cells, minutes))
    data = data_of(experiment, minutes) if experiment is not None else None
    plan = _plan(experiment, data, minutes) if experiment is not None and data is not None else None
    known = _recognised(plan, cells, minutes)
    if data is not None and not known and not is_of(rows, data):
        minutes.note(f"data set {data.name} is not the one that these rows were measured on: labels and images are not compared with it")
        data = None
    for each in rows:
        if each.cell.manifest.key in known:
            check_columns(each, known[each.cell.manifest.key], minutes)
        if quick and data is not None:
            check_labels(each, data, minutes)
    if plan is not None and len(known) == len(plan.cells):
        _check_record(root, plan, minutes)
    remade = None
    if known and plan is not None and written is not None:
        found = runner.findings(dataclasses.replace(plan, experiment=written), store, Console(quiet=True))
        remade = Remade(found, draws=not quick)
    check_report(store, remade, [each.result for each in rows], minutes)
    if quick:
        minutes.examples = sum(each.result.row.n for each in rows)
    elif data is not None:
        _ask(root, data, experiment, rows, cells, known, minutes, _replaced(model, system, experiment, data, cells))
    elif model is not None:
        raise DataError(f"{root}: without its data set, model {model} cannot be asked; say where it is by --set data.root=PATH")
    return Verified(minutes, fingerprint(cells))


def _loose_files(root: Path, cells: Mapping[str, Sealed], minutes: Minutes) -> None:
    """Files that no finished cell answers for."""
    owned = {name for cell in cells.values() for name in cell.manifest.files} | {proofs.ASKED}
    loose = [name for folder in CELLS for name in listed(root, folder) if name not in owned]
    if loose:
        minutes.note(
            f"{len(loose)} files belong to no finished cell, and are not checked: {', '.join(loose[:3])}{' ...' * (len(loose) > 3)}"
        )
    if unfinished := len(list(listed(root, "partial"))):
        minutes.note(f"{unfinished} cells are not finished: partial/ has their checkpoints")


def _check_known(store: Untouched, minutes: Minutes) -> None:
    """What a ledger knew when the report was made, where one was named."""
    try:
        if not is_sealed(store):
            minutes.note(f"{KNOWN}: written by an earlier advrun, without a seal")
    except ValueError as error:
        minutes.find(KNOWN, f"what does not belong to its seal ({error})", "what was sealed")


def _check_record(root: Path, plan: Plan, minutes: Minutes) -> None:
    """What `advrun compare` pairs rows by, where there is such a record: the same must come of the data and the plan."""
    due = record.record_of(plan)
    try:
        said = bytes_of(root, record.FILE, record.MAX_BYTES)
        kept = record.Record.read(root)
    except FileNotFoundError:
        return
    except (OSError, ValueError, AdvrunError):
        said, kept = b"", None
    if kept is None or said != dataclasses.replace(due, code=kept.code).says().encode():
        minutes.find(record.FILE, "other images, labels or rows", "what the data and config.yaml give")
    elif changed := [name for name in kept.code.keys() | due.code.keys() if kept.code.get(name) != due.code.get(name)]:
        named = f"{', '.join(sorted(changed)[:3])}{' ...' * (len(changed) > 3)}"
        minutes.note(f"{record.FILE}: the last run was of another version of advrun; since then its code has changed: {named}")


def experiment_of(root: Path, minutes: Minutes) -> Experiment | None:
    """The configuration that the folder holds."""
    try:
        text = bytes_of(root, CONFIG).decode()
    except (OSError, ValueError, AdvrunError) as error:
        minutes.find(CONFIG, f"nothing that can be read ({error})", "the resolved configuration")
        return None
    known = runner.reported(inside(root, RECORD))
    if known.get("config") not in (None, content_key(text)):
        minutes.find(CONFIG, f"a configuration with the hash {content_key(text)[:12]}", f"{known['config'][:12]}, that of the report")
    try:
        return loads(text, source=str(root / CONFIG))
    except AdvrunError as error:
        first = str(error).splitlines()[0]
        minutes.note(f"config.yaml is of another version of advrun, or names units that are not here (--plugins FOLDER): {first}")
        return None


def with_paths(experiment: Experiment | None, overrides: Sequence[str], model: Path | None) -> Experiment | None:
    """The same with the paths of this machine; a model file that is not here is the one that was given."""
    if experiment is None:
        return None
    if overrides:
        experiment = loads(experiment.to_yaml(), overrides)
    models = []
    for entry in experiment.models:
        files = [name for name, setting in registry.get("models", entry.name).settings.items() if setting.is_file]
        lost = {name: model for name in files if model is not None and not is_regular(Path(str(entry.settings.get(name))))}
        models.append(dataclasses.replace(entry, settings={**entry.settings, **lost}) if lost else entry)
    return experiment.model_copy(update={"models": tuple(models)})


def data_of(experiment: Experiment, minutes: Minutes) -> Dataset | None:
    """Its data set; None where it is not here, which is said."""
    try:
        return runner.load_data(experiment)
    except AdvrunError as error:
        place = "say where it is by --set data.root=PATH, or data.path=PATH"
        minutes.note(f"the data set is not here ({error}); labels, images and answers are not checked: {place}")
        return None


def _plan(experiment: Experiment, data: Dataset, minutes: Minutes) -> Plan | None:
    try:
        return make_plan(experiment, data)
    except AdvrunError as error:
        minutes.note(f"config.yaml cannot be planned here ({error})")
        return None


def _recognised(plan: Plan | None, cells: Mapping[str, Sealed], minutes: Minutes) -> dict[str, Any]:
    """The cells of the plan that are there, by key."""
    if plan is None:
        return {}
    known = {cell.key: cell for cell in plan.cells if cell.key in cells}
    if not known:
        minutes.note("no cell is what config.yaml would give here: another version of advrun, of a plugin or of the data made them")
    elif missing := len(plan.cells) - len(known):
        minutes.note(f"{missing:,} of the {len(plan.cells):,} cells of config.yaml are not finished, or of another version of advrun")
    return known


def _replaced(model: Path | None, system: str, experiment: Experiment | None, data: Dataset, cells: Mapping[str, Sealed]) -> dict[str, Any]:
    """The system that a file of the user's own stands in for, by its label. Raises ModelError."""
    if model is None:
        return {}
    from advrun.runs.opened import open_model
    from advrun.system.modelfile import load_model

    labels = sorted(cell.label for cell in cells.values() if cell.is_system)
    undefended = sorted(cell.label for cell in cells.values() if cell.is_system and not cell.sources)
    if system and system not in labels:
        raise ModelError(f"there is no system {system!r}{did_you_mean(system, labels)}")
    if not system and len(undefended) != 1:
        raise ModelError(f"say which system {model} is, by --system: {', '.join(map(repr, undefended))}")
    label = system or undefended[0]
    for entry in experiment.models if experiment is not None and label in undefended else ():
        files = [name for name, setting in registry.get("models", entry.name).settings.items() if setting.is_file]
        if label.startswith(f"{entry.label} seed ") and files:
            opened = open_model(dataclasses.replace(entry, settings={**entry.settings, files[0]: model}))
            if hasattr(opened, "system"):
                return {label: opened.system(data.image_shape, data.class_names)}
    return {label: load_model(model)}


def _ask(
    root: Path,
    data: Dataset,
    experiment: Experiment | None,
    rows: list[Claim],
    cells: Mapping[str, Sealed],
    known: Mapping[str, Any],
    minutes: Minutes,
    replaced: Mapping[str, Any],
) -> None:
    """Images and answers; TensorFlow is not loaded before."""
    from advrun import engine
    from advrun.verify.examples import Asker, check_examples

    compute = experiment.compute if experiment is not None else None
    if compute is not None:
        engine.start(0, deterministic=compute.deterministic, mixed_precision=compute.mixed_precision, jit=compute.jit)
    asker = Asker(root, data, minutes, replaced)
    if experiment is not None and compute is not None:
        asker = dataclasses.replace(asker, draws=experiment.draws, batch_size=compute.batch_size)
    check_examples(asker, rows, _metrics(cells, known))
    tried = sum(cell.kind in ("probe", "bound", "prove") for cell in known.values())
    if tried:
        minutes.note(
            f"{tried:,} cells attack or bound anew what they measure (probes, bounds, proofs): they are checked by their hashes alone"
        )


def _metrics(cells: Mapping[str, Sealed], known: Mapping[str, Any]) -> dict[str, list[Sealed]]:
    """By the key of a row's cell, its metrics whose code is that of today."""
    found: dict[str, list[Sealed]] = {}
    for key, cell in known.items():
        if cell.kind == "metric":
            found.setdefault(cell.needs[0].key, []).append(cells[key])
    return found
