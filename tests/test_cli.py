"""The command line as a person types it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from advrun import registry
from advrun.cli import in_words, main
from advrun.config import load

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))


def advrun(*arguments: str):
    return CliRunner().invoke(main, list(map(str, arguments)))


def test_help_names_every_command():
    shown = advrun("--help")
    assert shown.exit_code == 0
    for command in ("train", "attack", "defend", "report", "run", "check", "schema", "list", "show", "data", "doctor", "compare"):
        assert f"\n  {command} " in shown.output


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.name)
def test_shipped_configs_load_and_fit_the_schema(config):
    load(config)
    schema = json.loads(advrun("schema").output)
    jsonschema.validate(yaml.safe_load(config.read_text()), schema)
    head = config.read_text().split("\nname:")[0]
    assert f"advrun run configs/{config.name}" in head
    assert "minutes" in head


COMPLETE = [path for path in CONFIGS if "name: file" not in path.read_text()]
"""Without those that need model files of the reader's own."""


@pytest.mark.parametrize("config", COMPLETE, ids=lambda path: path.name)
def test_check_prints_a_configuration_that_says_the_same(config, tmp_path):
    printed = advrun("check", config)
    assert printed.exit_code == 0
    (tmp_path / config.name).write_text(printed.output)
    assert load(tmp_path / config.name) == load(config)


def test_a_typo_is_answered_with_its_place_and_the_nearest_name(tmp_path):
    path = tmp_path / "typo.yaml"
    path.write_text("attacks:\n  - {name: fgsm, epz: 8/255}\n")
    shown = advrun("run", path)
    assert shown.exit_code == 3
    assert f"{path}:2:18: " in shown.output
    assert "did you mean 'eps'?" in shown.output
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [(["run", "absent.yaml"], 3), (["show", "pdg"], 2), (["nonsense"], 2), (["list", "nonsense"], 2), (["run"], 2)],
)
def test_exit_codes(arguments, exit_code):
    assert advrun(*arguments).exit_code == exit_code


@pytest.mark.parametrize("kind", registry.KINDS)
def test_list_and_show_cover_the_folder(kind):
    rows = json.loads(advrun("list", kind, "--json").output)
    assert [row["name"] for row in rows] == registry.names(kind)
    table = advrun("list", kind).output
    for name in registry.names(kind):
        assert f"\n{name} " in table
        shown = advrun("show", name)
        assert shown.exit_code == 0
        for setting in registry.get(kind, name).settings.values():
            assert setting.name in shown.output
            assert setting.help, f"{kind} {name}: no help for {setting.name}"


def test_doctor():
    shown = advrun("doctor")
    assert shown.exit_code == 0, shown.output
    assert "tensorflow" in shown.output
    assert "oneDNN" in shown.output


def test_data_info_draws_a_contact_sheet(tmp_path):
    shown = advrun("data", "info", CONFIGS[0], "--set", "data={name: signs, train: 430, test: 86}", "--out", tmp_path / "sheet.png")
    assert shown.exit_code == 0, shown.output
    assert "Stop" in shown.output
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("kind", registry.KINDS)
def test_lists_fit_80_columns(kind):
    shown = CliRunner().invoke(main, ["list", kind], env={"COLUMNS": "80"})
    assert max(map(len, shown.output.splitlines())) <= 80


def test_lists_are_filtered_and_json_keeps_every_field():
    rows = json.loads(advrun("list", "attacks", "--norm", "L0", "--access", "gradients", "--targeted", "--json").output)
    assert {"cw_l0", "fmn", "jsma"} <= {row["name"] for row in rows} < set(registry.names("attacks"))
    assert all("l0" in row["norms"] and row["access"] == "gradients" and row["targeted"] for row in rows)
    assert set(rows[0]) == {"name", "norms", "budget", "access", "targeted", "cost", "summary"}
    assert [row["name"] for row in json.loads(advrun("list", "defenses", "--about", "autoencoder", "--json").output)] == [
        "autoencoder",
        "hybrid",
        "magnet",
        "magnet_detector",
    ]
    assert advrun("list", "attacks", "--norm", "l0", "--access", "blind").output == "(none)\n"
    refused = advrun("list", "models", "--norm", "l2")
    assert refused.exit_code == 2
    assert "--norm is a property of attacks; models have none" in refused.output


