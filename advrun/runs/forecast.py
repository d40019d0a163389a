"""How long each cell will take, and who will do it: the work of a cell as estimated, at the speeds that earlier runs left in the log."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from advrun.console import Console, Part, Speeds
from advrun.console.course import about
from advrun.runs.board import Board
from advrun.runs.kept import parts
from advrun.runs.log import events
from advrun.runs.plan import Cell, Plan
from advrun.runs.store import Store

GUESS = 5000 * 32 * 32 * 3
"""Where nothing was measured: gradients of L-net in a second on two cores, for images of one pixel value."""


@dataclass(frozen=True)
class Forecast:
    """seconds: of each cell, by key. worker: who will do it, numbered from 0. total: seconds of all of it together.

    measured: cells done before whose speeds these are; 0 where it is guessed.
    """

    seconds: Mapping[str, float] = field(default_factory=dict)
    worker: Mapping[str, int] = field(default_factory=dict)
    total: float = 0.0
    measured: int = 0


def forecast(plan: Plan, cells: Sequence[Cell], store: Store, workers: int) -> Forecast:
    """Of cells that are to be done, by so many workers: they do them as a run would, in the time expected of what is left of each."""
    known, measured = speeds(store)
    guess = math.prod(plan.data.image_shape) / GUESS
    whole = parts(cells, plan, store.root)
    seconds = {cell.key: expected(each, known, guess) for cell, each in zip(cells, whole, strict=True)}
    board, idle = Board(cells, max(workers, 1)), list(range(max(workers, 1)))
    busy: list[tuple[float, int, Cell]] = []
    who: dict[str, int] = {}
    now = 0.0
    while idle or busy:
        while idle and (cell := board.take(idle[0])) is not None:
            worker = heapq.heappop(idle)
            who[cell.key] = worker
            heapq.heappush(busy, (now + seconds[cell.key], worker, cell))
        if not busy:
            break
        now, worker, cell = heapq.heappop(busy)
        board.done(cell, worker)
        heapq.heappush(idle, worker)
    return Forecast(seconds, who, now, measured)


def expected(part: Part, known: Speeds, guess: float) -> float:
    """Seconds for what is left of a part. guess: seconds for a unit of work where nothing is known."""
    found = known.of(part)
    return part.left * (guess if found is None else found)


def speeds(store: Store) -> tuple[Speeds, int]:
    """What the cells of a results folder took, and how many are known; a log may be torn, or somebody else's."""
    known, count = Speeds(), 0
    for event in events(store.root, "done"):
        try:
            seconds, work = float(event.get("timed", event["seconds"])), float(event["work"])
            done = Part(work, tuple(str(each) for each in event["alike"]), model=str(event.get("model", "")))
        except (ValueError, KeyError, TypeError):
            continue
        if not (math.isfinite(seconds) and math.isfinite(work) and seconds >= 0 and work > 0):
            continue
        count += 1
        known.add(done, seconds, work)
    return known, count


def compare(foreseen: Forecast, took: float, cells: int, store: Store, console: Console) -> None:
    """Say what was expected, and what it was."""
    store.event("forecast", cells=cells, expected=round(foreseen.total, 1), took=round(took, 1), measured=foreseen.measured)
    was = "forecast" if foreseen.measured else "guessed"
    console.event("took", label=f"{about(took)} for {cells} cells", **{was: about(foreseen.total)})
