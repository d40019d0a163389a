"""A worker of a pool, in this process or in any other: it does cells, and says in words how that went."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from advrun import engine, folders, registry
from advrun.checkpoints import END, LeftToOthers
from advrun.config import loads
from advrun.console import Console, Relay
from advrun.data import Dataset
from advrun.errors import AdvrunError, ModelError, WriteError
from advrun.pools import Job, Send
from advrun.runs import proofs
from advrun.runs.expected import useful
from advrun.runs.freight import CellFreight
from advrun.runs.loading import load_data, room
from advrun.runs.needs import is_trained
from advrun.runs.opened import Opened, open_models
from advrun.runs.plan import Cell, Plan, make_plan
from advrun.runs.store import Store
from advrun.runs.work.worker import Worker

WORK = [registry.PACKAGE / name for name in ("craft.py", "batchwise.py", "runs/store.py", "files.py", "checkpoints.py", "train.py")]
"""What plugins call that does more than arithmetic."""


def job(plan: Plan, cells: Mapping[str, Cell], store: Store, console: Console, opened: Opened, *, spend: bool = False) -> Job:
    """What a pool must know to do these cells, by key."""
    content = {
        "config": plan.experiment.to_yaml(),
        "results": str(store.root.absolute()),
        "plugins": list(map(str, folders.own())),
        "planted": max((cell.count for cell in cells.values() if isinstance(cell, proofs.ProofCell)), default=0),
        "spend": spend,
        "verbose": console.verbose,
    }
    return Job(
        text=json.dumps(content),
        here=lambda send: _hand(cells, Worker(plan, store, console, opened), send),
        useful=useful(cells.values(), plan),
        room=room(opened.data),
        freight=lambda: CellFreight(plan, cells, store),
    )


@contextmanager
def made(text: str, send: Send, told: Callable[[], str], *, data: Dataset | None = None) -> Iterator[CellHand]:
    """A hand in a process of its own, of the text of a `Job`; all that is said while inside is sent. Raises AdvrunError.

    Args:
        text: of the job.
        send: to the driver.
        told: waits for the answer to a `turn`.
        data: where they need not be read here.
    """
    content = json.loads(text)
    console, store = Relay(send, verbose=content["verbose"]), Store(Path(content["results"]), _asking(send, told))
    with console.listening(store.event):
        for folder in content["plugins"]:
            folders.plugins(folder)
        experiment = loads(content["config"])
        plan = make_plan(experiment, data or load_data(experiment))
        cells = {cell.key: cell for cell in (*plan.cells, *(proofs.cells(plan, content["planted"]) if content["planted"] else ()))}
        opened = open_models(plan, store, Relay(_unsaid), spend=content["spend"])  # the driver has said it
        yield _hand(cells, Worker(plan, store, console, opened), send)


def _hand(cells: Mapping[str, Cell], worker: Worker, send: Send) -> CellHand:
    worker.store.made = worker.console.made
    return CellHand(cells, worker, send)


def _asking(send: Send, told: Callable[[], str]) -> Callable[[str, Sequence[str]], str]:
    """Asks the driver, of the batches of a cell, which is to be made here. While no batch was asked for, nobody else can be at the cell."""
    asked = ""

    def ask(key: str, batches: Sequence[str]) -> str:
        nonlocal asked
        if list(batches) == [END] and asked != key:
            return END
        asked = key
        send({"kind": "turn", "key": key, "batches": list(batches)})
        return told()

    return ask


def _unsaid(message: Mapping[str, Any]) -> None:
    """Nobody hears it."""


class CellHand:
    """Does cells by their keys."""

    def __init__(self, cells: Mapping[str, Cell], worker: Worker, send: Send) -> None:
        self.cells, self._worker, self._send = cells, worker, send

    def do(self, key: str) -> None:
        """Do the cell, and send `begun`, and then `done`, `left` or `failed`."""
        self._send({"kind": "begun", "key": key})
        clock = time.perf_counter()
        try:
            if key not in self.cells:
                raise AdvrunError(f"the worker knows no cell {key[:8]}: its code or its data are not those of the driver")
            self._worker.run(self.cells[key])
        except LeftToOthers:
            self._send({"kind": "left", "key": key, "seconds": round(time.perf_counter() - clock, 2)})
        except (Exception, MemoryError) as error:
            self._send({"kind": "failed", "key": key, **in_words(self.cells.get(key), error), "traceback": traceback.format_exc()})
        else:
            self._send({"kind": "done", "key": key, "seconds": round(time.perf_counter() - clock, 2)})


def in_words(cell: Cell | None, error: BaseException) -> dict[str, Any]:
    """An error in words: the reason in one line, whether a model file of the user's own is to blame, and whether the disk is."""
    reason = str(error) if isinstance(error, AdvrunError) else f"{place(error)}{engine.reason(error)}"
    refused = isinstance(error, ModelError) and cell is not None and cell.kind != "learn"
    if cell is not None and refused:
        refused = not is_trained(cell.model) and cell.defense is None
        reason = with_file(cell, reason) if refused else reason
    return {"reason": reason, "refused": refused, "unwritten": isinstance(error, WriteError)}


def with_file(cell: Cell, reason: str) -> str:
    """The reason, beginning with the file that the model of a cell comes from."""
    settings = registry.get("models", cell.model.name).settings
    file = next((str(value) for name, value in cell.model.settings.items() if settings[name].is_file), "")
    return reason if file in reason else f"{file}: {reason}"


def place(error: BaseException) -> str:
    """The line of a plugin that the error came from, `advrun/attacks/pgd.py:31: `, or nothing: what training or the disk did is no fault
    of the defence that asked for it."""
    found, roots = "", folders.roots()
    for frame in traceback.extract_tb(error.__traceback__):
        file = Path(frame.filename)
        if file.parent.parent in roots:
            found = f"{folders.shown(file)}:{frame.lineno}: "
        elif file in WORK:
            found = ""
    return found
