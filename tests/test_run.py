"""The main job, small: train, attack, defend, report on real (toy) data, in processes that are killed for real."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

from advrun import engine, registry
from advrun.cli import main
from advrun.config import loads
from advrun.report import Gallery
from advrun.results import Result
from advrun.runs import columns, hand, runner
from advrun.runs.plan import Cell

CONFIG = """
name: toy
data: {{name: arrays, path: {data}, validation: 0.2}}
models: [{{name: cnn, width: 4, blocks: 2}}]
train: {{epochs: 3, batch_size: 32, learning_rate: 1e-2}}
attacks:
  - {{name: fgsm, eps: [8/255, 24/255]}}
  - {{name: pgd, eps: 24/255, steps: 3, examples: 60}}
  - {{name: cw, search_steps: 2, steps: 10, examples: 20}}
defenses:
  - {{name: adversarial_training, attack: {{name: fgsm, eps: 24/255}}}}
  - {{name: autoencoder, width: 4, levels: 1}}
  - {{name: hybrid, width: 4, levels: 1}}
results: {results}
compute: {{batch_size: 16}}
"""


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, toy_data) -> Path:
    folder = tmp_path_factory.mktemp("run")
    arrays = {name: getattr(toy_data, name) for name in ("x_train", "y_train", "x_test", "y_test")}
    np.savez(folder / "toy.npz", group_train=toy_data.group, class_names=np.array(toy_data.class_names), **arrays)
    return folder


def write_config(workplace: Path, results: Path) -> Path:
    path = results.parent / f"{results.name}.yaml"
    path.write_text(CONFIG.format(data=workplace / "toy.npz", results=results))
    return path


def advrun(*arguments: str):
    return CliRunner().invoke(main, list(map(str, arguments)))


def started(folder: Path) -> list[str]:
    events = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines() if line.endswith("}")]
    return [event["cell"] for event in events if event["event"] == "start" and event["kind"] != "metric"]


@pytest.fixture(scope="module")
def finished(workplace) -> Path:
    """The results folder of an uninterrupted run."""
    config = write_config(workplace, workplace / "whole")
    run = advrun("run", config)
    assert run.exit_code == 0, run.output
    return workplace / "whole/toy"


def tables(folder: Path) -> dict[str, object]:
    """All tables, without the columns of seconds."""
    found: dict[str, object] = {}
    for path in sorted((folder / "tables").iterdir()):
        if path.name == "accuracy.json":
            found[path.name] = [{key: value for key, value in row.items() if key != "seconds"} for row in json.loads(path.read_text())]
        elif path.name != "accuracy.csv":
            found[path.name] = path.read_bytes()
    return found


def test_every_number_is_there(finished):
    rows = json.loads((finished / "tables/accuracy.json").read_text())
    seen = {(row["defense"], row["attack"], row["threat"]) for row in rows}
    defenses = ("adversarial_training", "autoencoder", "hybrid")
    assert {("none", attack, "adaptive") for attack in ("fgsm", "pgd", "cw", "worst case")} <= seen
    assert {
        (defense, attack, threat) for defense in defenses for attack in ("fgsm", "pgd", "cw") for threat in ("static", "adaptive")
    } <= seen
    assert {(defense, "clean", "none") for defense in ("none", *defenses)} <= seen
    for row in rows:
        low, high = row["interval"]
        assert 0 <= low <= row["accuracy"] <= high <= 1
        assert row["n"] == {"pgd": 60, "cw": 20}.get(row["attack"], row["n"])
    clean = next(row for row in rows if row["defense"] == "none" and row["attack"] == "clean")
    assert clean["accuracy"] > 0.8
    assert clean["n"] == 80


def test_the_pages_are_there(finished):
    for name in ("report.html", "config.yaml", "tables/accuracy.md", "tables/accuracy.tex", "tables/accuracy.csv", "log.jsonl"):
        assert (finished / name).stat().st_size > 0, name
    assert len(list((finished / "figures").glob("*.png"))) >= 4
    assert len(list((finished / "models").glob("*.keras"))) == 4
    assert not list((finished / "partial").glob("*/*"))


def test_every_row_shows_the_same_images_in_one_figure_per_attack(finished):
    galleries = [Gallery.read(path) for path in sorted((finished / "rows").glob("*.npz"))]
    assert len(galleries) == 4 * (1 + 3 * 2)
    for kept in galleries:
        assert kept.common >= 16
        np.testing.assert_array_equal(kept.x[:16], galleries[0].x[:16])
        np.testing.assert_array_equal(kept.label[:16], galleries[0].label[:16])
    names = sorted(path.stem for path in (finished / "figures").glob("examples-*.png"))
    assert names == ["examples-cnn-cw-l2", "examples-cnn-fgsm-linf", "examples-cnn-pgd-linf"]


def test_a_second_run_does_nothing(finished, workplace):
    before, files = started(finished), {path: path.stat().st_mtime_ns for path in finished.rglob("*.*") if path.name != "log.jsonl"}
    check = "import sys; from advrun.cli import main; main(standalone_mode=False); assert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", check, "run", workplace / "whole.yaml"], check=True, capture_output=True)
    assert started(finished) == before
    changed = {path.name for path, stamp in files.items() if path.stat().st_mtime_ns != stamp}
    assert changed <= {"config.yaml", ".lock", "index.jsonl"}


def test_dry_run_shows_the_plan(finished, workplace):
    shown = advrun("run", workplace / "whole.yaml", "--dry-run", "--set", "attacks.0.eps=[8/255, 16/255]")
    assert shown.exit_code == 0
    lines = shown.output.splitlines()
    todo = [line for line in lines if line.startswith("to do")]
    assert len(todo) == 11  # none: attack, measure; three defences: attack, adaptive, static
    assert all("fgsm linf 16 over 255" in line for line in todo)


def test_damage_is_repaired_and_nothing_else_is_redone(finished, workplace):
    copy = workplace / "copy"
    shutil.copytree(workplace / "whole", copy)
    config = write_config(workplace, copy)
    row = next(path for path in sorted((copy / "toy/rows").glob("*.json")) if "pgd" in path.name and "hybrid" in path.name)
    good = row.read_text()
    row.write_text(good.replace('"seed":0', '"seed":1', 1))
    before = len(started(copy / "toy"))
    assert advrun("run", config).exit_code == 0
    assert len(started(copy / "toy")) == before + 1
    assert Result.from_json(row.read_text()).row == Result.from_json(good).row


@pytest.mark.slow
def test_a_lost_model_is_rebuilt_to_the_same_bytes_and_nothing_else_is_redone(finished, workplace):
    copy = workplace / "lost"
    shutil.copytree(workplace / "whole", copy)
    config = write_config(workplace, copy)
    model = next((copy / "toy/models").glob("*hybrid*.keras"))
    content = model.read_bytes()
    model.unlink()
    before = len(started(copy / "toy"))
    assert advrun("run", config).exit_code == 0
    assert len(started(copy / "toy")) == before + 1
    assert model.read_bytes() == content


@pytest.mark.slow
def test_seeds_of_a_model_from_a_file_are_cells_of_their_own(finished, workplace):
    """The model is the same for every seed, the rows are not."""
    file = next((finished / "models").glob("toy*.keras"), None) or next((finished / "models").glob("cnn-seed*.keras"))
    config = write_config(workplace, workplace / "file")
    changes = ("seeds=[0,1]", f"models=[{{name: file, path: {file}}}]", "defenses=[]", "attacks=[{name: fgsm, eps: 8/255}]")
    arguments = [argument for change in changes for argument in ("--set", change)]
    for _ in range(2):
        assert advrun("run", config, *arguments).exit_code == 0
        rows = json.loads((workplace / "file/toy/tables/accuracy.json").read_text())
        assert sorted(row["seed"] for row in rows if row["attack"] == "clean") == [0, 1]
    assert len(started(workplace / "file/toy")) == 8


@pytest.mark.slow
def test_a_model_file_older_than_the_data_is_told(finished, workplace):
    """The data set gets a class more: nothing is computed."""
    file = next((finished / "models").glob("cnn-seed*.keras"), None) or next((finished / "models").glob("*.keras"))
    config = write_config(workplace, workplace / "older")
    changes = (f"models=[{{name: file, path: {file}}}]", "defenses=[]", "attacks=[{name: fgsm, eps: 8/255}]")
    arguments = [argument for change in changes for argument in ("--set", change)]
    assert advrun("run", config, *arguments).exit_code == 0
    with np.load(workplace / "toy.npz") as arrays:
        more = dict(arrays)
    more["y_test"] = np.where(np.arange(len(more["y_test"])) == 0, 4, more["y_test"])
    more["class_names"] = np.array(["a", "b", "c", "d", "e"])
    np.savez(workplace / "more.npz", **more)
    run = advrun("run", config, *arguments, "--set", f"data.path={workplace / 'more.npz'}")
    assert run.exit_code == 5
    assert "has 4 classes, data set arrays has 5" in run.output


@pytest.mark.slow
def test_a_trained_model_needs_no_training_images(finished, workplace, toy_data):
    """Attacks that learn, or start from other images, take the attacked ones; what would have to be trained is refused."""
    file = next((finished / "models").glob("cnn-seed*.keras"), None) or next((finished / "models").glob("*.keras"))
    np.savez(workplace / "test.npz", x=toy_data.x_test, y=toy_data.y_test)
    config = write_config(workplace, workplace / "alone")
    attacks = "[{name: boundary, queries: 60, examples: 8}, {name: universal, norm: linf, eps: 0.1, examples: 20}]"
    run = advrun("run", config, "--set", f"data={{name: arrays, path: {workplace / 'test.npz'}}}", "--set", f"attacks={attacks}")
    assert (run.exit_code, "no training images for 'cnn'" in run.output) == (4, True), run.output
    changes = (f"data={{name: arrays, path: {workplace / 'test.npz'}}}", f"models=[{{name: file, path: {file}}}]", "defenses=[]")
    arguments = [argument for change in (*changes, f"attacks={attacks}") for argument in ("--set", change)]
    run = advrun("run", config, *arguments)
    assert run.exit_code == 0, run.output
    rows = json.loads((workplace / "alone/toy/tables/accuracy.json").read_text())
    assert {row["attack"] for row in rows} >= {"clean", "boundary", "universal"}


@pytest.mark.slow
def test_one_failing_cell_does_not_stop_the_others(finished, workplace):
    copy = workplace / "failing"
    shutil.copytree(workplace / "whole", copy)
    config = write_config(workplace, copy)
    faster = "attacks=[{name: fgsm, eps: 24/255}]"
    run = advrun(
        "run", config, "--set", faster, "--set", "defenses.hybrid.train.learning_rate=1e30", "--set", "defenses.autoencoder.noise=0.5"
    )
    assert run.exit_code == 8
    assert "cells failed" in run.output
    assert "hybrid" in run.output
    rows = json.loads((copy / "toy/tables/accuracy.json").read_text())
    assert {row["defense"] for row in rows} == {"none", "adversarial_training", "autoencoder"}


NANS = '''"""A purifier of half an idea."""
from advrun.engine import ops
from advrun.system import Chain, Purifier


def nans(system: Chain) -> Chain:
    """The root of what is below zero."""
    return system.behind(Purifier(lambda x, rng: ops.sqrt(x - 0.5), backward="exact"))
'''


def test_answers_that_are_no_numbers_cost_their_own_rows_and_no_more(workplace, tmp_path):
    """The defence is named, and of how many images; what stands is reported. The network's pools hide NaN: its logits are numbers."""
    (tmp_path / "defenses").mkdir()
    (tmp_path / "defenses/nans.py").write_text(NANS)
    config, fewer = write_config(workplace, workplace / "nans"), "attacks=[{name: fgsm, eps: 24/255}]"
    run = advrun("run", config, "--plugins", tmp_path, "--set", fewer, "--set", "defenses=[{name: nans}]")
    assert run.exit_code == 8, run.output
    assert re.search("defence 'nans': it makes NaN or infinite pixels of 64 of the first 64 test images", run.output)
    rows = json.loads((workplace / "nans/toy/tables/accuracy.json").read_text())
    assert {row["defense"] for row in rows} == {"none"}


