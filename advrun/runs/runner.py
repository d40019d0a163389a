"""What the commands do, for Python as well: `run(load("configs/demo.yaml"))`. Order: data, plan, cells, report."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from advrun import pools
from advrun.certificates import Certificate
from advrun.closest import Closest
from advrun.config import Experiment
from advrun.console import Console
from advrun.contradictions import contradicted
from advrun.data import Dataset
from advrun.errors import AdvrunError, ConfigError, DataError, WriteError
from advrun.files import content_key, digest, inside, read_json, write_text
from advrun.flags import flagged
from advrun.fonts import families
from advrun.geometry import format_eps
from advrun.lesson import PICTURES, WHOLE
from advrun.npz import unpack
from advrun.optimality import beside as beside_known
from advrun.process import terminated_as_interrupt, uncollected
from advrun.proof import beside
from advrun.results import CLOSEST, REJECTED, WORST_CASE, Result
from advrun.runs.claims import Claims
from advrun.runs.columns import aim
from advrun.runs.expected import useful
from advrun.runs.forecast import Forecast, forecast
from advrun.runs.keys import closure
from advrun.runs.known import FILE as KNOWN
from advrun.runs.known import keep_known, known
from advrun.runs.loading import load_data as load_data
from advrun.runs.loading import room
from advrun.runs.metering import seen
from advrun.runs.needs import is_trained
from advrun.runs.pictured import pictured
from advrun.runs.plan import STAGES, Cell, Plan, make_plan
from advrun.runs.possible import aims, check_chains, check_validation
from advrun.runs.proofs import proven
from advrun.runs.record import keep_record
from advrun.runs.shares import Portion
from advrun.runs.store import RECORD, Store

if TYPE_CHECKING:
    from advrun.report.gates import Demands, Spot

PLACES = {"report": "report.html", "numbers": "tables/accuracy.csv", "results": ""}
"""Where a reader goes on, by what is there: one page with figures, every row, and the folder with everything."""


@dataclass(frozen=True)
class Status:
    """A cell and whether it is done."""

    cell: Cell
    done: bool


def inspect(experiment: Experiment) -> dict[str, dict[str, Any]]:
    """What is found in the models of the experiment that come trained, by label; see `opened.inspect`. Without such, nothing is loaded but
    images that an attack or a bound says something of by their class.

    Raises ConfigError for what cannot be, as a run does before it begins; data that are missing are no fault of the configuration.
    """
    check_chains(experiment)
    check_validation(experiment)
    if not all(map(is_trained, experiment.models)):
        from advrun.runs import opened

        return opened.inspect(experiment, load_data)
    if aims(experiment):
        try:
            data = load_data(experiment)
        except DataError:
            return {}
        make_plan(experiment, data)
    return {}


def status(
    experiment: Experiment, upto: str = STAGES[-1], *, pool: str = "", portion: Portion | None = None
) -> tuple[list[Status], Forecast, str]:
    """Every cell of the experiment, or of a portion of it, with what the results folder says of it; computes nothing.

    Returns them with the forecast of those that are to be done, and the pool that does them.
    """
    pool = pool or experiment.compute.pool
    plan, store = make_plan(experiment, load_data(experiment)), folder(experiment)
    store.recall()
    cells = plan.upto(upto)
    found = [Status(cell, store.output(cell) is not None) for cell in (portion.among(plan, cells) if portion else cells)]
    missing = [each.cell for each in found if not each.done]
    return found, forecast(plan, missing, store, pools.size(pool, useful(missing, plan), room(plan.data))), pool


def folder(experiment: Experiment) -> Store:
    """The experiment's results folder. Raises ConfigError where there is something else."""
    root = Path(experiment.results) / experiment.name
    there = next((place for place in (root, *root.parents) if place.exists()), root)
    if there.exists() and not there.is_dir():
        raise ConfigError(f"{experiment.at('results')}: {there} is a file; expected a folder, or a place where one can be made")
    return Store(root)


