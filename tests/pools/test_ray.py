"""On a real Ray: two nodes without a disk that they share, nodes and drivers that die. `python -m pytest -m cluster tests/pools`"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from advrun.checkpoints import END

from ._contents import contents
from ._runs import LARGER, MANY, SMALL, checkpoints, command, config, events, makers, together, wait_for

pytestmark = pytest.mark.cluster
LONG = SMALL | {"attacks": "[{name: pgd, eps: 24/255, steps: 15000, examples: 48}]", "batch": 4}
"""An attack of many batches, each of which takes about as long as two checkpoints are apart."""
GIB = 1 << 30


class Nodes:
    """A cluster whose head has no core for a worker, and nodes with one each. Workers use a folder of their node's own."""

    def __init__(self, cluster: Any, scratch: Path) -> None:
        self.cluster, self.address, self._scratch = cluster, cluster.address, scratch
        self._nodes: dict[int, Any] = {}
        self._added = 0

    def filled(self) -> None:
        """Two of them."""
        while len(self._nodes) < 2:
            self._added += 1
            scratch = {"ADVRUN_SCRATCH": str(self._scratch / str(self._added))}
            self._nodes[self._added] = self.cluster.add_node(**node(1), env_vars=scratch)

    def folders(self, pattern: str) -> dict[int, Path]:
        """What there is in the folders of workers, by node."""
        return {number: file for number in self._nodes for file in (self._scratch / str(number)).glob(f"advrun-worker-*/{pattern}")}

    def kill(self, number: int) -> None:
        self.cluster.remove_node(self._nodes.pop(number), allow_graceful=False)


def node(cores: int) -> dict[str, Any]:
    return {"num_cpus": cores, "memory": 3 * GIB, "object_store_memory": 100 << 20, "include_dashboard": False}


@pytest.fixture(scope="session")
def started(tmp_path_factory) -> Iterator[Nodes]:
    utilities = pytest.importorskip("ray.cluster_utils", reason="Ray is not installed: pip install -e '.[ray]'")
    soon = {"health_check_period_ms": 1000, "health_check_failure_threshold": 3}  # that a node is dead is known
    cluster = utilities.Cluster(initialize_head=True, head_node_args={**node(0), "_system_config": soon})
    yield Nodes(cluster, tmp_path_factory.mktemp("scratch"))
    cluster.shutdown()


@pytest.fixture
def nodes(started) -> Nodes:
    started.filled()
    return started


def lost(folder: Path) -> list[str]:
    return [event["cell"] for event in events(folder, "lost")] if (folder / "log.jsonl").exists() else []


def first(name: str) -> int:
    """The number of the first image of a batch."""
    return int(Path(name).stem.partition("-")[0])