def test_a_failing_plugin_is_named_with_its_line():
    names: dict = {}
    exec(compile("def branching(x):\n    return 1 if x > 0 else 0", registry.PACKAGE / "attacks/branching.py", "exec"), names)
    with pytest.raises(TypeError) as error:
        engine.compiled(names["branching"])(engine.tf.constant(1.0))
    place = "advrun/attacks/branching.py:2: "
    assert hand.place(error.value) == place
    assert hand.place(ValueError()) == ""
    assert re.fullmatch(r"\w+: Using a symbolic `tf.Tensor` as a Python `bool` is not allowed: .* by repeat", engine.reason(error.value))
    exec(compile("def fit(train):\n    train()", registry.PACKAGE / "defenses/fitting.py", "exec"), names)
    exec(compile("def train():\n    raise OSError('no space left')", registry.PACKAGE / "train.py", "exec"), names)
    with pytest.raises(OSError, match="no space") as error:
        names["fit"](names["train"])
    assert hand.place(error.value) == ""


@pytest.mark.parametrize(("stage", "times"), [("attack", 1), pytest.param("run", 4, marks=pytest.mark.slow)])
def test_kill_at_random_moments_changes_nothing(finished, workplace, stage, times):
    results = workplace / f"killed{times}"
    config = write_config(workplace, results)
    pause = random.Random(0)
    command = [sys.executable, "-m", "advrun", stage, str(config)]
    kills = 0
    for _ in range(times):
        run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            run.wait(timeout=pause.uniform(4, 7 if stage == "attack" else 12))
        except subprocess.TimeoutExpired:
            run.send_signal(signal.SIGKILL)
            run.wait()
            kills += 1
    final = subprocess.run(command, check=False, capture_output=True, text=True)
    assert final.returncode == 0, final.stderr
    assert kills >= 1
    found, expected = tables(results / "toy"), tables(finished)
    if stage == "run":
        assert found == expected
    assert found["accuracy.json"] == [row for row in expected["accuracy.json"] if stage == "run" or row["defense"] == "none"]


