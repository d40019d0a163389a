"""The same bytes, whoever does the cells: this process, several, shards in turn or at once; and whatever is killed meanwhile."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from ._contents import contents
from ._runs import LARGER, SMALL, children, command, config, events, here, is_alive


@pytest.fixture(scope="session")
def two(data) -> Path:
    """Those of two."""
    here("run", config(data, "two", SMALL), "--pool", "processes:2", "--json")
    return data.parent / "two/toy"


def test_two_processes_leave_the_same_bytes_as_one(alone, two):
    assert contents(two) == contents(alone)
    assert not list((two / "partial").glob("*/*"))


def test_one_log_tells_what_each_worker_did(two):
    started, done = events(two, "start"), events(two, "done")
    assert sorted(event["cell"] for event in started) == sorted(event["cell"] for event in done)
    assert {event["worker"] for event in started} <= {0, 1}
    (compared,) = events(two, "forecast")
    assert compared["cells"] == len(done)
    assert compared["took"] > 0


def test_a_dry_run_says_who_will_do_what_and_how_long_it_takes(two, data):
    wider = ("--set", "attacks=[{name: fgsm, eps: [8/255, 24/255]}]", "--pool", "processes:2", "--dry-run")
    shown = here("run", data.parent / "two.yaml", *wider)
    assert "worker 0)" in shown
    assert "(about " in shown
    assert f"as {len(events(two, 'done'))} cells before took" in shown
    lines = [json.loads(line) for line in here("run", data.parent / "two.yaml", *wider, "--json").splitlines()]
    missing = [line for line in lines if not line["done"]]
    assert {line["kind"] for line in missing} >= {"attack", "measure", "metric"}
    assert all(line["seconds"] >= 0 and line["worker"] in (0, 1) for line in missing)
    guessed = here("run", data.parent / "two.yaml", *wider, "--set", f"results={data.parent / 'nowhere'}")
    assert "a guess, for nothing was measured here yet" in guessed


def test_a_run_of_parts_is_over_when_the_last_part_is(alone, data):
    """One cell by its key, then the shards, in any order: the last one writes the report."""
    shutil.copytree(alone.parent, data.parent / "parts")
    folder, results = data.parent / "parts/toy", f"results={data.parent / 'parts'}"
    for name in ("report.html", "manifests/report.json", "log.jsonl"):
        (folder / name).unlink()
    for cell in (*folder.glob("manifests/*distance-*"), *folder.glob("manifests/*quantiles-*")):
        cell.unlink()
    file = data.parent / "alone.yaml"
    listed = [line.split() for line in here("cell", file, "--set", results, "--dry-run").splitlines() if line.startswith("to do")]
    assert len(listed) == 2
    key = next(words[2] for words in listed if "distance" in words)
    assert here("cell", file, key, "--set", results, "--dry-run").count("to do") == 1
    said = here("cell", file, key, "--set", results)
    assert f"cell {key} is over  (missing 1 of " in said
    assert len(events(folder, "done")) == 1
    assert not (folder / "report.html").exists()
    for number in (2, 1):
        here("run", file, "--shard", f"{number}/2", "--set", results, "-q")
    assert (folder / "report.html").exists()
    assert contents(folder) == contents(alone)


# With time --------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_three_processes_leave_the_same_bytes(larger, data):
    subprocess.run(command("run", config(data, "three", LARGER), "--pool", "processes:3", "-q"), check=True)
    assert contents(data.parent / "three/toy") == contents(larger)


@pytest.mark.slow
def test_three_shards_in_turn_leave_the_same_bytes(larger, data):
    file = config(data, "turn", LARGER)
    for number in (1, 2, 3):
        assert not (data.parent / "turn/toy/report.html").exists()
        subprocess.run(command("run", file, "--shard", f"{number}/3", "-q"), check=True)
    assert contents(data.parent / "turn/toy") == contents(larger)
    labels = [event["cell"] for event in events(data.parent / "turn/toy", "done")]
    assert len(labels) == len(set(labels))


@pytest.mark.slow
def test_three_shards_at_once_leave_the_same_bytes_and_do_nothing_twice(larger, data):
    file = config(data, "once", LARGER)
    shards = [subprocess.Popen(command("run", file, "--shard", f"{number}/3", "-q")) for number in (1, 2, 3)]
    assert [shard.wait() for shard in shards] == [0, 0, 0]
    assert contents(data.parent / "once/toy") == contents(larger)
    labels = [event["cell"] for event in events(data.parent / "once/toy", "done")]
    assert len(labels) == len(set(labels))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the workers in Linux's list of processes")
def test_ten_kills_of_workers_and_drivers_change_nothing(larger, data):
    """A run whose cell was killed twice ends with an error, and one without its driver at once; the next goes on."""
    file, choice, kills, run = config(data, "killed", LARGER), random.Random(1), 0, None
    log = data.parent / "killed/toy/log.jsonl"

    def lines() -> int:
        return len(log.read_bytes().splitlines()) if log.exists() else 0

    while kills < 10:
        if run is None or run.poll() is not None:
            run = subprocess.Popen(command("run", file, "--pool", "processes:2"), stdout=-3, stderr=-3)
        due = lines() + choice.choice((1, 3, 10, 30, 60))  # as the run goes, whatever else the machine does
        while run.poll() is None and lines() < due:
            time.sleep(0.02)
        time.sleep(choice.uniform(0, 0.5))
        workers = children(run.pid)
        if run.poll() is not None and (log.parent / "report.html").exists():
            break
        if workers:
            driver = kills % 4 == 3
            os.kill(run.pid if driver else choice.choice(workers), signal.SIGKILL)
            kills += 1
            if driver:
                run.wait()
                ends = time.monotonic() + 20
                while any(map(is_alive, workers)) and time.monotonic() < ends:
                    time.sleep(0.05)
                assert not any(map(is_alive, workers))
    run.wait()
    assert kills >= 8
    subprocess.run(command("run", file, "--pool", "processes:2", "-q"), check=True)
    assert contents(data.parent / "killed/toy") == contents(larger)


@pytest.mark.slow
def test_a_cell_that_kills_its_workers_is_named_in_one_line(data, tmp_path):
    (tmp_path / "attacks").mkdir()
    (tmp_path / "attacks/crashing.py").write_text(
        '"""Ends the process."""\n\nimport os\n\nfrom advrun.types import Gradients, Labels, Linf, Rng, Tensor\n\n\n'
        "def crashing(model: Gradients, x: Tensor, y: Labels, ball: Linf, rng: Rng) -> Tensor:\n"
        '    """Ends the process. (nobody)"""\n    os.kill(os.getpid(), 11)\n    return x\n'
    )
    file = config(data, "crashing", SMALL | {"attacks": "[{name: crashing, eps: 8/255}]"})
    run = subprocess.run(command("run", file, "--pool", "processes:2", "--plugins", tmp_path), check=False, capture_output=True, text=True)
    assert run.returncode == 8, run.stderr
    last = run.stderr.splitlines()[-1]
    assert "crashing linf 8 over 255: its worker died of it twice, the last time was killed by SIGSEGV" in last
    assert len(events(data.parent / "crashing/toy", "lost")) == 2


@pytest.mark.slow
def test_ctrl_c_ends_driver_and_workers(data):
    file = config(data, "stopped", LARGER | {"attacks": "[{name: pgd, eps: 24/255, steps: 10000000}]", "defenses": "[]"})
    run = subprocess.Popen(command("run", file, "--pool", "processes:2"), stderr=-1, text=True, start_new_session=True)
    log = data.parent / "stopped/toy/log.jsonl"
    while not (log.exists() and '"attack"' in log.read_text()):
        time.sleep(0.2)
    workers = children(run.pid)
    os.kill(run.pid, signal.SIGTERM)
    assert "goes on from there" in run.communicate(timeout=60)[1]
    assert run.returncode == 130
    assert workers
    assert not any(map(is_alive, workers))
    assert json.loads(log.read_text().splitlines()[-1])["event"] == "interrupted"
