"""Which worker does which cell, and what happens when workers, drivers and other runs come and go."""

from __future__ import annotations

import io
import json
import random
import subprocess
import sys
import time
from collections import Counter
from types import SimpleNamespace

import pytest
from rich.console import Console as Terminal

from advrun import pools
from advrun.console import Console, Course, Part
from advrun.console.screen import Screen
from advrun.errors import AdvrunError, CellError, ConfigError, LockError
from advrun.pools import Job, _machine
from advrun.runs.board import Board
from advrun.runs.claims import Claims
from advrun.runs.forecast import speeds
from advrun.runs.outcomes import Outcomes
from advrun.runs.schedule import STARTS, _Run
from advrun.runs.shares import OneCell, Shard, with_needs
from advrun.runs.store import Store

from ._cells import Here, cell, finishing, sweep

# Which cell is next ----------------------------------------------------------------------------------------------------


def played(cells, workers: int, seed: int = 0, taking=None) -> list[tuple[int, str]]:
    """Who does what where each cell takes some time; every cell comes after those that it needs, and once."""
    board, pause = Board(cells, workers), random.Random(seed)
    idle, busy, order, done = list(range(workers)), [], [], set()
    while board.left:
        for worker in list(idle):
            taken = board.take(worker)
            if taken is None:
                continue
            assert all(needed.key in done for needed in taken.needs)
            idle.remove(worker)
            busy.append(((taking or (lambda cell: pause.random()))(taken), worker, taken))
            order.append((worker, taken.label))
        busy.sort(key=lambda each: each[0])
        seconds, worker, taken = busy.pop(0)
        busy = [(left - seconds, *rest) for left, *rest in busy]
        board.done(taken, worker)
        done.add(taken.key)
        idle.append(worker)
    assert Counter(label for _, label in order) == Counter(each.label for each in cells)
    return order


def test_one_worker_trains_all_models_and_keeps_the_order_of_the_plan():
    labels = [each.label for each in sweep(3, 4, 2)]
    assert [label for _, label in played(sweep(3, 4, 2), 1)] == ["s0", "s1", "s2", *(label for label in labels if " " in label)]


def test_models_are_trained_first_and_defences_of_them_in_their_turn():
    """Two workers have trained two models of three; the third comes before attacks, for whoever is idle first."""
    cells = sweep(3, 2, 1)
    defended = cell("s0 defended", "train", (cells[0],), SimpleNamespace(label="fast"))
    board = Board([*cells, defended], 2)
    first, second = board.take(0), board.take(1)
    board.done(first, 0)
    third = board.take(0)
    assert [each.label for each in (first, second, third)] == ["s0", "s1", "s2"]
    board.done(second, 1)
    assert board.take(1).label == "s0 a0"  # in the order of the plan, whichever model it has trained
    assert third.label not in {board.take(worker).label for worker in (0, 1)}


@pytest.mark.parametrize("workers", [2, 3, 7, 40])
def test_every_cell_is_done_once_after_what_it_needs(workers):
    for seed in range(5):
        pick = random.Random(seed)
        cells = []
        for number in range(60):
            needs = tuple(pick.sample(cells, min(len(cells), pick.choice((0, 1, 1, 2)))))
            cells.append(cell(f"{seed} {number}", "attack" if needs else "train", needs))
        played(cells, workers, seed)


def switches(order) -> int:
    """How often a worker loads another system than that of its last cell."""
    loaded, count = {}, 0
    for worker, label in order:
        system = label.split()[0]
        count += loaded.get(worker) not in (None, system)
        loaded[worker] = system
    return count


def test_workers_stay_with_their_system_and_rows_with_their_worker():
    order = [each for each in played(sweep(8, 5, 4), 2, taking=lambda cell: 1.0) if " " in each[1]]  # once the models are trained
    assert switches(order) <= 7  # each of eight systems is loaded once, but for what is shared out at the end
    at = {label: worker for worker, label in order}
    torn = [label for label in at if " m" in label and at[label] != at[f"{label.rpartition(' ')[0]} row"]]
    assert len(torn) <= 4


def test_one_system_keeps_all_workers_busy():
    cells = sweep(1, 40, 2)
    share = Counter(worker for worker, _ in played(cells, 4, taking=lambda cell: 1.0))
    assert min(share.values()) >= len(cells) / 4 - 4


