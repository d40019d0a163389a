"""What several processes bring, and what it costs to give cells to workers; figures to be read, for machines are shared."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from advrun.contract import victims
from advrun.runs.store import Store
from tests.pools._cells import finishing, sweep
from tests.pools.test_schedule import driven

pytestmark = pytest.mark.bench

SWEEP = """
name: sweep
data: {{name: arrays, path: {data}, validation: 0.2}}
models: [{{name: cnn, width: 4, blocks: 2}}]
train: {{epochs: 1, batch_size: 32, learning_rate: 1e-2}}
attacks: [{{name: fgsm, eps: [4/255, 8/255, 16/255]}}]
seeds: [0, 1, 2, 3]
threats: [none, adaptive]
results: {results}
compute: {{batch_size: 16}}
"""


def resident() -> float:
    """MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def test_ten_thousand_cells(tmp_path, monkeypatch):
    """Cells that do nothing: under 2 ms each for all that the driver does, and memory that does not grow with what is done."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # the disk is not what is measured
    cells, store = sweep(40, 25, 8), Store(tmp_path)
    end, finishing_took, memory = finishing(store, cells), 0.0, []

    def timed(worker, key):
        nonlocal finishing_took
        clock = time.process_time()
        said = end(worker, key)
        finishing_took += time.process_time() - clock
        memory.append(resident())
        return said

    clock = time.process_time()
    outcomes, _, _ = driven(store, cells, timed, workers=4)
    cost = (time.process_time() - clock - finishing_took) / len(cells)
    grown = memory[-1] - memory[len(memory) // 5]
    print(f"\n{len(cells)} cells: {1000 * cost:.2f} ms of the driver each, and {grown:.1f} MB more after the last than after a fifth")
    assert len(outcomes.done) == len(cells)
    assert cost < 0.002
    assert grown < 20


def test_two_processes_on_a_sweep_of_small_cells(tmp_path):
    """Serial and processes:2 in turn, with the share of the machine that each got."""
    data = victims.toy_data()
    arrays = {name: getattr(data, name) for name in ("x_train", "y_train", "x_test", "y_test")}
    np.savez(tmp_path / "toy.npz", group_train=data.group, class_names=np.array(data.class_names), **arrays)
    took: dict[str, list[float]] = {"serial": [], "processes:2": []}
    for number in range(2):
        for pool, seconds in took.items():
            config = tmp_path / "sweep.yaml"
            config.write_text(SWEEP.format(data=tmp_path / "toy.npz", results=tmp_path / f"{pool.replace(':', '')}{number}"))
            before, clock = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
            subprocess.run([sys.executable, "-m", "advrun", "run", str(config), "--pool", pool, "-q"], check=True)
            seconds.append(time.monotonic() - clock)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            print(f"\n{pool:12} {seconds[-1]:6.1f} s, {cpu:6.1f} s of processors, load {os.getloadavg()[0]:.1f}")
    print(f"processes:2 is {min(took['serial']) / min(took['processes:2']):.2f} x as fast")