# What is printed, and how ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> Path:
    """A configuration whose results are there; its pixels are not quite of 8 bit, of which every reading of them warns."""
    from advrun.engine import keras

    folder = tmp_path_factory.mktemp("measured")
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(12, 6, 6, 3)).astype(np.float32)
    layers = keras.layers
    model = keras.Sequential(
        [layers.Input((6, 6, 3)), layers.Flatten(), layers.Dense(3, kernel_initializer=keras.initializers.GlorotUniform(seed=5))]
    )
    y = model.predict(np.round(x * 255) / 255, verbose=0).argmax(-1)
    model.save(folder / "m.keras")
    np.savez(folder / "x.npz", x=x, y=y, class_names=np.array(["a", "Größe ∞", "中"]))
    config = folder / "m.yaml"
    config.write_text(
        f"data: {{name: arrays, path: {folder}/x.npz}}\nmodels: [{{name: file, path: {folder}/m.keras}}]\n"
        f"attacks: [{{name: fgsm, eps: [1/255, 8/255]}}]\nresults: {folder}/results\n"
    )
    done = advrun("run", config)
    assert done.exit_code == 0, done.output
    return config


def test_gates_and_the_summary_as_ci_uses_them(measured, tmp_path):
    page = tmp_path / "step.md"
    held = advrun("report", measured, "--fail-under", "none/clean: 100 %", "--fail-under", "file:none@1/255: 0", "--summary", page)
    assert held.exit_code == 0, held.output
    assert "--fail-under 'none/clean: 100 %': file / none, clean: 100.0 % holds (n = 12)" in held.stdout.splitlines()
    assert page.read_text().count("| holds ") == 2
    broken = CliRunner().invoke(
        main, ["report", str(measured), "--fail-under", "none@8/255: 0.9", "-q"], env={"GITHUB_STEP_SUMMARY": str(page)}
    )
    assert broken.exit_code == 12
    assert re.fullmatch(
        r"advrun: --fail-under 'none@8/255: 0.9': file / none, worst case L∞ 8/255, adaptive: .* is under 90.0 %.*\n", broken.output
    )
    assert page.read_text().count("**broken**") == 1
    events = advrun("report", measured, "--json", "--fail-under", "none@8/255: 0.9")
    assert events.exit_code == 12
    (gate,) = [event for event in map(json.loads, events.stdout.splitlines()) if event["event"] == "gate"]
    assert (gate["gate"], gate["holds"]) == ("none@8/255: 0.9", False)


@pytest.mark.parametrize("command", [["run"], ["report"], ["run", "--dry-run"], ["report", "--dry-run"]])
def test_a_gate_that_checks_nothing_is_refused_before_anything_is_done(measured, tmp_path, command):
    results = f"results={tmp_path / 'results'}"
    for gate, said in (("hybrid: 0.3", "has no 'hybrid'"), ("none@2/255: 0.3", "known: linf 1/255, linf 8/255")):
        refused = advrun(*command, measured, "--set", results, "--fail-under", gate)
        assert refused.exit_code == 3
        line = refused.output.splitlines()[-1]
        assert line.startswith(f"advrun: --fail-under '{gate}': ")
        assert said in line
        assert not list(tmp_path.rglob("*.json"))


def test_two_runs_of_permuted_images_are_the_same_image_by_image(measured, tmp_path):
    """A real run of the same images in another order: outcomes are paired by what the images are, not by where they stand."""
    first = measured.parent
    arrays = dict(np.load(first / "x.npz"))
    order = np.random.default_rng(3).permutation(len(arrays["y"]))
    np.savez(tmp_path / "x.npz", **{**arrays, "x": arrays["x"][order], "y": arrays["y"][order]})
    moved = ["--set", f"data.path={tmp_path}/x.npz", "--set", f"results={tmp_path}"]
    assert advrun("run", measured, "-q", *moved).exit_code == 0
    shown = advrun("compare", first / "results/m", tmp_path / "m", "--json")
    assert shown.exit_code == 0, shown.output
    content = json.loads(shown.stdout)
    (against,) = content["against"]
    assert {row["attack"] for row in against["rows"]} == {"clean", "fgsm", "worst case"}
    assert all((row["verdict"], row["paired_images"]) == ("the same", 12) for row in against["rows"])
    assert 0 < min(row["first"]["accuracy"] for row in against["rows"]) < 1
    assert {(each["kind"], each["what"]) for each in content["changes"] if each["kind"] != "model file"} == {
        ("configuration", "data.path"),
        ("data", "fingerprint"),
        ("data", "fingerprint with training images"),
    }
    assert [content["folders"][letter]["remarks"] for letter in "AB"] == [[], []]