def run(
    experiment: Experiment,
    *,
    upto: str = STAGES[-1],
    compute: bool = True,
    console: Console | None = None,
    wait: bool = False,
    fail_fast: bool = False,
    spend: bool = False,
    pool: str = "",
    portion: Portion | None = None,
    asked: Demands | None = None,
) -> Any:
    """Do what is missing, write the report, and return its findings (`report.Findings`).

    Args:
        experiment: from `config.load`.
        upto: last stage, "train", "attack" or "defend".
        compute: False to report only what is there; then no model is loaded.
        console: where progress goes; quiet by default.
        wait: wait while another process writes the same results folder.
        fail_fast: stop at the first cell that fails.
        spend: ask also models whose answers cost money; without it they are refused, and what they may cost is said.
        pool: who does it, such as "processes:4"; that of the experiment by default.
        portion: the share of one of several runs that fill the folder together, or one cell: then others may write it too, and the
            report is written, and returned, by the run after which nothing is missing.
        asked: gates, and a summary in Markdown for CI.

    Raises:
        ConfigError: when a gate names no number of the plan, before anything is computed. GateError: when one is broken.
        LockError: when another process writes the folder. ModelError: when a model that comes trained does not fit the data, before
            anything is computed, or when cells failed for nothing but model files of the user's own. CellError: when cells failed, after
            everything else is done. WriteError: when the disk is full.
    """
    from advrun.report import summarise

    store = folder(experiment)
    if experiment.ledger:
        Closest.at(Path(experiment.ledger))  # raises where it is none
    heard = console.listening(store.event) if console else nullcontext()  # without one, Python's own ways of warning stay as they are
    console = console or Console(quiet=True)
    with store.locked(wait, shared=portion is not None), terminated_as_interrupt(), heard:
        data = load_data(experiment)
        plan = make_plan(experiment, data)
        if asked:
            asked.check(spots(plan.cells))
        every = plan.upto(upto)
        cells = every if portion is None else portion.among(plan, every)
        claims = None if portion is None else Claims(store.root)
        failure: AdvrunError | None = None
        paths: list[Path] = []
        found = summary = None
        store.recall()
        if portion is None:
            store.tidy()
        write_text(inside(store.root, "config.yaml"), experiment.to_yaml())
        keep_record(plan, store)
        store.event("run", upto=upto, cells=len(cells), **({"portion": str(portion)} if portion else {}))
        try:
            for _ in range(2):  # again where a finished cell turns out to be unusable
                if compute:
                    failure = computed(
                        plan, cells, store, console, fail_fast, spend=spend, pool=pool or experiment.compute.pool, claims=claims
                    )
                if claims and not _is_last(every, store, claims, portion, console):
                    break
                keep_known(plan, store, console)
                found = findings(plan, store, console)
                store.keep()
                summary = summarise(found.results, found.sweeps, found.planned)
                if failure or not compute or all(map(store.output, cells)):
                    break
            try:
                paths = report(found, summary, store, console) if found else []
            except WriteError as error:
                failure = failure or error
        except KeyboardInterrupt:
            store.event("interrupted")
            raise
        finally:
            if claims:
                claims.close()
        store.event("finished", failure=str(failure or ""))
    broken = None
    if found and summary:
        _present(found, summary, store, paths, console)
        broken = asked.close(found, summary, console) if asked else None
    if end := failure or broken:
        raise end
    return found


def _is_last(every: tuple[Cell, ...], store: Store, claims: Claims, portion: Portion | None, console: Console) -> bool:
    """Whether nothing is missing after this run, and no other one writes the report. Says so where something is."""
    missing = sum(store.output(cell, verify=False) is None for cell in every)
    if missing:
        console.event("portion", label=f"{portion} is over", missing=f"{missing} of {len(every)} cells")
        return False
    return claims.take("report")


def computed(
    plan: Plan,
    cells: tuple[Cell, ...],
    store: Store,
    console: Console,
    fail_fast: bool,
    *,
    spend: bool = False,
    pool: str = "serial",
    claims: Claims | None = None,
) -> AdvrunError | None:
    """Do the cells that are not done. Returns what the run shall end with where some failed."""
    if all(map(store.output, cells)):
        console.event("nothing", label="to do: every cell is finished", cells=len(cells))
        return None
    from advrun.runs.opened import open_models
    from advrun.runs.schedule import execute

    opened = open_models(plan, store, console, spend=spend)
    outcomes = execute(plan, cells, store, console, opened, pool=pool, claims=claims, fail_fast=fail_fast, spend=spend)
    store.recall()  # what was entered since, by others too
    return outcomes.error(len(cells))


def spots(cells: Iterable[Cell]) -> list[Spot]:
    """Where numbers will stand in the table, for gates: one for each row whose images are the system's own, and worst cases over them."""
    from advrun.report.gates import Spot

    rows = [cell for cell in cells if cell.kind == "measure" and cell.own is None]
    own = [Spot(cell.model.label, cell.defense_label, cell.attack_label, cell.norm, cell.eps, cell.threat) for cell in rows]
    worst = [each._replace(attack=CLOSEST if each.eps is None else WORST_CASE) for each in own if each.norm]
    return list(dict.fromkeys([*own, *(each for each in worst if each.threat in ("static", "adaptive"))]))


