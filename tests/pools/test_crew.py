"""One cell that several workers make together, batch by batch: who makes which, what a lost worker costs, and the bytes of one process."""

from __future__ import annotations

import json
import os
import queue
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from advrun import registry
from advrun.checkpoints import END, Checkpoints, LeftToOthers
from advrun.config import AttackEntry
from advrun.console import Console, Course, Part
from advrun.runs.board import Board
from advrun.runs.crew import Crew
from advrun.runs.hand import CellHand, _asking
from advrun.runs.needs import is_divisible
from advrun.runs.outcomes import Outcomes
from advrun.runs.schedule import _Run, _Task
from advrun.runs.store import Store
from advrun.turns import batches

from ._cells import cell
from ._contents import contents
from ._runs import MANY, SMALL, checkpoints, children, command, config, events, makers, together, wait_for

# Whose turn it is --------------------------------------------------------------------------------------------------------


def test_every_batch_is_somebodys_once_and_a_lost_workers_are_anybodys():
    crew = Crew(cell("a", "bound"), lambda: 0.0, {0, 1})
    assert [crew.turn(worker, "abcd") for worker in (0, 1, 0)] == ["a", "b", "c"]
    crew.leave(1)
    assert [crew.turn(0, "bd"), crew.turn(0, "bd"), crew.turn(0, "bd")] == ["b", "d", ""]


def test_what_a_worker_leaves_is_made_and_nobody_joins_in_its_place_before_there_is_news():
    now = [0.0]
    crew = Crew(cell("a", "bound"), lambda: now[0], {0, 1})
    assert [crew.turn(worker, "abc") for worker in (0, 1)] == ["a", "b"]
    crew.finished(1, 5.0)
    crew.leave(1)
    now[0] = 9.0
    assert (crew.worth(), crew.spent) == (0, 5.0)
    assert crew.turn(0, "bcd") == "c"
    assert crew.worth() == 9.0


def test_a_cell_is_as_far_as_the_member_that_knows_most(tmp_path):
    """Bars and the whole run's course do not go back where one begins that knows of nothing yet."""
    run = _Run([], None, Store(tmp_path), Console(quiet=True), Course([Part(1.0)]), Outcomes(), None, False)
    run.board, run.console.course = Board([TRAIN]), run.course
    run.course.enter(0)
    run.tasks, run.crews = {0: _Task(TRAIN), 1: _Task(TRAIN)}, {TRAIN.key: Crew(TRAIN, members={0, 1})}
    for worker, done in ((0, 6), (1, 0), (1, 8), (0, 7)):
        run._bar({"worker": worker, "label": "attack", "done": done, "total": 10, "note": ""})
    assert [run.tasks[worker].bar.done for worker in (0, 1)] == [8, 8]
    assert run.course._inside[0].share == 0.8


def test_another_worker_joins_where_enough_is_left_for_it():
    """That a batch takes long is known while the first is being made; those who are on their way count as if they were there."""
    now = [0.0]
    crew = Crew(cell("a", "bound"), lambda: now[0], {0})
    assert crew.worth() == 0
    crew.turn(0, "abcde")
    now[0] = 5.0
    assert crew.worth() == 4 * 5.0
    now[0] = 6.0
    crew.turn(0, "bcde")
    assert crew.worth() == 3 * 6.0
    crew.members |= {1, 2}
    assert crew.worth() == 6.0
    crew.turn(1, "bcde")
    assert (crew.left, crew.worth()) == (2, 6.0)
    crew.turn(2, "bcde")
    crew.turn(0, "cde")
    assert crew.worth() == 0


def test_batches_of_others_are_taken_from_the_checkpoints_and_the_last_worker_has_all(tmp_path):
    """By two workers that take turns: the one that finds nothing to do leaves what it has made."""
    crew, made = Crew(cell("a", "bound"), members={0, 1}), {0: [], 1: []}
    stores = [Store(tmp_path, lambda key, names, worker=worker: crew.turn(worker, names)) for worker in (0, 1)]
    runs = [batches(Doubling(made[worker], []), 10, stores[worker].checkpoints(crew.cell)) for worker in (0, 1)]
    assert [next(runs[worker])[0].start for worker in (0, 1, 1, 0)] == [0, 3, 6, 9]
    with pytest.raises(LeftToOthers):
        next(runs[1])
    assert {rows.start: found["x"].tolist() for rows, found in runs[0]} == {3: [6.0, 8.0, 10.0], 6: [12.0, 14.0, 16.0]}
    assert made == {0: [0, 9], 1: [3, 6]}


