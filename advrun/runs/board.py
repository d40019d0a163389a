"""Which cells are ready, and which of them a worker does next; what it costs does not grow with the number of cells.

First all models are trained. Then a worker keeps the system of its last cell loaded, and what it made for its last row. So it is given
first what its own work has made ready, and what needs the same cells as its last one; then cells of the same system; then of a system that
no other worker has loaded. Where nothing of that is left, it takes from others: the cell that they would come to last.
"""

from __future__ import annotations

import heapq
from bisect import insort
from collections.abc import Collection, Sequence
from itertools import takewhile

from advrun.runs.plan import Cell


class Board:
    """Of the cells that are to be done. `take`, then `done`, `failed` or `back`.

    All models are trained before anything else. Then a model that cannot be trained does not wait for the attacks on others to say so,
    and the expected end knows how slow each of them is.

    Args:
        cells: in an order in which each comes after the ones that it needs. What they need besides is done.
        workers: how many there are.
    """

    def __init__(self, cells: Sequence[Cell], workers: int = 1) -> None:
        self.cells = cells
        self.place = {cell.key: place for place, cell in enumerate(cells)}
        self.left = len(cells)
        self._waits: dict[int, int] = {}
        """For how many cells each waits."""
        self._needed_by: dict[int, list[int]] = {}
        self._own: list[list[int]] = [[] for _ in range(workers)]
        """For each worker what it should do before all else, in order."""
        self._others: dict[str, list[int]] = {}
        """What else is ready, in order, by system."""
        self._systems: list[tuple[int, str]] = []
        """A heap of these systems, by the first of their cells; some are named twice, or are empty by now."""
        self._trainings: list[int] = []
        """A heap of models to be trained, which come first of all."""
        self._loaded: list[str] = [""] * workers
        for place, cell in enumerate(cells):
            needs = {self.place[needed.key] for needed in cell.needs if needed.key in self.place}
            for needed in needs:
                self._needed_by.setdefault(needed, []).append(place)
            self._waits[place] = len(needs)
            if not needs:
                self._ready(place)

    def take(self, worker: int) -> Cell | None:
        """What the worker shall do now; None where nothing is ready."""
        if self._trainings:
            return self.cells[heapq.heappop(self._trainings)]
        own = self._own[worker]
        if not own:
            system = self._next_system(worker)
            if system is None:
                return self._stolen(worker)
            self._take_over(worker, self._others[system])
        return self._taken(worker, own.pop(0))

    def joined(self, cell: Cell, idle: Collection[int]) -> int:
        """Which of the idle workers shall help with a cell: one that has its system loaded, where there is one. It has, from now on."""
        worker = min(idle, key=lambda worker: (self._loaded[worker] != cell.system.key, worker))
        self._loaded[worker] = cell.system.key
        return worker

    def done(self, cell: Cell, worker: int | None = None) -> None:
        """The cell is finished, by the worker or by somebody else."""
        self.left -= 1
        for place in self._needed_by.pop(self.place[cell.key], ()):
            self._waits[place] -= 1
            if self._waits[place] == 0:
                is_near = worker is not None and self.cells[place].system.key == self._loaded[worker]
                self._ready(place, self._own[worker] if worker is not None and is_near else None)

    def failed(self, cell: Cell) -> list[Cell]:
        """The cell will not be done; returns those that are not tried because they need it, in order."""
        lost, waiting = set(), [self.place[cell.key]]
        while waiting:
            for place in self._needed_by.pop(waiting.pop(), ()):
                if place not in lost:
                    lost.add(place)
                    waiting.append(place)
        self.left -= 1 + len(lost)
        return [self.cells[place] for place in sorted(lost)]

    def back(self, cell: Cell) -> None:
        """The cell was taken, and is to be done yet."""
        self._ready(self.place[cell.key])

    def forget(self, worker: int) -> None:
        """The worker has nothing loaded any more: it is a new one."""
        self._loaded[worker] = ""
        for place in self._own[worker]:
            self._ready(place)
        self._own[worker].clear()

    def _ready(self, place: int, own: list[int] | None = None) -> None:
        cell = self.cells[place]
        if cell.kind == "train" and cell.defense is None:
            heapq.heappush(self._trainings, place)
            return
        if own is None:
            system = cell.system.key
            own = self._others.setdefault(system, [])
            if not own or place < own[0]:
                heapq.heappush(self._systems, (place, system))
        insort(own, place)

    def _next_system(self, worker: int) -> str | None:
        """The system that is loaded, else the first that nobody else has loaded, else the first of all, where it has something ready."""
        if self._others.get(self._loaded[worker]):
            return self._loaded[worker]
        elsewhere = {system for number, system in enumerate(self._loaded) if number != worker}
        passed: list[tuple[int, str]] = []
        found = None
        while self._systems and found is None:
            place, system = self._systems[0]
            if not self._others.get(system) or self._others[system][0] != place:
                heapq.heappop(self._systems)  # named anew since, or empty
            elif system in elsewhere:
                passed.append(heapq.heappop(self._systems))
            else:
                found = system
        for each in passed:
            heapq.heappush(self._systems, each)
        return found or (passed[0][1] if passed else None)

    def _take_over(self, worker: int, ready: list[int]) -> None:
        """The first of a system's ready cells, and those after it that need the same."""
        needs = self.cells[ready[0]].needs
        count = sum(1 for _ in takewhile(lambda place: self.cells[place].needs == needs, ready))
        self._own[worker][:] = ready[:count]
        del ready[:count]
        if ready:
            heapq.heappush(self._systems, (ready[0], self.cells[ready[0]].system.key))

    def _stolen(self, worker: int) -> Cell | None:
        """What another worker would come to last."""
        longest = max(self._own, key=len)
        return self._taken(worker, longest.pop()) if longest else None

    def _taken(self, worker: int, place: int) -> Cell:
        if self.cells[place].kind != "learn":  # of images alone
            self._loaded[worker] = self.cells[place].system.key
        return self.cells[place]