@uncollected()
def findings(plan: Plan, store: Store, console: Console) -> Any:
    """Everything of the plan that is on disk, as the report wants it; flags raised. What cannot be used is told, and left out."""
    from advrun.report import Findings, Gallery
    from advrun.report.stickers import Signs
    from advrun.roc import SCORES, Scored, Watched
    from advrun.survey import SURVEY, Survey

    results: dict[str, Result] = {}  # by the key of the cell that measured
    galleries, signs, watched, histories, environment = [], [], [], {}, {}
    certificates: list[Certificate] = []
    growth: dict[str, Any] = {}
    notes: dict[str, str] = {}
    promised: dict[tuple[str, str, int], float] = {}
    class_names = plan.data.class_names
    illustrated: list[Cell] = []
    for cell in plan.cells:
        if cell.metric:
            try:
                if (row := results.get(cell.needs[0].key)) and (said := store.leaf(cell, columns)):
                    row.row.metrics.update(said)
            except AdvrunError as error:
                console.warn(str(error))
            continue
        manifest = store.manifest(cell)
        if manifest is None:
            continue
        try:
            if cell.kind == "measure":
                measured = store.read(cell, ".json", Result.read)
                results[cell.key] = replace(measured, row=replace(measured.row, access=seen(cell)))
                illustrated += [cell] if manifest.has(".npz") else []
                if manifest.has(SCORES):
                    scored = store.read(cell, SCORES, Scored.read)
                    attack = cell.attack_label, cell.norm, aim(cell)
                    watched.append(Watched(cell.model.label, cell.defense_label, *attack, cell.eps, cell.threat, cell.seed, scored))
            elif cell.kind in ("attack", "learn"):
                label = trained_label(plan, cell, cell.attack_label, f"{cell.norm} {format_eps(cell.eps)}" if cell.eps else cell.norm)
                if cell.kind == "learn":  # whatever the system and the attack
                    label = cell.label if len(plan.experiment.seeds) > 1 else cell.label.rpartition(" seed ")[0]
                if manifest.has(SURVEY):
                    found = store.read(cell, SURVEY, Survey.read)
                    signs.append(Signs(cell.model.label, cell.defense_label, cell.attack_label, cell.seed, found))
                if manifest.has(".json"):
                    histories[label] = store.read(cell, ".json", curves)
                if manifest.has(PICTURES):
                    growth |= {f"{label} {stage}".strip(): made for stage, made in store.read(cell, PICTURES, pictures).items()}
                if told := "; ".join((*manifest.info.get("fit_notes", ()), *manifest.info.get("said", ()))):
                    notes |= {f"note on {label}": told}
            elif cell.kind == "bound":
                certificates.append(store.read(cell, ".json", Certificate.read))
            elif cell.kind == "train":
                environment = {key: value for key, value in manifest.info.items() if isinstance(value, str)}
                if "model" in manifest.info:  # it came trained: it knows how many classes there are
                    class_names = tuple(manifest.info["model"]["class_names"])
                    notes |= {f"note on {cell.model.label}": note for note in (manifest.info["model"]["note"],) if note}
                histories[trained_label(plan, cell)] = history = store.read(cell, ".json", curves)
                if history.get("val_accuracy"):
                    promised[cell.model.label, cell.defense_label, cell.seed] = max(history["val_accuracy"])
        except AdvrunError as error:
            console.warn(str(error))
    for cell in pictured(illustrated, plan.data.image_shape):
        try:
            galleries.append(store.read(cell, ".npz", Gallery.read))
        except AdvrunError as error:
            console.warn(str(error))
    experiment = plan.experiment
    proofs = proven(plan, store)
    beside(results.values(), proofs)
    if experiment.ledger:
        try:
            beside_known(results.values(), known(store))
        except ValueError as error:
            console.warn(f"{store.root / KNOWN}: {error}; no attack is compared with the ledger")
    return Findings(
        name=experiment.name,
        title=experiment.name,
        description=experiment.description,
        config_yaml=experiment.to_yaml(),
        environment=environment | {"data": data_line(experiment, plan.data)} | notes,
        class_names=(*class_names, REJECTED) if watched else class_names,
        results=contradicted(flagged(results.values(), promised), certificates),
        histories={label: history for label, history in histories.items() if history},
        galleries=galleries,
        sweeps=experiment.sweeps,
        growth=growth,
        signs=signs,
        watched=watched,
        planned=frozenset((cell.model.label, cell.attack_label) for cell in plan.cells if cell.kind == "attack"),
        certificates=certificates,
        proofs=proofs,
    )


def trained_label(plan: Plan, cell: Cell, *more: str) -> str:
    """What training curves are headed by: "lnet / hybrid", and what an attack trained against it, "lnet / advgan / linf 8/255"."""
    parts = (cell.model.label, *((cell.defense.label,) if cell.defense else ()), *more)
    return " / ".join(filter(None, parts)) + (f" (seed {cell.seed})" if len(plan.experiment.seeds) > 1 else "")


