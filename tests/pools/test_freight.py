"""Workers that do not see the results folder, without a cluster: what goes to them, and what comes back."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from advrun import config as configs
from advrun import pools
from advrun.console import Console
from advrun.errors import AdvrunError, ConfigError
from advrun.pools import _cluster, _post
from advrun.pools._cluster import Cluster
from advrun.runs import keys
from advrun.runs.freight import CellFreight, folder_contents
from advrun.runs.hand import job
from advrun.runs.loading import load_data
from advrun.runs.opened import open_models
from advrun.runs.outpost import settled
from advrun.runs.plan import make_plan
from advrun.runs.store import Store

from ._contents import contents
from ._runs import CONFIG, SMALL


def planned(file: Path, results: Path):
    experiment = configs.load(file)
    plan = make_plan(experiment, load_data(experiment))
    cells = {cell.key: cell for cell in plan.cells}
    store = Store(results)
    return plan, cells, store, CellFreight(plan, cells, store)


def test_a_worker_elsewhere_leaves_the_same_bytes(alone, data, tmp_path, monkeypatch):
    """It reads neither the data set nor the results folder of the driver; every file arrives before its cell is done."""
    away = tmp_path / "away.npz"
    shutil.copy(data, away)
    file = tmp_path / "config.yaml"
    file.write_text(CONFIG.format(data=away, results=tmp_path, **SMALL))
    plan, cells, store, freight = planned(file, tmp_path / "toy")
    text = job(plan, cells, store, Console(quiet=True), open_models(plan, store, Console(quiet=True))).text
    outfit = freight.outfit()
    away.unlink()
    driver, there = store.root.rename(tmp_path / "hidden") if store.root.exists() else tmp_path / "hidden", tmp_path / "node"
    there.mkdir()
    freight = CellFreight(plan, cells, Store(driver))
    monkeypatch.chdir(tmp_path)
    said = []

    def hear(message):
        said.append(message["kind"])
        if message["kind"] == "file":
            freight.bring(message["key"], message["name"], message["chunks"])
        elif message["kind"] == "done":
            assert Store(driver).adopt(cells[message["key"]])
            freight.finish(message["key"])

    known: set[str] = set()
    with settled(text, outfit, there, hear, lambda: ("", {}), stow=bytes, first={}) as outpost:
        for key in cells:
            for name in freight.needed(key).keys() - known:
                outpost.unpack(name, freight.chunks(name))
                known.add(name)
            outpost.do(key)
    assert said.count("done") == len(cells)
    assert "failed" not in said
    found = contents(driver)
    assert found == {name: content for name, content in contents(alone).items() if not name.startswith("tables/")}
    assert not list((driver / "partial").glob("*/*"))
    assert str(data) not in outfit["config"]


@pytest.fixture
def half(alone, data, tmp_path):
    """The results of `alone`, and a driver that has all of it but one row."""
    shutil.copytree(alone, tmp_path / "toy")
    plan, _, store, _ = planned(data.parent / "alone.yaml", tmp_path / "toy")
    row = next(cell for cell in plan.cells if cell.kind == "measure")
    names = [*store.finished(row).files, f"manifests/{row.stem}.json"]
    for name in names:
        store.remove(name)
    return alone, *planned(data.parent / "alone.yaml", tmp_path / "toy")[2:], row, names


def test_a_cell_is_done_when_its_manifest_and_the_bytes_agree(half):
    alone, store, freight, row, names = half
    first, *_, manifest = names
    content = (alone / manifest).read_bytes()
    with pytest.raises(AdvrunError, match="has not the bytes"):
        freight.bring(row.key, manifest, [content])
    freight.bring(row.key, first, [(alone / first).read_bytes()[:-1]])
    with pytest.raises(AdvrunError, match="has not the bytes"):
        freight.bring(row.key, manifest, [content])
    assert store.manifest(row) is None
    for name in names[:-1]:
        whole = (alone / name).read_bytes()
        freight.bring(row.key, name, [whole[:7], whole[7:]])
    with pytest.raises(AdvrunError, match="no manifest"):
        freight.bring(row.key, manifest, [content.replace(b'"label"', b'"labels"')])
    other = next(file for file in (alone / "manifests").glob("*.json") if file.name not in (Path(manifest).name, "report.json"))
    with pytest.raises(AdvrunError, match="something else"):
        freight.bring(row.key, manifest, [other.read_bytes()])
    assert store.manifest(row) is None
    freight.bring(row.key, manifest, [content])
    assert store.manifest(row)
    assert {name: (store.root / name).read_bytes() for name in names} == {name: (alone / name).read_bytes() for name in names}


@pytest.mark.parametrize("name", ["../outside", "tables/accuracy.csv", "partial/0123/a.npz", "config.yaml", "manifests/other.json"])
def test_files_that_are_none_of_a_cell_are_not_written(half, name):
    _, store, freight, row, _ = half
    before = {file: file.stat().st_mtime_ns for file in store.root.parent.rglob("*") if file.is_file()}
    with pytest.raises(AdvrunError):
        freight.bring(row.key, name, [b"x"])
    assert {file: file.stat().st_mtime_ns for file in store.root.parent.rglob("*") if file.is_file()} == before


def test_checkpoints_travel_both_ways_and_end_with_the_cell(half):
    _, store, freight, row, _ = half
    needed = freight.needed(row.key)
    assert {name.split("/")[0] for name in needed} >= {"models", "manifests"}
    assert all(store.holds(name) for name in needed)
    name = f"partial/{row.key}/part.npz"
    freight.bring(row.key, name, [b"one"])
    first = freight.needed(row.key)[name]
    freight.bring(row.key, name, [b"another"])
    assert freight.needed(row.key)[name] != first
    (store.root / name).with_name("part.before.npz").write_bytes(b"old")
    assert freight.needed(row.key).keys() - needed.keys() == {name}
    assert b"".join(freight.chunks(name)) == b"another"
    freight.finish(row.key)
    assert freight.needed(row.key).keys() == needed.keys()


def test_a_line_of_a_workers_log_is_a_line_of_the_log(half):
    _, store, freight, _, _ = half
    freight.log(json.dumps({"time": 1.5, "event": "warning", "pid": 7, "text": "so"}))
    freight.log("{torn")
    last = json.loads((store.root / "log.jsonl").read_text().splitlines()[-1])
    assert last == {"time": 1.5, "event": "warning", "pid": 7, "text": "so"}


def test_files_of_the_configuration_travel_with_it(alone, data, tmp_path):
    model = next((alone / "models").glob("*.keras"))
    file = tmp_path / "config.yaml"
    file.write_text(CONFIG.format(data=data, results=tmp_path, **SMALL | {"model": f"{{name: file, path: {model}}}"}))
    plan, cells, _, freight = planned(file, tmp_path / "toy")
    outfit = freight.outfit()
    (name,) = outfit["files"]
    assert outfit["files"][name].tobytes() == model.read_bytes()
    assert yaml.safe_load(outfit["config"])["models"][0]["path"] == name
    os.makedirs(tmp_path / "node" / Path(name).parent)
    (tmp_path / "node" / name).write_bytes(outfit["files"][name].tobytes())
    here = os.getcwd()
    try:
        os.chdir(tmp_path / "node")
        assert [cell.key for cell in make_plan(configs.loads(outfit["config"]), plan.data).cells] == list(cells)
    finally:
        os.chdir(here)


def test_a_model_that_can_only_be_asked_stays_where_its_budget_is(half, monkeypatch):
    _, _, freight, _, _ = half
    assert freight.needed(None) == {}
    monkeypatch.setattr("advrun.runs.freight.is_oracle", lambda model: True)
    with pytest.raises(ConfigError, match=r"can only be asked.*--pool processes"):
        freight.needed(None)


def test_plugins_are_their_files(tmp_path):
    (tmp_path / "attacks/__pycache__").mkdir(parents=True)
    (tmp_path / "attacks/mine.py").write_text("x = 1\n")
    (tmp_path / "attacks/__pycache__/mine.pyc").write_bytes(b"0")
    (tmp_path / "notes.txt").write_text("no unit")
    assert folder_contents(tmp_path) == {"attacks/mine.py": b"x = 1\n"}


def test_keys_do_not_depend_on_where_the_code_lies(tmp_path, monkeypatch):
    """A folder of one's own may lie before the package on one machine, and behind it on another."""
    files = {}
    for place in ("/a", "/z"):
        roots = (Path("/m/advrun"), Path(place))
        monkeypatch.setattr("advrun.folders.roots", lambda roots=roots: roots)
        found = sorted([Path(place, "attacks/b.py"), Path("/m/advrun/attacks/c.py"), Path(place, "attacks/a.py")], key=keys._place)
        files[place] = [file.name for file in found]
    assert files["/a"] == files["/z"] == ["c.py", "a.py", "b.py"]