def test_ctrl_c_and_termination_are_logged(workplace):
    results = workplace / "stopped"
    config = write_config(workplace, results)
    run = subprocess.Popen([sys.executable, "-m", "advrun", "run", str(config)], stderr=subprocess.PIPE, text=True)
    log = results / "toy/log.jsonl"
    while not (log.exists() and '"start"' in log.read_text()):
        time.sleep(0.1)
    time.sleep(1)
    os.kill(run.pid, signal.SIGTERM)
    assert "goes on from there" in run.communicate()[1]
    assert run.returncode == 130
    assert json.loads(log.read_text().splitlines()[-1])["event"] == "interrupted"


def test_ctrl_c_ends_a_batch_that_takes_for_ever(finished, workplace):
    """The process is inside one call of compiled code, where Python hears of no signal."""
    results = workplace / "endless"
    shutil.copytree(finished.parent, results)
    config = write_config(workplace, results)
    endless = "attacks=[{name: pgd, eps: 24/255, steps: 10000000}]"
    run = subprocess.Popen([sys.executable, "-m", "advrun", "attack", str(config), "--set", endless], stderr=subprocess.PIPE, text=True)
    log, before = results / "toy/log.jsonl", len(started(results / "toy"))
    while len(started(log.parent)) == before:
        time.sleep(0.1)
    time.sleep(5)  # to load the model and compile
    os.kill(run.pid, signal.SIGTERM)  # not SIGINT: a job in the background of a shell is started deaf to that
    assert "goes on from there" in run.communicate(timeout=60)[1]
    assert run.returncode == 130
    assert json.loads(log.read_text().splitlines()[-1])["event"] == "interrupted"


