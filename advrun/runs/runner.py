"""What the commands do, for Python as well: `run(load("configs/demo.yaml"))`. Order: data, plan, cells, report."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advrun import registry
from advrun.config import Experiment
from advrun.console import Console
from advrun.data import Dataset
from advrun.errors import CellError
from advrun.files import content_key, digest, write_text
from advrun.results import GLOSSARY, Result, flagged
from advrun.runs.plan import STAGES, Cell, Plan, is_trained, make_plan
from advrun.runs.signals import terminated_as_interrupt
from advrun.runs.store import Store


@dataclass(frozen=True)
class Status:
    """A cell and whether it is done."""

    cell: Cell
    done: bool


def load_data(experiment: Experiment) -> Dataset:
    """The experiment's data set. Raises DataError."""
    settings = experiment.data
    data: Dataset = registry.get("datasets", settings.name).function(**settings.settings)
    if settings.train_limit or settings.test_limit:
        data = data.limited(settings.train_limit, settings.test_limit)
    return data


def inspect(experiment: Experiment) -> dict[str, dict[str, Any]]:
    """What is found in the models of the experiment that come trained, by label; see `opened.inspect`. Without such, nothing is loaded."""
    if all(map(is_trained, experiment.models)):
        return {}
    from advrun.runs import opened

    return opened.inspect(experiment, load_data)


def status(experiment: Experiment, upto: str = STAGES[-1]) -> list[Status]:
    """Every cell of the experiment with what the results folder says of it; computes nothing."""
    plan, store = make_plan(experiment, load_data(experiment)), folder(experiment)
    return [Status(cell, store.manifest(cell) is not None) for cell in plan.upto(upto)]


def folder(experiment: Experiment) -> Store:
    """The experiment's results folder."""
    return Store(Path(experiment.results) / experiment.name)


def run(
    experiment: Experiment,
    *,
    upto: str = STAGES[-1],
    compute: bool = True,
    console: Console | None = None,
    wait: bool = False,
    fail_fast: bool = False,
) -> Any:
    """Do what is missing, write the report, and return its findings (`report.Findings`).

    Args:
        experiment: from `config.load`.
        upto: last stage, "train", "attack" or "defend".
        compute: False to report only what is there; then no model is loaded.
        console: where progress goes; quiet by default.
        wait: wait while another process writes the same results folder.
        fail_fast: stop at the first cell that fails.

    Raises:
        LockError: when another process writes the folder. ModelError: when a model that comes trained does not fit the data, before
            anything is computed. CellError: when cells failed, after everything else is done.
    """
    console = console or Console(quiet=True)
    store = folder(experiment)
    with store.locked(wait), terminated_as_interrupt():
        data = load_data(experiment)
        plan = make_plan(experiment, data)
        write_text(store.root / "config.yaml", experiment.to_yaml())
        cells = plan.upto(upto)
        failures: list[tuple[str, str]] = []
        blocked = 0
        store.tidy()
        store.event("run", upto=upto, cells=len(cells))
        try:
            if compute and any(store.manifest(cell) is None for cell in cells):
                from advrun.runs.opened import open_models
                from advrun.runs.schedule import execute

                outcomes = execute(plan, cells, store, console, open_models(plan, store, console), fail_fast=fail_fast)
                failures, blocked = outcomes.failed, len(outcomes.blocked)
            elif compute:
                console.event("nothing", label="to do: every cell is finished", cells=len(cells))
            found = findings(plan, store)
            paths = report(found, store, console)
        except KeyboardInterrupt:
            store.event("interrupted")
            raise
        store.event("finished", failed=len(failures))
    _present(found, paths, console)
    if failures:
        listed = "; ".join(f"{label}: {reason}" for label, reason in failures[:5])
        waiting = f", {blocked} more need them" if blocked else ""
        raise CellError(f"{len(failures)} of {len(cells)} cells failed{waiting}; what is done is kept: {listed}")
    return found


def findings(plan: Plan, store: Store) -> Any:
    """Everything of the plan that is on disk, as the report wants it; flags raised."""
    from advrun.report import Findings, Gallery

    results, galleries, histories, environment = [], [], {}, {}
    notes: dict[str, str] = {}
    class_names = plan.data.class_names
    for cell in plan.cells:
        manifest = store.manifest(cell)
        if manifest is None:
            continue
        files = {Path(name).suffix: store.root / name for name in manifest.files}
        if cell.kind == "measure":
            results.append(Result.read(files[".json"]))
            galleries += [Gallery.read(files[".npz"])] if ".npz" in files else []
        elif cell.kind == "metric":  # of the last row: a cell comes after the one that it needs
            results[-1].row.metrics.update(json.loads(files[".json"].read_text(encoding="utf-8")))
        elif cell.kind == "train":
            environment = {key: value for key, value in manifest.info.items() if isinstance(value, str)}
            if "model" in manifest.info:  # it came trained: it knows how many classes there are
                class_names = tuple(manifest.info["model"]["class_names"])
                notes |= {f"note on {cell.model.label}": note for note in (manifest.info["model"]["note"],) if note}
            label = cell.model.label + (f" / {cell.defense.label}" if cell.defense else "")
            label += f" (seed {cell.seed})" if len(plan.experiment.seeds) > 1 else ""
            histories[label] = json.loads(files[".json"].read_text(encoding="utf-8"))
    experiment = plan.experiment
    return Findings(
        name=experiment.name,
        title=experiment.name,
        description=experiment.description,
        config_yaml=experiment.to_yaml(),
        environment=environment | {"data": f"{plan.data.name}: {plan.data.variant}".rstrip(": ")} | notes,
        class_names=class_names,
        results=flagged(results),
        histories={label: history for label, history in histories.items() if history},
        galleries=galleries,
        glossary=GLOSSARY,
    )


def report(found: Any, store: Store, console: Console) -> list[Path]:
    """Write tables, figures and the page, unless those on disk were made from the same findings by the same code."""
    from advrun import report as package

    sources = [
        *Path(package.__file__).parent.glob("*.*"),
        *(registry.PACKAGE / f"{name}.py" for name in ("results", "geometry", "runs/runner")),
    ]
    rows = [result.to_json() for result in found.results]
    code = [digest(source) for source in sorted(sources) if source.is_file()]
    key = content_key([rows, found.config_yaml, found.environment, found.histories, found.class_names, code])
    record = store.root / "manifests" / "report.json"
    known: dict[str, str] = {}
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
        known = dict(content["files"])
        if content["key"] == key and all(digest(store.root / name) == value for name, value in known.items()):
            return [store.root / name for name in known]
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no report yet, or not a whole one: write it
    console.event("report", label=str(store.root))
    paths: list[Path] = package.write(found, store.root)
    files = {str(path.relative_to(store.root)): digest(path) for path in paths}
    write_text(record, json.dumps({"key": key, "files": files}, indent=1))
    for name in known.keys() - files.keys():  # figures of what is no longer in the configuration
        (store.root / name).unlink(missing_ok=True)
    return paths


def _present(found: Any, paths: list[Path], console: Console) -> None:
    from advrun.report import terminal

    console.result(terminal.render(found) if found.results else "nothing is measured yet: advrun run CONFIG")
    console.result("\n".join(f"  {path}" for path in paths))
    if console.as_json:
        console.event("report", files=[str(path) for path in paths])
        for result in found.results:
            console.event("row", **result.row.flat())
