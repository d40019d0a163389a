"""What `advrun prove` does: train what is missing, plant examples, try each attack on them, and put the table into the report."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from advrun.config import Experiment
from advrun.console import Console, spelt
from advrun.errors import AdvrunError
from advrun.process import terminated_as_interrupt
from advrun.runs import proofs, runner
from advrun.runs.plan import make_plan

IMAGES = 144


def prove(
    experiment: Experiment,
    *,
    images: int = IMAGES,
    console: Console | None = None,
    wait: bool = False,
    fail_fast: bool = False,
    spend: bool = False,
    pool: str = "",
) -> Any:
    """Test every attack of an experiment, and return the findings, in whose `proofs` the tests are.

    Args:
        experiment: from `config.load`.
        images: clean test images in which an example is planted, at most.
        console, wait, fail_fast, spend, pool: as in `runner.run`.

    Raises:
        LockError, ModelError, CellError: as `runner.run` does. ConfigError: for a configuration without attacks.
    """
    from advrun.report import summarise

    store = runner.folder(experiment)
    heard = console.listening(store.event) if console else nullcontext()
    console = console or Console(quiet=True)
    with store.locked(wait), terminated_as_interrupt(), heard:
        plan = make_plan(experiment, runner.load_data(experiment))
        cells = proofs.Planting(images).among(plan, plan.cells)
        store.tidy()
        store.event("run", upto="prove", cells=len(cells))
        pool = pool or experiment.compute.pool
        failure: AdvrunError | None = runner.computed(plan, cells, store, console, fail_fast, spend=spend, pool=pool)
        proofs.remember(store, images)
        found = runner.findings(plan, store, console)
        runner.report(found, summarise(found.results, found.sweeps, found.planned), store, console)
        store.event("finished", failure=str(failure or ""))
    _present(found, console)
    console.result(f"table    {store.root / 'tables/prove.md'}")
    if failure:
        raise failure
    return found


def _present(found: Any, console: Console) -> None:
    """A line for each test, and what they come to."""
    from advrun.report import proofs as table
    from advrun.report.layout import aligned

    if console.as_json:
        for proof in found.proofs:
            console.event("proof", **{**vars(proof), "share": proof.share, "score": proof.score, "enough": proof.is_enough})
        return
    header, *lines = table.lines(found)
    console.result("\n".join(aligned([[spelt(text) for text in line] for line in (header, *lines)])))
    console.result("\n".join(spelt(sentence) for sentence in table.said(found)[:-1]))