def actors() -> list[int]:
    """Processes of workers, as Ray names them."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += [int(file.parent.name)] if file.read_bytes().startswith(b"ray::Post") else []
        except OSError:
            continue
    return found


def none_is_left() -> bool:
    ends = time.monotonic() + 30
    while actors() and time.monotonic() < ends:
        time.sleep(0.1)
    return not actors()


def test_two_nodes_leave_the_bytes_of_one_process(larger, nodes, data):
    """Of training, a defence, attacks, rows and metrics, on nodes that have nothing but what was sent to them."""
    run = subprocess.run(
        command("run", config(data, "ray-two", LARGER), "--pool", f"ray:{nodes.address}"), capture_output=True, text=True, check=True
    )
    assert f"2 workers on 2 nodes of the cluster at {nodes.address}" in run.stderr
    folder = data.parent / "ray-two/toy"
    assert contents(folder) == contents(larger)
    assert {event["worker"] for event in events(folder, "start")} == {0, 1}
    assert not list((folder / "partial").glob("*/*"))
    assert not list(folder.glob(".probe*"))
    assert none_is_left()
    assert nodes.folders("") == {}


def test_two_nodes_make_one_cell_together(nodes, data):
    """Neither sees a file of the other: what each has made comes by the driver. A node dies with a batch, which the other makes."""
    subprocess.run(command("run", config(data, "ray-whole", MANY), "-q"), check=True)
    file, folder = config(data, "ray-parts", MANY), data.parent / "ray-parts/toy"
    run = subprocess.Popen(together("run", file, "--pool", f"ray:{nodes.address}"), stderr=subprocess.DEVNULL)
    wait_for(lambda: makers(folder) == {0, 1} and len(checkpoints(folder)) > 3, run)
    key = next(iter(checkpoints(folder))).partition("/")[0]
    number, _ = nodes.folders(f"results/partial/{key}").popitem()
    nodes.kill(number)
    wait_for(lambda: lost(folder), run)
    kept = checkpoints(folder, key)
    nodes.filled()
    further = wait_for(lambda: len(now := checkpoints(folder, key)) > len(kept) and now, run)
    assert kept.items() <= further.items()
    assert run.wait() == 0
    assert contents(folder) == contents(data.parent / "ray-whole/toy")
    assert not list((folder / "partial").glob("*/*"))
    granted = Counter(each["batch"] for each in events(folder, "batch") if each["batch"] != END)
    again = {batch for batch, times in granted.items() if times > 1}
    assert len(again - {Path(name).stem for name in kept}) <= 1  # what was lost; what had come is only read
    assert none_is_left()


def test_nodes_and_drivers_die_and_the_bytes_are_those_of_one_process(nodes, data):
    """A node dies in the middle of an attack, whose checkpoints had come to the driver; another goes on from the last of them, and dies
    too; then the driver dies, and all workers with it. A new one goes on."""
    subprocess.run(command("run", config(data, "ray-alone", LONG), "-q"), check=True)
    file, folder = config(data, "ray-lost", LONG), data.parent / "ray-lost/toy"
    starting = command("run", file, "--pool", f"ray:{nodes.address}")
    run = subprocess.Popen(starting, stderr=subprocess.DEVNULL)
    key = wait_for(lambda: checkpoints(folder), run).popitem()[0].partition("/")[0]
    for _ in range(2):
        known = len(lost(folder))
        number, there = nodes.folders(f"results/partial/{key}").popitem()
        nodes.kill(number)
        wait_for(lambda known=known: len(lost(folder)) > known, run)
        kept = checkpoints(folder, key)
        assert len(checkpoints(there.parents[1], key)) - len(kept) <= 1  # the node had one more, perhaps, and was at the next
        nodes.filled()
        further = wait_for(lambda kept=kept: (now := checkpoints(folder, key)).keys() - kept.keys() and now, run)
        assert kept.items() <= further.items()  # not one of these batches was computed again
        assert min(map(first, further.keys() - kept.keys())) > max(map(first, kept))
    assert actors()
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert none_is_left()
    assert not (folder / "report.html").exists()
    subprocess.run([*starting, "-q"], check=True)
    assert contents(folder) == contents(data.parent / "ray-alone/toy")
    assert not list((folder / "partial").glob("*/*"))
    assert not list(folder.glob(".probe*"))
    done = [each["cell"] for each in events(folder, "done")]
    assert len(done) == len(set(done))  # nothing that was done is done again
    assert nodes.folders("") == {}


@pytest.mark.skipif(subprocess.run(["unshare", "-m", "true"], stderr=subprocess.DEVNULL).returncode != 0, reason="mounts for itself alone")
def test_no_node_can_see_a_file_of_the_driver(nodes, alone, data, tmp_path):
    """Data and results lie in a folder that is mounted for the driver, and for nobody else."""
    file, hidden, shown = config(data, "ray-hidden", SMALL), tmp_path / "hidden", tmp_path / "shown"
    hidden.mkdir()
    settings = ("--set", f"results={hidden}", "--set", f"data={{name: arrays, path: {hidden / data.name}, validation: 0.2}}")
    script = f'mount -t tmpfs none {hidden} && cp {data} {hidden} && "$@" && cp -r {hidden}/toy {shown}'
    driver = command("run", file, "--pool", f"ray:{nodes.address}", "-q", *settings)
    subprocess.run(["unshare", "-m", "sh", "-c", script, "sh", *driver], check=True)
    assert not list(hidden.iterdir())
    assert contents(shown) == contents(alone)


def test_a_cluster_that_is_there_is_found(nodes, data):
    environment = os.environ | {"RAY_ADDRESS": nodes.address}
    starting = command("run", config(data, "ray-found", SMALL), "--pool", "ray", "--dry-run")
    run = subprocess.run(starting, env=environment, capture_output=True, text=True, check=True)
    assert "with ray (2 workers" in run.stdout


def test_a_cluster_is_started_where_none_is(alone, data):
    """It ends with the run; its workers see the results folder, and work there."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[ray]'")
    file, environment = config(data, "ray-here", SMALL), os.environ | {"RAY_ADDRESS": "local"}
    run = subprocess.run(command("run", file, "--pool", "ray"), env=environment, capture_output=True, text=True, check=True)
    assert "of a cluster on this machine alone" in run.stderr
    assert "WARNING" not in run.stderr
    assert contents(data.parent / "ray-here/toy") == contents(alone)
    assert none_is_left()


def test_an_address_at_which_nothing_answers_is_refused_in_one_line(data):
    pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[ray]'")
    run = subprocess.run(command("run", config(data, "ray-none", SMALL), "--pool", "ray:127.0.0.1:9"), capture_output=True, text=True)
    assert run.returncode == 3
    (line,) = run.stderr.splitlines()
    assert "no cluster answers at 127.0.0.1:9" in line
    assert "ray start --head" in line
