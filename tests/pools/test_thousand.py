"""A thousand workers, and a driver that keeps them busy. The workers only sleep; the driver, its log and its results folder are real."""

from __future__ import annotations

import heapq
import random
import time
from collections import defaultdict

import pytest

from advrun.console import Console, Course, Part
from advrun.runs.outcomes import Outcomes
from advrun.runs.schedule import _Run
from advrun.runs.store import Store

from ._cells import finishing, sweep

WORKERS = 1000
BARS = 5.0
"""Seconds after which each says again how far it is."""
MEAN = {"train": 60.0, "attack": 20.0, "measure": 3.0, "metric": 1.0}
"""Seconds that a cell takes, by its kind, on average; the longest of a thousand takes twenty times as long."""


class Sleeping:
    """Workers by a clock that goes on while the driver works, and leaps to the next word of a worker while it waits."""

    def __init__(self, size, cells, seconds, finish):
        self.size, self.seconds, self.finish = size, seconds, finish
        self.needed_by, self.waits = defaultdict(list), {}
        for each in cells:
            needs = [needed.key for needed in each.needs if needed.key in self.waits]
            self.waits[each.key] = len(needs)
            for key in needs:
                self.needed_by[key].append(each.key)
        self.events = [(0.0, size, sum(not waits for waits in self.waits.values()))]
        """When so many workers have become idle, and so many cells ready."""
        self.said: list[tuple[float, int, str]] = []
        """When each worker says something next."""
        self.ends: dict[int, float] = {}
        self.slept, self.elsewhere = 0.0, time.process_time()

    def driver(self):
        """Seconds that the driver has worked."""
        return time.process_time() - self.elsewhere

    def now(self):
        return self.driver() + self.slept

    def give(self, worker, key):
        now = self.now()
        self.events.append((now, -1, -1))
        self.ends[worker] = now + self.seconds[key]
        heapq.heappush(self.said, (min(now + BARS, self.ends[worker]), worker, key))

    def hear(self, seconds):
        self.slept += min(max(self.said[0][0] - self.now(), 0.0), seconds)
        messages, now, clock = [], self.now(), time.process_time()
        while self.said and self.said[0][0] <= now:
            moment, worker, key = heapq.heappop(self.said)
            if moment == self.ends[worker]:
                messages += [{**message, "worker": worker} for message in self.finish(worker, key)]
                self.events.append((moment, 1, self.made_ready(key)))
            else:
                messages.append({"kind": "bar", "label": key, "done": int(moment), "total": 1 << 30, "note": "", "worker": worker})
                heapq.heappush(self.said, (min(moment + BARS, self.ends[worker]), worker, key))
        self.elsewhere += time.process_time() - clock
        return messages

    def made_ready(self, key):
        for needing in self.needed_by[key]:
            self.waits[needing] -= 1
        return sum(not self.waits[needing] for needing in self.needed_by[key])

    def wasted(self):
        """Seconds in which workers were idle, and there was a ready cell for them."""
        total, before, idle, ready = 0.0, 0.0, 0, 0
        for moment, more_idle, more_ready in sorted(self.events):
            total += min(idle, ready) * (moment - before)
            before, idle, ready = moment, idle + more_idle, ready + more_ready
        assert (idle, ready) == (self.size, 0)
        return total, before

    def close(self):
        pass


def unequal(cells, seed=0):
    """Seconds for each cell, by key."""
    draw = random.Random(seed)
    return {each.key: MEAN[each.kind] * draw.lognormvariate(-0.5, 1.0) for each in cells}


@pytest.mark.slow
@pytest.mark.parametrize(("systems", "attacks", "metrics"), [(1100, 3, 1), (1, 6000, 0)], ids=["a system each", "one system"])
def test_a_thousand_workers_are_busy_while_there_is_anything_to_do(tmp_path, monkeypatch, systems, attacks, metrics):
    """More systems than workers, each to be trained; and one that is trained already, attacked in many ways."""
    monkeypatch.setattr("os.fsync", lambda file: None)  # the disks are those of the workers
    store, cells = Store(tmp_path), sweep(systems, attacks, metrics)
    if systems == 1:
        store.finish(cells.pop(0), {}, {})
    seconds = unequal(cells)
    pool = Sleeping(WORKERS, cells, seconds, finishing(store, cells))
    outcomes, course, console = Outcomes(), Course([Part(1.0, (each.kind,)) for each in cells], pool.now, WORKERS), Console(quiet=True)
    _Run(cells, pool, store, console, course, outcomes, None, False).all()
    assert len(outcomes.done) == len(cells) >= 10_000
    worked, (wasted, took) = sum(seconds.values()), pool.wasted()
    cost = pool.driver() / len(cells)
    print(f"{len(cells)} cells in {took:.0f} s: {worked / (worked + wasted):.2%} busy, {1000 * cost:.2f} ms of the driver for each")
    assert worked / (worked + wasted) >= 0.95
    assert cost < 0.002
