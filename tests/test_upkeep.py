"""`advrun clean` and `advrun status`: what is named stays, what is not goes after a question, and where a run stands is seen at once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from advrun.cli import main
from advrun.config import load
from advrun.runs import runner
from advrun.runs.plan import make_plan
from advrun.runs.store import Store
from tests.test_store import HOLDER

FEWER = "attacks=[{name: fmn, norm: l2, steps: 5, examples: 12}]"


@pytest.fixture
def config(toy_run, tmp_path) -> Path:
    """A copy of the configuration, whose results are a copy too."""
    shutil.copytree(toy_run.parent / "results/toy", tmp_path / "results/toy")
    text = toy_run.read_text().replace(f"results: {toy_run.parent}/results", f"results: {tmp_path}/results")
    (tmp_path / "toy.yaml").write_text(text)
    return tmp_path / "toy.yaml"


def advrun(*arguments: object, **how):
    return CliRunner().invoke(main, list(map(str, arguments)), **how)


def files(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file() and path.name not in ("log.jsonl", ".lock")}


def test_what_no_configuration_names_goes_after_a_question(config):
    root = config.parent / "results/toy"
    before = files(root)
    for answer in ("n\n", ""):
        run = advrun("clean", config, "--set", FEWER, input=answer)
        assert "cells that no configuration names" in run.output
        assert files(root) == before
    assert advrun("clean", config, "--set", FEWER, "--dry-run").exit_code == 0
    assert files(root) == before
    run = advrun("clean", config, "--set", FEWER, input="y\n")
    assert run.exit_code == 0, run.output
    gone = before - files(root)
    assert gone == {name for name in before if "noise" in name and name.split("/")[0] not in ("tables", "figures")}
    stands = advrun("status", config, "--set", FEWER, "--json")
    assert json.loads(stands.stdout)["done"] == len(json.loads(stands.stdout)["cells"])


def test_cells_of_every_configuration_that_is_given_stay(config):
    root = config.parent / "results/toy"
    (config.parent / "fewer.yaml").write_text(config.read_text().replace("noise", "gaussian_noise_of_the_past").split("attacks:")[0])
    text = config.read_text()
    start, end = text.index("  - {name: noise"), text.index("  - {name: fmn")
    (config.parent / "fewer.yaml").write_text(text[:start] + text[end:])
    before = files(root)
    run = advrun("clean", config.parent / "fewer.yaml", config, "--yes")
    assert (run.exit_code, files(root)) == (0, before)
    assert "nothing to remove" in run.output


def test_checkpoints_and_loose_files_go_and_answers_stay_until_they_are_named(config):
    root = config.parent / "results/toy"
    plan = make_plan(load(config), runner.load_data(load(config)))
    kept, other = root / "partial" / plan.cells[0].key, root / "partial" / ("0" * 32)
    for folder in (kept, other):
        folder.mkdir(parents=True)
        (folder / "fit.npz").write_bytes(b"x" * 1000)
    (root / "rows/stray-0000.json").write_text("{}")
    (root / "answers").mkdir()
    (root / "answers/service.sqlite").write_bytes(b"paid for")
    (root / "models/link").symlink_to(config)
    run = advrun("clean", config, "--yes", "--json", "--verbose")
    assert run.exit_code == 0, run.output
    assert set(json.loads(run.stdout)["files"]) == {f"partial/{'0' * 32}/fit.npz", "rows/stray-0000.json"}
    assert not other.exists()
    assert (kept / "fit.npz").exists()
    assert (root / "answers/service.sqlite").exists()
    assert config.exists()
    assert advrun("clean", config, "--yes", "--answers").exit_code == 0
    assert not (root / "answers/service.sqlite").exists()


def test_nothing_goes_where_nothing_is_known_or_another_process_writes(config):
    root = config.parent / "results/toy"
    before = files(root)
    run = advrun("clean", config, "--yes", "--set", "seeds=[1]")
    assert (run.exit_code, files(root)) == (3, before)
    assert "give --all" in run.output
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(root)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"held\n"
        run = advrun("clean", config, "--yes", "--set", FEWER)
        assert run.exit_code == 7
        assert before <= files(root)
        assert f"process {holder.pid} on" in advrun("status", config).output
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    assert advrun("clean", config, "--yes", "--set", "seeds=[1]", "--all").exit_code == 0
    assert not list((root / "rows").iterdir())


def test_status_tells_what_is_done_failed_damaged_and_left(config):
    root = config.parent / "results/toy"
    store, cells = Store(root), make_plan(load(config), runner.load_data(load(config))).cells
    rows = [cell for cell in cells if cell.kind == "measure"]
    noise = next(cell for cell in cells if cell.kind == "attack" and "noise" in cell.label)
    (root / f"manifests/{noise.stem}.json").unlink()
    store.event("failed", cell=noise.label, reason="out of memory")
    damaged = root / f"rows/{rows[0].stem}.json"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    before = files(root)
    said = json.loads(advrun("status", config, "--json").stdout)
    fates = {each["cell"]: (each["fate"], each["reason"]) for each in said["cells"]}
    assert fates[noise.label] == ("failed", "out of memory")
    assert fates[rows[0].label][0] == "damaged"
    row = next(cell for cell in rows if "noise" in cell.label)
    assert fates[row.label] == ("waiting", noise.label)
    assert said["done"] + said["failed"] + said["damaged"] + said["to do"] + said["waiting"] == len(cells)
    assert said["seconds_left"] > 0
    assert files(root) == before
    assert "damaged" not in (root / "log.jsonl").read_text()
    shown = advrun("status", config).output
    assert f"failed: {noise.label}: out of memory" in shown
    assert f"damaged: {rows[0].label}: rows/" in shown
    assert len(shown.splitlines()) < 30
    os.remove(root / "log.jsonl")
    assert "unknown: nothing was done yet" in advrun("status", config).output