def test_what_needs_a_failed_cell_is_not_tried():
    cells = sweep(2, 2, 1)
    board = Board(cells)
    first = board.take(0)
    assert [each.label for each in board.failed(first)] == [each.label for each in cells[1:7]]
    assert board.left == len(cells) - 7
    assert board.take(0).label == "s1"


# The driver ------------------------------------------------------------------------------------------------------------


def driven(store, cells, end, workers=1, claims=None, console=None, **more):
    outcomes, course = Outcomes(), Course([Part(1.0)] * len(cells), workers=workers)
    pool = Here(workers, end)
    _Run(list(cells), pool, store, console or Console(quiet=True), course, outcomes, claims, more.get("fail_fast", False)).all()
    return outcomes, pool, course


def test_all_cells_of_a_sweep_are_done(tmp_path):
    cells = sweep(3, 3, 2)
    outcomes, pool, course = driven(store := Store(tmp_path), cells, finishing(store, cells), workers=3)
    assert sorted(outcomes.done) == sorted(each.label for each in cells)
    assert {worker for worker, _ in pool.given} == {0, 1, 2}
    assert course.remaining() == 0
    assert speeds(store)[1] == len(cells)


def test_the_log_tells_the_next_run_how_slow_each_network_is(tmp_path):
    """The slow one was trained alone: what its attacks take is expected from those on the other."""
    cells, store = sweep(2, 1, 0), Store(tmp_path)
    plan = [("train", "fast"), ("attack", "fast"), ("measure", "fast"), ("train", "slow"), ("attack", "slow"), ("measure", "slow")]
    clock = iter(range(0, 10_000, 7))
    course = Course([Part(3.0, (kind,), model=model) for kind, model in plan], lambda: next(clock))
    _Run(cells, Here(1, finishing(store, cells)), store, Console(quiet=True), course, Outcomes(), None, False).all()
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    done = [line for line in lines if line["event"] == "done"]
    assert {(*line["alike"], line["model"]) for line in done} == set(plan)
    told = [line | {"seconds": {"fast": 2.0, "slow": 24.0}[line["model"]]} for line in done if (*line["alike"], line["model"]) != plan[4]]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in told))
    known, count = speeds(store)
    assert count == 5
    assert known.of(Part(1.0, ("attack",), model="slow")) == pytest.approx(24 / 3)


def test_a_lost_worker_is_replaced_and_its_cell_done_again(tmp_path):
    cells, store, losses = sweep(1, 3, 1), Store(tmp_path), []

    def end(worker, key):
        if key == cells[4].key and not losses:
            losses.append(key)
            return [{"kind": "begun", "key": key}, {"kind": "lost", "key": key, "why": "was killed by SIGKILL"}]
        return finishing(store, cells)(worker, key)

    outcomes, _, course = driven(store, cells, end, workers=2)
    assert (len(outcomes.done), outcomes.failed) == (len(cells), [])
    assert course.remaining() == 0


def test_a_cell_that_kills_its_worker_twice_has_failed_and_says_why(tmp_path):
    cells, store = sweep(2, 2, 1), Store(tmp_path)

    def end(worker, key):
        if key == cells[1].key:
            return [{"kind": "begun", "key": key}, {"kind": "lost", "key": key, "why": "was killed by SIGKILL"}]
        return finishing(store, cells)(worker, key)

    outcomes, pool, _ = driven(store, cells, end)
    assert [key for _, key in pool.given].count(cells[1].key) == 2
    assert outcomes.failed[0][0] == "s0 a0"
    assert "died of it twice, the last time was killed by SIGKILL" in outcomes.failed[0][1]
    assert outcomes.blocked == ["s0 a0 row", "s0 a0 m0"]
    assert len(outcomes.done) == len(cells) - 3
    assert isinstance(outcomes.error(len(cells)), CellError)


