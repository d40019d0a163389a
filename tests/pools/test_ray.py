"""On a real Ray: two nodes without a disk that they share, nodes and drivers that die. `python -m pytest -m cluster tests/pools`"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ._contents import contents
from ._runs import SMALL, command, config, events

pytestmark = pytest.mark.cluster
LONG = SMALL | {"attacks": "[{name: pgd, eps: 24/255, steps: 1500, restarts: 1}, {name: pgd, label: other, eps: 8/255, steps: 1500}]"}
GIB = 1 << 30


@pytest.fixture(scope="session")
def nodes(tmp_path_factory):
    """A cluster, and what one of its nodes is made with: workers there use a folder of the node's own."""
    utilities = pytest.importorskip("ray.cluster_utils", reason="Ray is not installed: pip install -e '.[ray]'")
    folder = tmp_path_factory.mktemp("scratch")

    def node(number: int) -> dict:
        scratch = {"ADVRUN_SCRATCH": str(folder / str(number))}
        return {"num_cpus": 1, "memory": 3 * GIB, "object_store_memory": 100 << 20, "include_dashboard": False, "env_vars": scratch}

    cluster = utilities.Cluster(initialize_head=True, head_node_args=node(0))
    cluster.add_node(**node(1))
    yield cluster, node, folder
    cluster.shutdown()


def wait_for(what: Callable[[], object], run: subprocess.Popen, seconds: float = 90) -> None:
    ends = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < ends
        assert run.poll() is None, run.returncode
        time.sleep(0.05)


def lines(folder: Path, kind: str) -> list[dict]:
    return events(folder, kind) if (folder / "log.jsonl").exists() else []


def actors() -> list[int]:
    """Processes of workers, as Ray names them."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += [int(file.parent.name)] if file.read_bytes().startswith(b"ray::Post") else []
        except OSError:
            continue
    return found


def test_nodes_and_drivers_die_and_the_bytes_are_those_of_one_process(nodes, data):
    """A node dies in the middle of an attack, whose checkpoints had come to the driver; then the driver dies, and all workers with it; the
    node comes back, and a new driver goes on."""
    cluster, node, scratch = nodes
    subprocess.run(command("run", config(data, "ray-alone", LONG), "-q"), check=True)
    file, folder = config(data, "ray", LONG), data.parent / "ray/toy"
    starting = command("run", file, "--pool", f"ray:{cluster.address}")
    run = subprocess.Popen(starting, stderr=subprocess.PIPE, text=True)
    crafting = lambda: [each for each in lines(folder, "start") if each["kind"] == "attack"]  # noqa: E731
    wait_for(lambda: len(crafting()) == 2 and len(list(folder.glob("partial/*/*.npz"))) == 2, run)
    assert {each["worker"] for each in crafting()} == {0, 1}
    cluster.remove_node(next(each for each in cluster.list_all_nodes() if not each.is_head()), allow_graceful=False)
    wait_for(lambda: lines(folder, "lost"), run)
    assert len(actors()) >= 1
    run.send_signal(signal.SIGKILL)
    said = run.communicate()[1]
    assert f"2 workers on 2 nodes of the cluster at {cluster.address}" in said
    ends = time.monotonic() + 30
    while actors():
        assert time.monotonic() < ends
        time.sleep(0.1)
    assert not (folder / "report.html").exists()
    cluster.add_node(**node(1))
    subprocess.run([*starting, "-q"], check=True)
    assert contents(folder) == contents(data.parent / "ray-alone/toy")
    assert not list((folder / "partial").glob("*/*"))
    assert not list(folder.glob(".probe*"))
    started = [each["cell"] for each in events(folder, "done")]
    assert len(started) == len(set(started))  # nothing that was done is done again
    assert [each.name for each in scratch.glob("*/*")] == []


def test_a_cluster_that_is_there_is_found_and_a_shared_folder_is_not_copied(nodes, data):
    cluster, _, _ = nodes
    file = config(data, "ray-found", SMALL)
    environment = os.environ | {"RAY_ADDRESS": cluster.address}
    run = subprocess.run(command("run", file, "--pool", "ray", "--dry-run"), env=environment, capture_output=True, text=True, check=True)
    assert "with ray (2 workers" in run.stdout


def test_an_address_at_which_nothing_answers_is_refused_in_one_line(nodes, data):
    run = subprocess.run(command("run", config(data, "ray-none", SMALL), "--pool", "ray:127.0.0.1:9"), capture_output=True, text=True)
    assert run.returncode == 3
    (line,) = run.stderr.splitlines()
    assert "no cluster answers at 127.0.0.1:9" in line
    assert "ray start --head" in line
