"""Units of one's own, in a folder beside the package, as a person uses them: through the command line, in processes of their own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

import advrun
from advrun import Linf, attacks, folders, registry
from advrun.cli import main
from advrun.contract.promise import Broken, names_its_source
from advrun.errors import PluginError

CONFIG = """
data: {name: bars, train: 128, test: 32, size: 8, seed: 3}
models: [{name: allconv, width: 8}]
train: {epochs: 4, batch_size: 32, learning_rate: 0.01}
defenses: [{name: noise_training, train: {epochs: 1}}, {name: bit_layer}]
"""
ATTACK = "attacks=[{name: walk, eps: 8/255, queries: 5}]"


def shell(*arguments: object, **environment: str) -> subprocess.CompletedProcess:
    """`advrun ARGUMENTS` in a process of its own."""
    command = [sys.executable, "-m", "advrun", *map(str, arguments)]
    known = {name: value for name, value in os.environ.items() if name != folders.VARIABLE}
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**known, **environment})


def invoke(*arguments: object):
    return CliRunner().invoke(main, list(map(str, arguments)))


@pytest.fixture(scope="module")
def finished(own_folder, tmp_path_factory) -> Path:
    """A configuration whose systems were trained by one process, and attacked by another."""
    (own_folder / "attacks/_mine.py").write_text("def half(x):\n    return x / 2\n")
    walk = own_folder / "attacks/walk.py"
    walk.write_text(walk.read_text().replace("from advrun.geometry", "from advrun.attacks._mine import half  # noqa\nfrom advrun.geometry"))
    config = tmp_path_factory.mktemp("run") / "own.yaml"
    config.write_text(CONFIG + f"results: {config.parent}\n")
    for changes in ([], ["--set", ATTACK]):
        run = shell("run", config, "--plugins", own_folder, *changes)
        assert run.returncode == 0, run.stderr
    return config


def test_a_run_with_one_of_each_kind(finished):
    rows = json.loads((finished.parent / "own/tables/accuracy.json").read_text())
    attacked = [row for row in rows if row["attack"] == "walk"]
    assert {row["defense"] for row in attacked} == {"none", "noise_training", "bit_layer"}
    assert {row["threat"] for row in attacked if row["defense"] == "bit_layer"} == {"static", "adaptive"}
    assert all(0 <= row["less_decisive"] <= 1 for row in attacked)
    assert all(row["queries"] <= 5 for row in attacked)
    assert "bars" in (finished.parent / "own/config.yaml").read_text()


def to_do(config: Path, folder: Path, *more: str) -> dict[str, set[str]]:
    """What is not done, by kind of cell: labels without the seed."""
    run = shell("run", config, "--plugins", folder, "--set", ATTACK, "--dry-run", "--json", *more)
    assert run.returncode == 0, run.stderr
    cells = [json.loads(line) for line in run.stdout.splitlines()]
    return {kind: {cell["cell"] for cell in cells if cell["kind"] == kind and not cell["done"]} for kind in ("train", "attack", "metric")}


@pytest.mark.parametrize(
    ("edited", "attacks_anew", "trained_anew", "metrics_anew"),
    [
        ("metrics/decisiveness.py", 0, 0, 6),  # clean and attacked rows of none, clean, static and adaptive ones of two defences
        ("attacks/walk.py", 3, 0, 24),
        pytest.param("attacks/_mine.py", 3, 0, 24, marks=pytest.mark.slow),
        pytest.param("defenses/noise_training.py", 1, 1, 12, marks=pytest.mark.slow),
        ("layers/bits.py", 1, 1, 12),
        pytest.param("models/allconv.py", 3, 3, 40, marks=pytest.mark.slow),
    ],
)
def test_an_edit_makes_those_cells_anew_that_use_the_file(finished, own_folder, tmp_path, edited, attacks_anew, trained_anew, metrics_anew):
    """The folder may be moved: only what is in its files counts."""
    moved = tmp_path / "moved"
    shutil.copytree(own_folder, moved)
    assert not any(to_do(finished, moved).values())
    with open(moved / edited, "a") as file:
        file.write("\nCHANGED = 1\n")
    left = to_do(finished, moved)
    assert (len(left["train"]), len(left["attack"])) == (trained_anew, attacks_anew)
    assert bool(left["metric"]) == bool(metrics_anew)
    if edited.startswith("metrics"):
        assert all(label.endswith("decisiveness") for label in left["metric"])


@pytest.mark.slow
def test_a_file_with_a_layer_of_ones_own_is_a_model(finished, own_folder, tmp_path):
    """And every layer belongs to the key of a model that is a file."""
    (model,) = (finished.parent / "own/models").glob("*bit-layer*.keras")
    config = tmp_path / "file.yaml"
    config.write_text(
        f"data: {{name: bars, train: 128, test: 32, size: 8}}\nmodels: [{{name: file, path: {model}}}]\nresults: {tmp_path}\n"
    )
    assert shell("train", config, "--plugins", own_folder).returncode == 0
    plain = ["--set", "attacks=[]", "--plugins"]
    assert "to do" not in shell("run", config, *plain, own_folder, "--dry-run").stdout
    shutil.copytree(own_folder, tmp_path / "moved")
    (tmp_path / "moved/layers/another.py").write_text("NOTHING = 1\n")
    assert "to do" in shell("run", config, *plain, tmp_path / "moved", "--dry-run").stdout


def test_python_finds_them_too(added, network, images):
    y = network.predict(images).argmax(-1)
    x_adv = attacks.walk(network, images, y, Linf(0.2), queries=50)
    assert network.accuracy(x_adv, y) < 1
    assert "walk" in dir(attacks)
    assert attacks.walk.plugin.path == added.resolve() / "attacks/walk.py"
    with pytest.raises(AttributeError, match="no attack named 'wolk'; did you mean 'walk'"):
        attacks.wolk  # noqa: B018


def test_a_unit_of_ones_own_may_be_of_no_paper_yet(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text('"""Mine."""')
    mine = SimpleNamespace(path=tmp_path / "mine.py")
    names_its_source(mine)
    monkeypatch.setattr(folders, "PACKAGE", tmp_path)  # as if it were advrun's
    with pytest.raises(Broken, match="the file names no paper"):
        names_its_source(mine)


def test_list_and_show_say_whose_they_are(added):
    rows = {row["name"]: row for row in json.loads(invoke("list", "attacks", "--json").output)}
    assert (rows["walk"]["from"], rows["pgd"]["from"]) == ("own", "advrun")
    assert f"walk: attack, {added.resolve()}/attacks/walk.py" in invoke("show", "walk").output
    assert "walk" in json.dumps(json.loads(invoke("schema").output))


def test_the_variable_and_entry_points(own_folder, tmp_path):
    listed = shell("list", "metrics", ADVRUN_PLUGINS=os.pathsep.join(["", str(own_folder)]))
    assert "decisiveness" in listed.stdout
    package = tmp_path / "somebody/robust"
    shutil.copytree(own_folder, package)
    for folder in (package.parent, package):
        (folder / "__init__.py").write_text("")
    (tmp_path / "somebody-1.0.dist-info").mkdir()
    (tmp_path / "somebody-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: somebody\nVersion: 1.0\n")
    points = tmp_path / "somebody-1.0.dist-info/entry_points.txt"
    points.write_text("[advrun.plugins]\nmine = somebody.robust\n")
    path = os.pathsep.join([str(tmp_path), str(folders.PACKAGE.parent)])
    assert f"{package}/models/allconv.py" in shell("show", "allconv", PYTHONPATH=path).stdout
    points.write_text("[advrun.plugins]\nmine = somebody.else\n")
    failed = shell("show", "allconv", PYTHONPATH=path)
    assert failed.returncode == 10
    assert "the entry point 'mine' of advrun.plugins names somebody.else, which is no package" in failed.stderr


@pytest.mark.parametrize(
    ("files", "given", "said"),
    [
        ((), "absent", "no such folder"),
        (("readme.txt",), "", "holds none of the folders attacks, defenses, models, datasets, metrics, threats, bounds and layers"),
        (("attacks/mine.py",), "attacks", "holds none of the folders .*; give .*own$"),
        (("defences/mine.py",), "", "own/defences: the folder is called 'defenses'; rename it"),
        (("attacks/pgd.py",), "", "own/attacks/pgd.py: the name is taken by advrun/attacks/pgd.py; rename the file and its function"),
        (("attacks/_best.py",), "", "own/attacks/_best.py: the name is taken by advrun/attacks/_best.py"),
    ],
)
def test_folders_that_cannot_be_meant_are_refused(tmp_path, files, given, said):
    (tmp_path / "own").mkdir()
    for file in files:
        (tmp_path / "own" / file).parent.mkdir(exist_ok=True)
        (tmp_path / "own" / file).write_text("")
    known = folders.own()
    refused = invoke("list", "attacks", "--plugins", tmp_path / "own" / given)
    assert refused.exit_code == 10
    assert re.search(said, refused.output.strip())
    assert refused.output.count("\n") == 1
    assert folders.own() == known


def test_two_folders_must_not_share_a_name(added, tmp_path):
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics/decisiveness.py").write_text("")
    with pytest.raises(PluginError, match=rf"{tmp_path}/metrics/decisiveness.py: the name is taken by {added.resolve()}/metrics/decis"):
        advrun.plugins(tmp_path)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        pytest.param("answer = no_such_name", "mine.py:1 cannot be imported: NameError", marks=pytest.mark.slow),
        pytest.param("def mine(:", "mine.py:1 cannot be imported: SyntaxError", marks=pytest.mark.slow),
        pytest.param("import sys; sys.exit(3)", "mine.py:1 cannot be imported: SystemExit: 3", marks=pytest.mark.slow),
        ("def other(): ...", "mine.py must define a function named 'mine'"),
    ],
)
def test_a_broken_file_is_named_and_stops_no_other(own_folder, tmp_path, code, said):
    shutil.copytree(own_folder, tmp_path / "own")
    for kind in folders.KINDS:
        (tmp_path / f"own/{kind}/mine.py").write_text(code)
    for arguments in (["list", "attacks"], ["schema"], ["show", "walk"]):
        shown = shell(*arguments, "--plugins", tmp_path / "own")
        assert shown.returncode == 0, shown.stderr
        assert "walk" in shown.stdout
    broken = shell("show", "mine", "--plugins", tmp_path / "own")
    assert broken.returncode == 10
    assert f"{tmp_path}/own/attacks/{said}" in broken.stderr
    assert broken.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_broken_metric_or_layer_costs_only_itself(finished, own_folder, tmp_path):
    """The rows that are there are reported; what fails is named with its line."""
    shutil.copytree(own_folder, tmp_path / "own")
    (tmp_path / "own/metrics/mine.py").write_text("def mine(outcome):\n    return {'mine': outcome.y.mean()}\n")
    (tmp_path / "own/layers/mine.py").write_text("\nraise ValueError('not today')\n")
    shutil.copytree(finished.parent / "own", tmp_path / "results/own")
    run = shell("run", finished, "--plugins", tmp_path / "own", "--set", f"results={tmp_path}/results")
    assert run.returncode == 8
    assert f"{tmp_path}/own/metrics/mine.py: column 'mine' is" in run.stderr
    assert "expected float(...)" in run.stderr
    assert f"{tmp_path}/own/layers/mine.py:2 cannot be imported: ValueError: not today" in run.stderr
    assert "Traceback" not in run.stderr
    assert json.loads((tmp_path / "results/own/tables/accuracy.json").read_text())


def test_a_configuration_names_no_plugins(tmp_path):
    (tmp_path / "bad.yaml").write_text("plugins: [own]\n")
    refused = invoke("check", tmp_path / "bad.yaml")
    assert refused.exit_code == 3
    assert (
        "bad.yaml:1:1: plugins: the experiment names no plugins: a configuration runs no code; give the folder as --plugins"
        in refused.output
    )


def test_what_is_kept_out_of_keys():
    """Files of other packages are not followed."""
    assert folders.file_of("numpy.linalg") is None
    assert folders.file_of("advrun.attacks.pgd") == registry.get("attacks", "pgd").path
    assert np.all([folders.module_of(registry.get("attacks", name).path) == f"advrun.attacks.{name}" for name in ("pgd", "fgsm")])