@pytest.mark.slow
def test_seeds_give_mean_and_spread(workplace):
    results = workplace / "seeds"
    config = write_config(workplace, results)
    run = advrun("attack", config, "--set", "seeds=[0,1]", "--set", "attacks=[{name: fgsm, eps: 24/255}]", "--set", "train.epochs=1")
    assert run.exit_code == 0, run.output
    rows = json.loads((results / "toy/tables/accuracy.json").read_text())
    assert {row["seed"] for row in rows} == {0, 1}
    assert "±" in (results / "toy/tables/summary.md").read_text()


SQUARES = """
data: {name: signs}
models: [{name: lnet}]
attacks: [{name: square, queries: 20, eps: 8/255}, {name: square, label: all, queries: 20, eps: 8/255, target: all}]
"""


def test_a_budget_towards_all_classes_in_turn_is_that_of_each():
    attacks = loads(SQUARES).attacks
    cells = [Cell("measure", "attack", "", "", (), SimpleNamespace(label="m"), None, 0, each, 8 / 255) for each in attacks]
    cost = dict.fromkeys(("zero_gradients", "gradients", "queries", "seconds"), 0.0)
    assert [columns.row(cell, cost)["budget"] for cell in cells] == ["20 queries", "20 queries for each class"]


@pytest.mark.parametrize(
    ("limits", "ending"),
    [
        ({}, "told"),
        ({"test_limit": 300}, "told; of these 300 test images at most"),
        ({"train_limit": 1000, "test_limit": 300}, "told; of these 1,000 training and 300 test images at most"),
    ],
)
def test_the_page_says_how_much_of_a_data_set_is_taken(toy_data, limits, ending):
    experiment = loads(json.dumps({"data": {"name": "signs", **limits}, "models": [{"name": "lnet"}]}), name="some")
    assert runner.data_line(experiment, replace(toy_data, variant="told")) == f"{toy_data.name}: {ending}"