def test_a_cell_that_gets_further_each_time_is_tried_again(tmp_path):
    """As on machines that are taken away now and then."""
    cells, store, times = sweep(1, 1, 0), Store(tmp_path), []

    def end(worker, key):
        times.append(key)
        if key == cells[1].key and len(times) < 9:
            bar = {"kind": "bar", "label": "attack", "done": len(times), "total": 9, "note": ""}
            return [{"kind": "begun", "key": key}, bar, {"kind": "lost", "key": key, "why": "is gone"}]
        return finishing(store, cells)(worker, key)

    outcomes, _, _ = driven(store, cells, end)
    assert (len(outcomes.done), len(times)) == (3, 10)


def test_workers_that_cannot_begin_end_the_run(tmp_path):
    cells = sweep(1, 50, 0)
    lost = lambda worker, key: [{"kind": "lost", "key": key, "why": "ended with exit code 1: no such module"}]  # noqa: E731
    outcomes, pool, _ = driven(Store(tmp_path), cells, lost)
    assert len(pool.given) == STARTS
    assert "could not begin: the last ended with exit code 1: no such module" in str(outcomes.error(len(cells)))


def test_a_worker_without_room_leaves_its_cell_to_the_others_and_comes_back(tmp_path):
    """Worker 0 is gone with its third cell, and back when worker 1 has done six more."""
    store, cells, told = Store(tmp_path), sweep(6, 2, 0), []
    finish = finishing(store, cells)

    def end(worker, key):
        told.append(worker)
        if worker == 0 and told.count(0) == 3:
            return [{"kind": "begun", "key": key}, {"kind": "gone", "key": key, "why": "has no place"}]
        since = told[[place for place, each in enumerate(told) if each == 0][2] :] if told.count(0) == 3 else []
        return [*finish(worker, key), *([{"kind": "back", "worker": 0}] if since.count(1) == 6 else [])]

    outcomes, pool, course = driven(store, cells, end, workers=2)
    assert sorted(outcomes.done) == sorted(each.label for each in cells)
    assert course.remaining() == 0
    third = [place for place, each in enumerate(told) if each == 0][2]
    assert told[third + 1 : third + 7] == [1] * 6
    assert 0 in told[third + 7 :]
    assert [key for _, key in pool.given].count(pool.given[third][1]) == 2


def test_a_run_whose_last_worker_is_gone_ends_and_says_so(tmp_path):
    cells = sweep(3, 2, 0)
    gone = lambda worker, key: [{"kind": "begun", "key": key}, {"kind": "gone", "key": key, "why": "has no place"}]  # noqa: E731
    outcomes, pool, _ = driven(Store(tmp_path), cells, gone, workers=2)
    assert "no worker is left: the last has no place" in str(outcomes.error(len(cells)))
    assert sorted(worker for worker, _ in pool.given) == [0, 1]


def test_a_worker_that_dies_while_it_is_idle_costs_nothing(tmp_path):
    cells, store = sweep(1, 3, 1), Store(tmp_path)
    end = finishing(store, cells)
    outcomes, _, _ = driven(store, cells, lambda worker, key: [*end(worker, key), {"kind": "lost", "key": None, "why": "is gone"}], 2)
    assert (len(outcomes.done), outcomes.failed) == (len(cells), [])


# Progress --------------------------------------------------------------------------------------------------------------


def test_two_workers_end_in_half_the_time_but_not_before_the_longest_part():
    now = [0.0]
    course = Course([Part(10.0), *[Part(10.0)] * 4, Part(1.0)], lambda: now[0], workers=2)
    course.enter(0)
    now[0] = 10.0
    course.leave(0)
    assert course.remaining() == pytest.approx(41 / 2)
    for number in range(1, 5):
        course.drop(number)
    course.enter(5)
    assert course.remaining() == pytest.approx(1.0)
    course.give_up(5)
    assert course.remaining() == pytest.approx(0.5)


def test_bars_of_all_workers_are_shown():
    console = Console()
    console.course = Course([Part(1.0)] * 4, workers=2)
    for worker, label in enumerate(("attack a", "attack b")):
        console.course.enter(worker)
        console.show(label, 10, worker=worker, part=worker).advance(3)
    terminal = Terminal(width=80, record=True, file=io.StringIO())
    terminal.print(Screen(console._bars, console.course, "..."))
    shown = terminal.export_text()
    assert "attack a [3/10]" in shown
    assert "attack b [3/10]" in shown
    assert "cell 2 of 4" in shown


# Pools by name ---------------------------------------------------------------------------------------------------------