ROUNDED = "is rounded to 8 bit: its values are not multiples of 1/255"


def test_the_terminal_ends_with_the_headline_and_three_paths(measured):
    shown = advrun("report", measured)
    *before, empty, report, numbers, results = shown.stdout.splitlines()
    *_, headline = "\n".join(before).split("\n\n")
    assert re.search("worst case within L∞ [18]/255", headline)  # the largest eps that surely leaves something of twelve images
    assert "On clean images" in headline
    assert empty == ""
    assert [line.split()[0] for line in (report, numbers, results)] == ["report", "numbers", "results"]
    assert Path(report.split()[1]).read_text().startswith("<!doctype html>")
    assert Path(numbers.split()[1]).read_text().startswith("model,")
    assert Path(results.split()[1]).is_dir()
    assert any(line.startswith("none: clean 100.0 ") for line in before)


def test_json_has_every_row_and_the_headline_in_strict_lines(measured):
    shown = advrun("report", measured, "--json")
    events = [json.loads(line, parse_constant=pytest.fail) for line in shown.stdout.splitlines()]
    rows = [event for event in events if event["event"] == "row"]
    table = json.loads((measured.parent / "results/m/tables/accuracy.json").read_text())
    assert [(row["attack"], row["eps"], row["accuracy"]) for row in rows] == [(row["attack"], row["eps"], row["accuracy"]) for row in table]
    assert {"clean", "fgsm", "worst case"} == {row["attack"] for row in rows}
    (headline,) = (event["text"] for event in events if event["event"] == "headline")
    assert " ".join(headline.split()) in " ".join(advrun("report", measured).stdout.split())
    (warning,) = (event["text"] for event in events if event["event"] == "warning")
    assert ROUNDED in warning
    assert shown.stderr == ""


def test_warnings_go_through_the_console_and_into_the_log(measured):
    log = measured.parent / "results/m/log.jsonl"

    def logged() -> int:
        return sum(json.loads(line)["event"] == "warning" and ROUNDED in line for line in log.read_text().splitlines())

    before = logged()
    assert advrun("report", measured).stderr.count(ROUNDED) == 1
    assert advrun("report", measured, "-q").output == ""
    assert logged() == before + 2


def in_process(arguments: list[object], **environment: str) -> subprocess.CompletedProcess[bytes]:
    settings = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[1]), **environment}
    command = [sys.executable, "-m", "advrun", *arguments]
    return subprocess.run(command, capture_output=True, check=False, env=settings)


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONIOENCODING": "cp1252"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    ],
    ids=lambda environment: next(iter(environment.values())),
)
def test_a_terminal_without_unicode_gets_an_aligned_table_in_ascii(measured, environment):
    shown = in_process(["report", measured], **environment)
    assert shown.returncode == 0, shown.stderr
    text = shown.stdout.decode("ascii")
    rows = [line for line in text.splitlines() if "Linf 8/255  " in line or "Linf 1/255  " in line]
    assert len(rows) == 4
    assert len({line.index("Linf") for line in rows}) == 1
    assert len({line.rindex("+-") for line in rows}) == 1
    assert b"Traceback" not in shown.stderr


def test_names_of_classes_are_spelt_for_the_terminal_too(measured):
    info = in_process(["data", "info", measured, "--out", measured.parent / "sheet.png"], PYTHONIOENCODING="latin-1")
    assert info.returncode == 0, info.stderr
    lines = info.stdout.decode("latin-1").splitlines()
    assert any(line.endswith("  Größe inf") for line in lines)
    assert any(line.endswith("  \\u4e2d") for line in lines)


def test_names_that_are_no_text_get_through_escaped(measured):
    odd = os.fsencode(measured.parent) + b"/caf\xe9\x1b[31m.yaml"
    Path(os.fsdecode(odd)).write_text("attacks: [{name: pdg}]\n")
    for encoding in ("utf-8", "ascii"):
        shown = in_process(["check", odd], PYTHONIOENCODING=encoding)
        assert shown.returncode == 3
        assert all(b"\\udce9" in line and b"\x1b" not in line for line in shown.stderr.splitlines())
        assert b"Traceback" not in shown.stderr
        wrong = in_process([b"caf\xe9"], PYTHONIOENCODING=encoding)
        assert wrong.returncode == 2
        assert b"No such command 'caf\\udce9'" in wrong.stderr