def numbers(path: Path) -> dict[str, float | None]:
    """The columns of a metric. Raises ValueError where the file holds anything else."""
    return columns(read_json(path))


def columns(content: Any) -> dict[str, float | None]:
    """The same of what such a file holds."""
    if not isinstance(content, dict) or not all(value is None or isinstance(value, (int, float)) for value in content.values()):
        raise ValueError("no columns of a metric")
    return content


def curves(path: Path) -> dict[str, list[float]]:
    """The curves of a training. Raises ValueError where the file holds anything else."""
    content = read_json(path)
    if not isinstance(content, dict) or not all(isinstance(curve, list) for curve in content.values()):
        raise ValueError("no curves")
    return {name: [float(value) for value in curve] for name, curve in content.items()}


def pictures(path: Path) -> dict[str, np.ndarray]:
    """What a generator made, by stage: (epochs, k, h, w, c) uint8. Raises ValueError where the file holds anything else."""
    arrays = unpack(path)
    if any(array.ndim != 5 or array.dtype != np.uint8 or 0 in array.shape for array in arrays.values()):
        raise ValueError("no pictures")
    return {"" if name == WHOLE else name: array for name, array in arrays.items()}


@uncollected()
def report(found: Any, summary: Any, store: Store, console: Console) -> list[Path]:
    """Write tables, figures and the page, unless those on disk were made from the same findings by the same code."""
    from advrun import report as package

    key, code = identity(found)
    record = inside(store.root, RECORD)
    known = reported(record)
    if (known.get("key"), known.get("code")) == (key, code) and all(store.holds(name, value) for name, value in known["files"].items()):
        return [store.root / name for name in known["files"]]
    console.event("report", label=str(store.root))
    paths: list[Path] = package.write(found, store.root, summary)
    files = {path.relative_to(store.root).as_posix(): digest(path) for path in paths}
    content = {"key": key, "code": code, "config": content_key(found.config_yaml), "files": files}
    write_text(record, json.dumps({**content, "seal": content_key(content)}, indent=1))
    for name in known.get("files", {}).keys() - files.keys():  # figures of what is no longer in the configuration
        if name.startswith(("tables/", "figures/")):
            store.remove(name)
    return paths


def data_line(experiment: Experiment, data: Dataset) -> str:
    """What the data set is, and how much of it is taken."""
    limits = {"training": experiment.data.train_limit, "test": experiment.data.test_limit}
    taken = " and ".join(f"{limit:,} {part}" for part, limit in limits.items() if limit)
    return f"{data.name}: {data.variant}".rstrip(": ") + (f"; of these {taken} images at most" if taken else "")


def identity(found: Any) -> tuple[str, str]:
    """Hashes of all that the report is made from, and of the code that makes it."""
    from advrun import report as package
    from advrun.report import stickers

    folder = Path(package.__file__).parent
    dress = [file for file in folder.iterdir() if file.suffix in (".j2", ".css", ".js")]
    sources = [Path(__file__), *dress, *closure(sorted(folder.glob("*.py")))]
    rows = [result.to_json() for result in found.results]
    code = [digest(source) for source in sorted(sources)]
    fonts = families(found.class_names)  # one that was missing may have been installed since
    rows += [",".join(line) for line in stickers.lines(found.signs)]
    rows += [each.to_json() for each in (*found.certificates, *found.proofs)]
    key = content_key([rows, found.config_yaml, found.environment, found.histories, found.class_names, fonts, code])
    return key, content_key(code)


def reported(record: Path) -> dict[str, Any]:
    """What the last report left on record: its key, and its files with their hashes. Nothing where it is no whole record."""
    try:
        content = read_json(record)
        seal = content.pop("seal", None)
        whole = isinstance(content["files"], dict) and all(isinstance(value, str) for value in content["files"].values())
        return content if whole and seal in (None, content_key(content)) else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _present(found: Any, summary: Any, store: Store, paths: list[Path], console: Console) -> None:
    """The table with its notes, the headline, and where the rest lies; with --json every row, and the headline."""
    from advrun.report import terminal
    from advrun.report.headline import sentences

    if console.as_json:
        for row in summary.rows:
            console.event("row", **row.flat())
        console.event("headline", text="\n".join(" ".join(paragraph) for paragraph in sentences(summary)))
        console.event("report", files=[str(path) for path in paths])
        return
    console.result(terminal.render(found, summary) if found.results else "nothing is measured yet: advrun run CONFIG")
    places = {name: f"{store.root / place}" for name, place in PLACES.items()}
    console.result("\n".join(f"{name:<8} {place}" for name, place in places.items()))
