"""Gives the cells of a plan to the workers of a pool, each cell once, when those that it needs are done. One that fails stops no other."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from advrun import pools
from advrun.console import Bar, Console, Course
from advrun.errors import GOES_ON, CellError
from advrun.pools import Message, Pool
from advrun.runs import crew, hand
from advrun.runs.board import Board
from advrun.runs.claims import Claims
from advrun.runs.crew import Crew
from advrun.runs.forecast import compare, forecast, speeds
from advrun.runs.kept import parts
from advrun.runs.needs import is_divisible, is_oracle
from advrun.runs.opened import Opened
from advrun.runs.outcomes import Outcomes
from advrun.runs.plan import Cell, Plan
from advrun.runs.store import Store

PATIENCE = 1.0
"""Seconds after which it is looked again whether somebody else has finished a cell, and whether a worker has said anything."""
STARTS = 4
"""A run ends where so many workers in a row are gone before they can begin."""


def execute(
    plan: Plan,
    cells: tuple[Cell, ...],
    store: Store,
    console: Console,
    opened: Opened,
    *,
    pool: str = "serial",
    claims: Claims | None = None,
    fail_fast: bool = False,
    spend: bool = False,
) -> Outcomes:
    """Do every cell that is not done. A cell whose input failed is not tried; with `fail_fast` the first failure ends it, and so
    does a disk that is full.

    Args:
        plan, cells: what there is, and what of it is to be done, with all that it needs.
        store, console: where results and progress go.
        opened: the models that come trained.
        pool: who does it, such as `processes:4`.
        claims: where other runs do cells of the same folder; each cell is claimed before it is begun.
        fail_fast: whether to stop at the first failure.
        spend: whether models may be asked that cost money.

    Raises:
        ConfigError: for a pool that is unknown.
    """
    pending = [cell for cell in cells if store.manifest(cell) is None]
    names = {cell.key for cell in pending}
    outcomes = Outcomes(skipped=[cell.label for cell in cells if cell.key not in names])
    job = hand.job(plan, {cell.key: cell for cell in pending}, store, console, opened, spend=spend)
    workers = pools.opened(pool, job)
    course = Course(parts(pending, plan, store.root), workers=min(workers.size, len(pending)), known=speeds(store)[0])
    foreseen = forecast(plan, pending, store, workers.size)
    try:
        with console.live(course):
            _Run(pending, workers, store, console, course, outcomes, claims, fail_fast).all()
    finally:
        workers.close()
    if len(outcomes.done) == len(pending):
        compare(foreseen, course.elapsed, len(pending), store, console)
    return outcomes


@dataclass
class _Task:
    """A cell that a worker has. begun: whether it has said so. late: whether another has done it. place: how far it was when it was last
    heard of."""

    cell: Cell
    begun: bool = False
    late: bool = False
    place: tuple[str, int] = ("", 0)
    bar: Bar | None = None


@dataclass
class _Run:
    pending: list[Cell]
    pool: Pool
    store: Store
    console: Console
    course: Course
    outcomes: Outcomes
    claims: Claims | None
    fail_fast: bool
    tasks: dict[int, _Task] = field(default_factory=dict)
    """By worker."""
    crews: dict[str, Crew] = field(default_factory=dict)
    """Of cells that are being done, and may be divided, by key."""
    idle: set[int] = field(default_factory=set)
    elsewhere: list[Cell] = field(default_factory=list)
    """Cells that another run has claimed."""
    asked: set[str] = field(default_factory=set)
    """Labels of models that can only be asked, and are being asked: by one worker at a time, for what is spent is counted in order."""
    deaths: dict[str, set[tuple[str, int]]] = field(default_factory=dict)
    """How far each cell was when its worker died."""
    starts: int = 0
    ends: bool = False

    def all(self) -> None:
        """Until nothing is left that could be done."""
        self.board, self.idle = Board(self.pending, self.pool.size), set(range(self.pool.size))
        looked = time.monotonic()
        while self.board.left and not self.ends:
            if self.elsewhere and (not self.tasks or time.monotonic() - looked >= PATIENCE):
                looked = time.monotonic()
                self._look_again()
            self._give()
            if not self.tasks and self.elsewhere:
                time.sleep(PATIENCE)
            elif not self.tasks:
                return
            for message in self.pool.hear(PATIENCE) if self.tasks else ():
                getattr(self, f"_{message['kind']}")(message)

    # Cells to workers ---------------------------------------------------------------------------------------------------

    def _give(self) -> None:
        """A cell to each idle worker, as far as there are cells that are ready."""
        put_off: list[Cell] = []
        for worker in sorted(self.idle):
            cell = self._next(worker, put_off)
            if cell is None:  # nor is there one for the others
                break
            self._begin(cell, worker)
        for cell in put_off:
            self.board.back(cell)
        self._join()

    def _join(self) -> None:
        """Workers for which nothing is ready make batches of what others are doing."""
        while self.idle and self.crews:
            joined = max(self.crews.values(), key=Crew.worth)
            if joined.worth() < crew.WORTH:
                return
            worker = self.board.joined(joined.cell, self.idle)
            self.store.event("join", cell=joined.cell.label, worker=worker)
            self._give_to(worker, joined.cell)

    def _next(self, worker: int, put_off: list[Cell]) -> Cell | None:
        """What the worker can begin now, claimed; cells of a model that is being asked are put off."""
        while (cell := self.board.take(worker)) is not None:
            if is_oracle(cell.model) and cell.model.label in self.asked:
                put_off.append(cell)
            elif self.claims is not None and not self.claims.take(_claimed(cell)):
                self.elsewhere.append(cell)
            elif self.store.manifest(cell) is not None:  # its input was lost, and is rebuilt to the same bytes; or another run did it
                self._skip(cell, worker)
            else:
                return cell
        return None

    def _begin(self, cell: Cell, worker: int) -> None:
        where = {"worker": worker} if self.pool.size > 1 else {}
        self.store.event("start", cell=cell.label, kind=cell.kind, **where)
        self.course.enter(self.board.place[cell.key])
        if is_oracle(cell.model):
            self.asked.add(cell.model.label)
        if is_divisible(cell):
            self.crews[cell.key] = Crew(cell)
        self._give_to(worker, cell)

    def _give_to(self, worker: int, cell: Cell) -> None:
        self.tasks[worker] = _Task(cell)
        self.idle.discard(worker)
        if cell.key in self.crews:
            self.crews[cell.key].members.add(worker)
        self.pool.give(worker, cell.key)

    def _skip(self, cell: Cell, worker: int | None = None) -> None:
        self._drop(cell)
        self.course.drop(self.board.place[cell.key])
        self.outcomes.skipped.append(cell.label)
        self.board.done(cell, worker)

    def _look_again(self) -> None:
        """Cells that another run had claimed: it has finished them, or given them up."""
        waiting, self.elsewhere = self.elsewhere, []
        for cell in waiting:
            if self.store.manifest(cell) is not None:
                self._skip(cell)
            else:
                self.board.back(cell)

    def _free(self, worker: int) -> Cell:
        """The worker is idle again. Returns the cell that it had, which is nobody's now, unless others are at it, or have done it."""
        others, task = self._others(worker), self.tasks.pop(worker)
        self.idle.add(worker)
        if task.bar:
            self.console.hide(task.bar)
        if others:
            self.crews[task.cell.key].leave(worker)
        elif not task.late:
            self.crews.pop(task.cell.key, None)
            self.asked.discard(task.cell.model.label)
            self._drop(task.cell)
        return task.cell

    def _others(self, worker: int) -> set[int]:
        """Who else is at the worker's cell."""
        found = self.crews.get(self.tasks[worker].cell.key)
        return found.members - {worker} if found else set()

    def _give_back(self, worker: int) -> None:
        """The worker has not done its cell. It is ready again, unless others are at it, or have done it."""
        goes_on = bool(self._others(worker)) or self.tasks[worker].late
        cell = self._free(worker)
        if not goes_on:
            self.course.give_up(self.board.place[cell.key])
            self.board.back(cell)

    def _drop(self, cell: Cell) -> None:
        if self.claims is not None and cell.model.label not in self.asked:  # else the claim is that of the cell that asks
            self.claims.drop(_claimed(cell))

    # What workers say; a method for each kind of message ----------------------------------------------------------------

    def _ready(self, message: Message) -> None:
        self.starts = 0

    def _begun(self, message: Message) -> None:
        self.tasks[message["worker"]].begun = True

    def _bar(self, message: Message) -> None:
        worker = message["worker"]
        task, number = self.tasks[worker], self.board.place[self.tasks[worker].cell.key]
        if task.late:
            return
        if task.bar is None or task.place[0] != message["label"]:
            if task.bar:
                self.console.hide(task.bar)
            task.bar = self.console.show(message["label"], message["total"], worker=worker, part=number)
        found = self.crews.get(task.cell.key)
        task.place = message["label"], found.furthest(message["done"]) if found else message["done"]
        task.bar.done, task.bar.total = 0, message["total"]
        task.bar.kept, task.bar.made = message.get("kept", 0), True
        task.bar.advance(task.place[1], message["note"])

    def _event(self, message: Message) -> None:
        self.console.event(message["event"], **message["details"])

    def _warning(self, message: Message) -> None:
        self.console.warn(message["text"])

    def _detail(self, message: Message) -> None:
        self.console.detail(message["text"])

    def _turn(self, message: Message) -> None:
        """A worker asks which of some batches it shall make; which of them others have is known here alone."""
        worker, batches, task = message["worker"], message["batches"], self.tasks.get(message["worker"])
        if task is None or task.cell.key != message["key"]:  # it was lost meanwhile
            return
        found = self.crews.get(task.cell.key)
        turn = "" if task.late else found.turn(worker, batches) if found else batches[0]
        if turn and self._others(worker):
            self.store.event("batch", cell=task.cell.label, batch=turn, worker=worker)
        self.pool.tell(worker, turn)

    def _left(self, message: Message) -> None:
        worker = message["worker"]
        if (found := self.crews.get(self.tasks[worker].cell.key)) is not None:
            found.finished(worker, message["seconds"])
        self._give_back(worker)

    def _done(self, message: Message) -> None:
        worker, seconds = message["worker"], message["seconds"]
        cell = self.tasks[worker].cell
        if self.tasks[worker].late:
            self._free(worker)
            return
        if self.store.adopt(cell) is None:
            self._fail(worker, "its worker says that it is done, and the results folder does not", {})
            return
        for other in self._others(worker):
            self.tasks[other].late = True
        seconds = round(seconds + (found.spent if (found := self.crews.pop(cell.key, None)) else 0), 2)
        self._free(worker)
        part = self.course.parts[self.board.place[cell.key]]
        timed, work = self.course.leave(self.board.place[cell.key])
        speed = {"work": round(work, 3), "timed": round(timed, 2)} if part.kept else {"work": round(part.work, 3)}
        self.store.event("done", cell=cell.label, seconds=seconds, **speed, alike=part.alike, model=part.model)
        if not cell.metric or self.console.as_json:  # a line for each metric of each row would bury the others
            self.console.event("done", label=cell.label, cell=f"{self.course.entered} of {len(self.pending)}", seconds=seconds)
        self.outcomes.done.append(cell.label)
        self.board.done(cell, worker)

    def _failed(self, message: Message) -> None:
        self._fail(message["worker"], message["reason"], message)

    def _lost(self, message: Message) -> None:
        """A worker is gone. Its cell is done again, by a new one, unless it kills its workers."""
        worker, task = message["worker"], self.tasks.get(message["worker"])
        self.board.forget(worker)
        if task is None or task.cell.key != message["key"]:  # it was idle
            return
        self.store.event("lost", cell=task.cell.label, worker=worker, reason=message["why"])
        if not task.begun:
            self.starts += 1
            if self.starts >= STARTS:
                self.outcomes.stuck = CellError(f"{self.starts} workers in a row could not begin: the last {message['why']}")
                self.ends = True
                return
        elif task.place in self.deaths.setdefault(task.cell.key, set()):
            self._fail(
                worker,
                f"its worker died of it twice, the last time {message['why']}; fewer workers, or smaller batches, take less memory",
                {},
            )
            return
        else:
            self.deaths[task.cell.key].add(task.place)
            self.console.event("lost", label=task.cell.label, reason=f"its worker {message['why']}; another one goes on with it")
        self._give_back(worker)

    def _gone(self, message: Message) -> None:
        """A worker is lost, and there is no room for another one: the rest goes on without it."""
        worker, task = message["worker"], self.tasks.get(message["worker"])
        self.board.forget(worker)
        if task is not None and task.cell.key == message["key"]:
            self.store.event("lost", cell=task.cell.label, worker=worker, reason=message["why"])
            self.console.event(
                "lost", label=task.cell.label, reason=f"its worker {message['why']}; one of those that are left goes on with it"
            )
            self._give_back(worker)
        self.idle.discard(worker)
        if not self.idle and not self.tasks:
            self.outcomes.stuck = CellError(f"no worker is left: the last {message['why']}; {GOES_ON}")
            self.ends = True

    def _back(self, message: Message) -> None:
        self.idle.add(message["worker"])

    def _fail(self, worker: int, reason: str, details: Message) -> None:
        """The cell has failed. Where others are at it, they try what this worker could not do, and the last of them fails."""
        if self.tasks[worker].late or (self._others(worker) and not details.get("unwritten")):
            self.store.event("lost", cell=self.tasks[worker].cell.label, worker=worker, reason=reason)
            self._free(worker)
            return
        cell = self._free(worker)
        self.course.leave(self.board.place[cell.key], counts=False)
        is_new = self.outcomes.add(cell, reason, refused=details.get("refused", False), unwritten=details.get("unwritten", False))
        self.store.event("failed", cell=cell.label, reason=reason, traceback=details.get("traceback", ""))
        if self.console.as_json or is_new:
            self.console.event("failed", label=cell.label, reason=reason)
        for needing in self.board.failed(cell):
            self.course.drop(self.board.place[needing.key])
            self.outcomes.blocked.append(needing.label)
        if self.fail_fast or details.get("unwritten"):  # whatever else is computed could not be written either
            self.ends = True


def _claimed(cell: Cell) -> str:
    """What is claimed before the cell is begun: the cell, or the model where that can only be asked."""
    return f"asks {cell.model.label}" if is_oracle(cell.model) else cell.key