def test_a_batch_that_was_made_in_parts_is_found_by_those_who_made_none_of_it(tmp_path):
    """The names of batches are those of the batch size that was asked for, whatever fits into one worker's memory."""

    class Small(Doubling):
        def make(self, rows):
            if rows.stop - rows.start > 1:
                raise MemoryError
            return super().make(rows)

    made, others = Small([], []), Doubling([], [])
    checkpoints = Checkpoints(tmp_path)
    small = {rows.start: found["x"].tolist() for rows, found in batches(made, 7, checkpoints)}
    checkpoints.flush()
    assert {rows.start: found["x"].tolist() for rows, found in batches(others, 7, Checkpoints(tmp_path))} == small
    assert small == {0: [0.0, 2.0, 4.0], 3: [6.0, 8.0, 10.0], 6: [12.0]}
    assert (sorted(made.seen), others.seen) == ([0, 1, 2, 3, 4, 5, 6], [])


def test_what_may_be_divided_follows_from_what_it_is():
    """Attacks that learn first are whole, but where what they learn is a cell of its own; so are cascades with such a stage."""

    def divisible(kind, name=None):
        attack = name and AttackEntry(name, name, {}, "linf", (8 / 255,))
        return is_divisible(cell("x", kind, (), attack=attack))

    assert {name for name in registry.names("attacks") if registry.get("attacks", name).fit} > {
        "advgan",
        "universal",
        "sticker",
        "substitute",
    }
    for name in ("advgan", "universal", "sticker", "substitute"):
        assert not divisible("attack", name)
    assert all(divisible("attack", name) for name in ("pgd", "square", "autoattack", "natural"))
    assert divisible("bound")
    assert not any(map(divisible, ("train", "learn", "measure", "metric", "probe", "prove")))


# Workers that are threads --------------------------------------------------------------------------------------------------


class Died(BaseException):
    """The end of a worker."""


class Doubling:
    """Makes twice its number of each image. made: first images of its batches. dies: what becomes of the next ones."""

    batch_size = 3

    def __init__(self, made, dies):
        self.seen, self.dies = made, dies

    def make(self, rows):
        if self.dies and self.dies.pop():
            raise Died
        time.sleep(0.002)
        self.seen.append(rows.start)
        return {"x": 2.0 * np.arange(rows.start, rows.stop)}

    def checked(self, saved, rows):
        return saved

    def room(self, rows):
        return 1 << 20


TRAIN = cell("net", "train")


def bound(name):
    return cell(name, "bound", (TRAIN,))


class Threads:
    """Workers of this process, with real hands, checkpoints and questions. Each batch is the death of its worker by some chance."""

    def __init__(self, size, cells, root, dying=0.0, seed=0, joined=lambda: None):
        self.size, self.cells, self.root, self.joined = size, {each.key: each for each in cells}, root, joined
        self.said, self.turns, self.keys, self.made = queue.SimpleQueue(), {}, {}, {}
        self.draw, self.dying = random.Random(seed), dying
        self.deaths = 0

    def give(self, worker, key):
        if worker not in self.keys:
            self.keys[worker], self.turns[worker] = queue.SimpleQueue(), queue.SimpleQueue()
            threading.Thread(target=self.work, args=(worker, self.keys[worker], self.turns[worker]), daemon=True).start()
        self.keys[worker].put(key)

    def tell(self, worker, turn):
        self.turns[worker].put(turn)

    def work(self, number, keys, turns):
        def send(message):
            self.said.put({**message, "worker": number})

        worker = self.Worker(self, number, Store(self.root, _asking(send, turns.get)))
        hand = CellHand(self.cells, worker, send)
        while True:
            key = keys.get()
            try:
                hand.do(key)
            except Died:
                self.deaths += 1
                del self.keys[number]
                send({"kind": "lost", "key": key, "why": "is dead"})
                return

    class Worker:
        def __init__(self, pool, number, store):
            self.pool, self.number, self.store = pool, number, store

        def run(self, cell):
            checkpoints, pool, found = self.store.checkpoints(cell), self.pool, {}
            for stage in ("a", "b"):  # the second of what the first has made
                made = pool.made.setdefault(f"{cell.label} {stage}", Counter())
                runner = Doubling([], [pool.draw.random() < pool.dying for _ in range(100)])
                for rows, part in batches(runner, 20, checkpoints, f"{stage}-"):
                    found[stage, rows.start] = part["x"].tolist()
                    made.update({(self.number, first): 1 for first in runner.seen})
                    runner.seen.clear()
            text = str(sorted(found.items()))
            self.store.finish(cell, {f"bounds/{cell.stem}.json": lambda path: path.write_text(text)}, {})
            self.store.checkpoints(cell).clear()

    def hear(self, seconds):
        try:
            return [self.said.get(timeout=seconds)]
        except queue.Empty:
            return []

    def close(self):
        pass


def driven(pool, root):
    cells, outcomes = list(pool.cells.values()), Outcomes()
    Store(root).finish(TRAIN, {}, {})
    _Run(cells, pool, Store(root), Console(quiet=True), Course([Part(1.0)] * len(cells), workers=pool.size), outcomes, None, False).all()
    return outcomes