COMPLETED = [
    ("advrun show pg", 2, {"pgd"}),
    ("advrun list ", 2, set(registry.KINDS)),
    ("advrun list attacks --access ", 4, {"gradients", "scores", "decisions", "blind"}),
    ("advrun data ", 2, {"fetch", "info"}),
    ("advrun sh", 1, {"show"}),
]


@pytest.mark.parametrize(("words", "number", "expected"), COMPLETED)
def test_the_shell_completes(words, number, expected):
    shown = in_process([], _ADVRUN_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(number))
    assert set(shown.stdout.decode().split()) == {f"plain,{word}" for word in expected}


def test_configurations_are_completed_as_files_and_all_of_it_without_heavy_imports():
    check = (
        "import sys, atexit; atexit.register(lambda: print(sorted({'tensorflow', 'numpy', 'pydantic', 'rich'} & set(sys.modules)))); "
        "from advrun.cli import main; main(prog_name='advrun')"
    )
    environment = {**os.environ, "_ADVRUN_COMPLETE": "bash_complete", "COMP_WORDS": "advrun run ", "COMP_CWORD": "2"}
    shown = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True, env=environment)
    assert shown.stdout.splitlines() == ["file,", "[]"]


def test_bash_offers_what_the_readme_sets_up(tmp_path):
    """The line of the README, in a real shell."""
    (tmp_path / "advrun").write_text(f'#!/bin/sh\nexec {sys.executable} -m advrun "$@"\n')
    (tmp_path / "advrun").chmod(0o755)
    line = 'eval "$(_ADVRUN_COMPLETE=bash_source advrun)"'
    assert line in (Path(__file__).parents[1] / "README.md").read_text()
    typed = f'{line}\nCOMP_WORDS=(advrun show hop)\nCOMP_CWORD=2\n_advrun_completion advrun\necho "${{COMPREPLY[@]}}"'
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    shown = subprocess.run(["bash", "-c", typed], capture_output=True, text=True, check=True, env=environment)
    assert shown.stdout.split() == ["hopskipjump"]


def test_make_clean_leaves_results(tmp_path):
    makefile = Path(__file__).parents[1] / "Makefile"
    (tmp_path / "results/demo").mkdir(parents=True)
    (tmp_path / ".venv").mkdir()
    for target, code in (("clean", 0), ("clean-results", 2)):
        done = subprocess.run(["make", "-f", makefile, target], cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        assert done.returncode == code, done.stderr
        assert (tmp_path / "results/demo").is_dir()
        assert not (tmp_path / ".venv").exists()


NEW_ATTACK = '''
"""A new attack (A. Nobody, 2026, arXiv:0000.00000)."""

from advrun.system import Gradients
from advrun.geometry import Linf
from advrun.losses import margin
from advrun.types import Cost, Labels, Positive, Tensor


def nudge(model: Gradients, x: Tensor, y: Labels, ball: Linf, *, strength: Positive = 1.0) -> Tensor:
    """Nudge every pixel.

    Args:
        strength: share of eps.
    """
    return ball.project(x + strength * ball.steepest(model.gradient(margin, x, y)), x)


def cost() -> Cost:
    """One gradient."""
    return Cost(gradients=1)
'''


@pytest.mark.slow
def test_a_new_attack_is_one_new_file(tmp_path):
    """Dropped into a copy of the package, it is listed, in the schema, and in the contract tests."""
    root = Path(__file__).parents[1]
    for name in ("advrun", "tests", "configs"):
        shutil.copytree(root / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "setup.cfg", tmp_path)
    (tmp_path / "advrun/attacks/nudge.py").write_text(NEW_ATTACK)

    def python(*arguments: str) -> str:
        run = subprocess.run([sys.executable, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout + run.stderr
        return run.stdout

    assert "nudge" in python("-m", "advrun", "list", "attacks")
    assert '"strength"' in python("-m", "advrun", "schema")
    assert "strength" in python("-m", "advrun", "show", "nudge")
    collected = python("-m", "pytest", "-q", "tests/test_attacks.py", "-k", "nudge", "-p", "no:cacheprovider")
    assert " passed" in collected


def test_a_class_without_images_is_listed_unless_there_are_very_many():
    def listed(classes: int) -> str:
        counts = [{"label": label, "name": f"c{label}", "train": 0, "test": int(label == 1)} for label in range(classes)]
        return in_words({"classes": classes, "counts": counts})

    assert [name in listed(3) for name in ("c0", "c1", "c2")] == [True] * 3
    assert "c0" not in listed(1000)
    assert "999 more classes have no images" in listed(1000)