def test_pools_are_found_by_their_files():
    assert pools.names() == ["processes", "ray", "serial"]
    assert pools.chosen("processes:3") == ("processes", 3)
    assert pools.chosen("serial") == ("serial", None)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("proceses", "did you mean 'processes'"),
        ("processes:", "got '' workers; expected a whole number from 1"),
        ("processes:0", "got '0' workers"),
        ("processes:two", "got 'two' workers"),
        ("processes:99999999999", "from 1 to 4096"),
        ("serial:2", "serial takes nothing after a colon"),
        ("_machine", "unknown"),
        ("", "unknown"),
    ],
)
def test_a_pool_that_is_none_is_refused(text, why):
    with pytest.raises(ConfigError, match=why):
        pools.chosen(text)


def test_a_process_that_is_gone_is_started_anew():
    """Twice one that cannot read its job, and says why."""
    pool = pools.opened("processes:2", Job("no job", pools._never, 2))
    try:
        for _ in range(2):
            pool.give(0, "a key")
            said = []
            while not said:
                said = pool.hear(1.0)
            (message,) = said
            assert (message["kind"], message["worker"], message["key"]) == ("lost", 0, "a key")
            assert message["why"].startswith("ended with exit code 1: json.decoder.JSONDecodeError")
    finally:
        pool.close()


def test_memory_limits_the_workers(monkeypatch):
    monkeypatch.setattr(_machine, "cores", lambda: 8)
    for free, room, workers in ((64 << 30, 0, 8), (5 << 30, 0, 5), (5 << 30, 4 << 30, 1), (1, 0, 1), (None, 1, 8)):
        monkeypatch.setattr(_machine, "free_bytes", lambda free=free: free)
        assert _machine.fitting(room) == workers


def test_every_worker_sums_in_the_same_order_as_one_process(monkeypatch):
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    monkeypatch.setattr(_machine, "cores", lambda: 6)
    assert {_machine.threads(workers)["TF_NUM_INTRAOP_THREADS"] for workers in (1, 2, 6, 50)} == {"6"}
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "4")
    assert _machine.threads(3) == {"TF_NUM_INTRAOP_THREADS": "4", "TF_NUM_INTEROP_THREADS": "2"}


# Several runs of one folder ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("of", [1, 2, 3, 8, 50])
def test_shards_are_everything_once(of, monkeypatch):
    from advrun.runs import shares

    monkeypatch.setattr(shares, "part", lambda cell, plan: Part({"train": 50.0, "attack": 10.0}.get(cell.kind, 1.0)))
    cells = sweep(4, 6, 3)
    found = [Shard(number, of).among(None, cells) for number in range(1, of + 1)]
    assert {each.key for share in found for each in share} == {each.key for each in cells}
    for share in found:
        keys = {each.key for each in share}
        assert all(needed.key in keys for each in share for needed in each.needs)
    doubled = Counter(each.label for share in found for each in share)
    assert {label for label, count in doubled.items() if count > 1} <= {f"s{s}" for s in range(4)}  # nothing but what several need
    if of <= 8:
        sizes = [sum(each.kind == "attack" for each in share) for share in found]
        assert max(sizes) <= 24 / of + 4


def test_one_cell_comes_with_what_it_needs():
    cells = sweep(2, 2, 2)
    wanted = next(each for each in cells if each.label == "s1 a0 m1")
    assert [each.label for each in OneCell(wanted.key[:9]).among(None, cells)] == ["s1", "s1 a0", "s1 a0 row", "s1 a0 m1"]
    with pytest.raises(ConfigError, match="no cell has such a key"):
        OneCell("zzzz").among(None, cells)
    with pytest.raises(ConfigError, match="no cell has such a key"):
        OneCell(wanted.key[:2]).among(None, cells)
    assert with_needs(cells, cells[-1:])[-1] is cells[-1]


@pytest.mark.parametrize("text", ["0/3", "4/3", "2", "a/b", "1/0", "-1/2", "1/2/3", ""])
def test_a_shard_that_is_none_is_refused(text):
    with pytest.raises(ConfigError, match="expected I/N"):
        Shard.parse(text)