@pytest.fixture
def eager(monkeypatch):
    """Workers join for whatever is left."""
    monkeypatch.setattr("advrun.runs.crew.WORTH", 1e-9)
    monkeypatch.setattr("advrun.checkpoints.CHECKPOINT_SECONDS", 0.0)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_a_cell_is_made_by_all_workers_each_batch_by_one(tmp_path, eager, workers):
    pool = Threads(workers, [bound("a")], tmp_path)
    assert driven(pool, tmp_path).done == ["a"]
    for made in pool.made.values():
        assert sorted(first for _, first in made.elements()) == list(range(0, 20, 3))
    by = {number for made in pool.made.values() for number, _ in made}
    assert (len(by) > 1) == (workers > 1)
    assert by == {0} | {event["worker"] for event in events(tmp_path, "join")}
    assert {event["worker"] for event in events(tmp_path, "batch")} <= by
    assert not list(tmp_path.glob("partial/*/*"))


def test_workers_die_at_any_batch_and_the_bytes_are_the_same(tmp_path, eager):
    """A death costs the batch that it came in: all others are made once."""
    alone = Threads(1, [bound("a")], tmp_path / "alone")
    driven(alone, tmp_path / "alone")
    (whole,) = (file.read_bytes() for file in (tmp_path / "alone").glob("bounds/*"))
    deaths = 0
    for seed in range(12):
        root = tmp_path / str(seed)
        pool = Threads(3, [bound("a")], root, dying=0.15, seed=seed)
        while not (outcomes := driven(pool, root)).done:  # where it died twice at one place it has failed, and the next run goes on
            assert outcomes.failed
        (file,) = root.glob("bounds/*")
        assert file.read_bytes() == whole
        assert [sorted(first for _, first in made.elements()) for made in pool.made.values()] == [list(range(0, 20, 3))] * 2
        assert not list(root.glob("partial/*/*"))
        deaths += pool.deaths
    assert deaths >= 12


def test_a_cell_that_may_not_be_divided_is_one_workers(tmp_path, eager):
    pool = Threads(3, [cell("a", "measure", (TRAIN,))], tmp_path)
    driven(pool, tmp_path)
    assert len({number for made in pool.made.values() for number, _ in made}) == 1
    assert not events(tmp_path, "join")


def test_nobody_joins_while_there_are_cells_of_ones_own(tmp_path, eager):
    driven(Threads(2, [bound(str(number)) for number in range(3)], tmp_path), tmp_path)
    log = [json.loads(line)["event"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [event for event in log if event in ("start", "join")][:3] == ["start"] * 3
    assert "join" in log


def test_the_last_piece_of_a_cell_is_done_by_one(tmp_path):
    crew = Crew(cell("a", "bound"), members={0, 1})
    first, second = (Store(tmp_path, lambda key, names, worker=worker: crew.turn(worker, names)) for worker in (0, 1))
    first.finish(crew.cell, {}, {})
    with pytest.raises(LeftToOthers):
        second.finish(crew.cell, {}, {})
    assert crew.holders == {END: 0}


# Workers that are processes --------------------------------------------------------------------------------------------------

HEAVY = SMALL | {"attacks": "[{name: autoattack, eps: 8/255, examples: 48}]", "batch": 8}
"""A cascade, each stage of which attacks what the one before has left."""


@pytest.mark.slow
def test_two_processes_make_a_cascade_together(data):
    subprocess.run(command("run", config(data, "crew-cascade", HEAVY), "-q"), check=True)
    subprocess.run(together("run", config(data, "crew-joined", HEAVY), "--pool", "processes:2", "-q"), check=True)
    folder = data.parent / "crew-joined/toy"
    assert contents(folder) == contents(data.parent / "crew-cascade/toy")
    assert {each["worker"] for each in events(folder, "batch") if each["batch"] != END} == {0, 1}
    assert not list((folder / "partial").glob("*/*"))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the workers in Linux's list of processes")
def test_a_worker_and_the_driver_are_killed_within_a_cell_of_two(data):
    """The worker costs a batch; the driver what was being made. Nothing that was finished is made again."""
    subprocess.run(command("run", config(data, "crew-whole", MANY), "-q"), check=True)
    file, folder = config(data, "crew-parts", MANY), data.parent / "crew-parts/toy"
    starting = together("run", file, "--pool", "processes:2")
    run = subprocess.Popen(starting, stderr=subprocess.DEVNULL)
    wait_for(lambda: makers(folder) == {0, 1} and len(checkpoints(folder)) > 2, run)
    os.kill(children(run.pid)[-1], signal.SIGKILL)
    wait_for(lambda: events(folder, "lost"), run)
    kept = checkpoints(folder)
    further = wait_for(lambda: len(now := checkpoints(folder)) > len(kept) and now, run)
    assert kept.items() <= further.items()
    run.send_signal(signal.SIGKILL)
    run.wait()
    kept = checkpoints(folder)
    run = subprocess.Popen(starting, stderr=subprocess.DEVNULL)
    further = wait_for(lambda: len(now := checkpoints(folder)) > len(kept) and now, run)
    assert kept.items() <= further.items()
    assert run.wait() == 0
    assert contents(folder) == contents(data.parent / "crew-whole/toy")
    assert not list((folder / "partial").glob("*/*"))