# The actor, as far as it needs no cluster ---------------------------------------------------------------------------------


def test_a_folder_that_both_see_is_found_and_a_scratch_folder_is_wanted(tmp_path, monkeypatch):
    monkeypatch.delenv(_post.SCRATCH, raising=False)
    (tmp_path / "probe").write_text("token")
    post = _post.Post()
    assert post.sees(str(tmp_path / "probe"), "token")
    assert not post.sees(str(tmp_path / "probe"), "other")
    assert not post.sees(str(tmp_path / "none"), "token")
    monkeypatch.setenv(_post.SCRATCH, str(tmp_path))
    assert not post.sees(str(tmp_path / "probe"), "token")


def test_what_killed_workers_left_is_removed_and_what_others_use_is_not(tmp_path, monkeypatch):
    monkeypatch.setenv(_post.SCRATCH, str(tmp_path / "scratch"))
    used = _post.scratch()
    left = tmp_path / "scratch" / f"{_post.PREFIX}left"
    left.mkdir()
    (left / ".lock").touch()
    new = _post.scratch()
    assert not left.exists()
    assert used.is_dir()
    assert new.is_dir()
    assert new != used


def test_a_worker_that_cannot_go_on_says_why():
    post = _post.Post()
    order = {"text": "{}", "key": "k", "sees": True, "files": {}, "first": {}}
    (message,) = post.hear(order, {"data": None}) or post.hear(None) or post.hear(None)
    assert message["kind"] == "lost"
    assert message["key"] == "k"
    assert "cannot go on: KeyError" in message["why"]