CLAIMER = """
import sys, time
from pathlib import Path
from advrun.runs.claims import Claims
claims = Claims(Path(sys.argv[1]))
print(claims.take("a"), claims.take("b"), flush=True)
claims.drop("b")
sys.stdin.read()
"""


@pytest.fixture
def claimer(tmp_path):
    """Another process, which has claimed "a"."""
    with subprocess.Popen([sys.executable, "-c", CLAIMER, str(tmp_path)], stdin=-1, stdout=-1) as process:
        process.stdout.readline()
        yield process
        process.kill()


def test_a_claim_keeps_others_away_and_dies_with_its_owner(tmp_path, claimer):
    claims = Claims(tmp_path)
    assert (claims.take("a"), claims.take("c")) == (False, True)
    claimer.kill()
    claimer.wait()
    assert claims.take("a")
    assert (tmp_path / ".claims").stat().st_size == 0


def test_a_run_waits_for_what_another_one_has_claimed(tmp_path, claimer, monkeypatch):
    """It does what else there is, and then what the other one leaves."""
    monkeypatch.setattr("advrun.runs.schedule.PATIENCE", 0.05)
    a, b = cell("a", "train"), cell("b", "train")
    monkeypatch.setattr("advrun.runs.schedule._claimed", lambda cell: cell.label)
    store, order = Store(tmp_path), []

    def end(worker, key):
        order.append(key)
        claimer.kill()
        return finishing(store, [a, b])(worker, key)

    outcomes, _, _ = driven(store, [a, b], end, claims=Claims(tmp_path))
    assert (order, outcomes.done) == ([b.key, a.key], ["b", "a"])


def test_what_another_run_has_finished_is_not_done_again(tmp_path, claimer, monkeypatch):
    monkeypatch.setattr("advrun.runs.schedule.PATIENCE", 0.05)
    monkeypatch.setattr("advrun.runs.schedule._claimed", lambda cell: cell.label)
    a, b = cell("a", "train"), cell("b", "train")
    store = Store(tmp_path)

    def end(worker, key):
        Store(tmp_path).finish(a, {}, {})  # by the other one, which keeps its claim
        return finishing(store, [a, b])(worker, key)

    outcomes, _, _ = driven(store, [a, b], end, claims=Claims(tmp_path))
    assert (outcomes.done, outcomes.skipped) == (["b"], ["a"])


HOLDER = """
import sys
from pathlib import Path
from advrun.runs.store import Store
with Store(Path(sys.argv[1])).locked(shared=sys.argv[2] == "shared"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize(("theirs", "ours", "fits"), [("shared", True, True), ("shared", False, False), ("alone", True, False)])
def test_shards_share_the_folder_and_a_whole_run_has_it_alone(tmp_path, theirs, ours, fits):
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path), theirs], stdin=-1, stdout=-1) as holder:
        holder.stdout.readline()
        if fits:
            with Store(tmp_path).locked(shared=ours):
                pass
        else:
            with pytest.raises(LockError, match=f"process {holder.pid} "), Store(tmp_path).locked(shared=ours):
                pass
        holder.kill()
    with Store(tmp_path).locked(shared=ours):
        pass


def test_claims_are_refused_where_a_link_lies(tmp_path):
    (tmp_path / "elsewhere").write_text("")
    (tmp_path / ".claims").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AdvrunError, match="cannot be opened"):
        Claims(tmp_path)


# Ten thousand cells --------------------------------------------------------------------------------------------------------


def test_what_a_cell_costs_does_not_grow_with_their_number(tmp_path):
    """The driver's own work, without that of finishing cells: the board, the course, the log; and what it keeps in memory."""
    spent = {}
    for systems in (1, 10):
        cells, store = sweep(systems, 10, 5), Store(tmp_path / str(systems))
        end, finish = finishing(store, cells), [0.0]

        def timed(worker, key, end=end, finish=finish):
            clock = time.process_time()
            said = end(worker, key)
            finish[0] += time.process_time() - clock
            return said

        clock = time.process_time()
        outcomes, _, _ = driven(store, cells, timed, workers=3)
        spent[systems] = (time.process_time() - clock - finish[0]) / len(cells)
        assert len(outcomes.done) == len(cells)
        assert len(store._recent) <= 256
    assert spent[10] < 5 * spent[1]