def test_a_question_waits_for_more_than_how_far_a_worker_is():
    """Of a thousand workers, none is asked more often than needed."""
    post, bars = _post.Post(), [{"kind": "bar", "label": "attack", "done": done} for done in range(4)]
    for bar in bars[:3]:
        post._said.put(bar)
    clock = time.monotonic()
    assert post.hear(None, patience=0.3) == bars[2:3]
    assert time.monotonic() - clock >= 0.3
    done = {"kind": "done", "key": "k", "seconds": 1.0}
    for message in (bars[2], bars[3], done, bars[0]):
        post._said.put(message)
    assert post.hear(None, patience=60.0) == [bars[3], done, bars[0]]
    assert time.monotonic() - clock < 30


# What cannot be ------------------------------------------------------------------------------------------------------------


def test_ray_that_is_not_installed_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'advrun\[ray\]'") as refused:
        pools.size("ray", 2, 0)
    assert "\n" not in str(refused.value)


def test_addresses_are_texts():
    assert pools.chosen("ray") == ("ray", None)
    assert pools.chosen("ray:10.0.0.1:6379") == ("ray", "10.0.0.1:6379")
    assert pools.chosen("ray:ray://head:10001") == ("ray", "ray://head:10001")
    with pytest.raises(ConfigError, match="ray:ADDRESS"):
        pools.chosen("ray:")


@pytest.mark.parametrize(
    ("nodes", "room", "fit"),
    [
        ([{"CPU": 4, "memory": 16}, {"CPU": 2, "memory": 3}], 1, 5),
        ([{"CPU": 4, "memory": 16}, {"memory": 16}], 3, 4),
        ([{"CPU": 8, "memory": 64, "GPU": 2}, {"CPU": 8, "memory": 64}], 1, 2),
    ],
)
def test_workers_are_as_many_as_have_a_core_memory_and_a_gpu_where_there_are_some(monkeypatch, nodes, room, fit):
    """Memory in GiB."""
    scaled = [{**node, "memory": node["memory"] * 2**30} for node in nodes]

    class Library:
        is_initialized = staticmethod(lambda: True)
        nodes = staticmethod(lambda: [{"Alive": True, "Resources": node} for node in scaled] + [{"Alive": False, "Resources": scaled[0]}])

    monkeypatch.setattr(_cluster, "_library", Library)
    monkeypatch.setattr(_cluster, "WORKER_BYTES", 2**30)
    assert Cluster(None, room * 2**30).capacity() == fit
    with pytest.raises(ConfigError, match=r"no node of the cluster .* has .*100\.0 GiB"):
        Cluster(None, 99 * 2**30)


def test_images_that_need_not_fit_into_memory_are_read_by_each_worker(half, monkeypatch):
    _, _, freight, _, _ = half
    assert np.array_equal(freight.outfit()["data"]["x_test"], freight._plan.data.x_test)
    monkeypatch.setattr("advrun.runs.freight.Images", np.ndarray)
    assert freight.outfit()["data"] is None
