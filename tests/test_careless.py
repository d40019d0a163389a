"""Commands on what is not there, is something else, or is damaged: one line with place, value and remedy, and nothing is lost."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from advrun.cli import main

RESULTS = "give the results folder of a run, such as results/demo"
LEDGER = "give the folder of `advrun ledger add`, or of one that is to begin"


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """An empty folder, one of another tool, and a file, in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "theirs/src").mkdir(parents=True)
    (tmp_path / "theirs/notes.txt").write_text("of another tool")
    (tmp_path / "file").write_text("x")
    return tmp_path


def advrun(*arguments: object):
    return CliRunner().invoke(main, list(map(str, arguments)))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("verify nowhere", 4, f"nowhere: no such folder; {RESULTS}"),
        ("verify file", 4, f"file: a file, where a folder is expected; {RESULTS}"),
        ("verify empty", 4, "empty: no results folder: it has no manifests/ with finished cells; give RESULTS/NAME of a run"),
        ("verify theirs", 4, "theirs: no results folder: it has no manifests/ with finished cells; give RESULTS/NAME of a run"),
        ("compare nowhere empty", 4, f"nowhere: no such folder; {RESULTS}"),
        ("compare file empty", 4, f"file: a file, where a folder is expected; {RESULTS}"),
        ("compare theirs empty", 4, "theirs: holds no measured row and no config.yaml; "),
        ("ledger show nowhere", 4, "nowhere: no such folder; `advrun ledger add nowhere RESULTS` begins one"),
        ("ledger show file", 4, f"file: no ledger: it is a file; {LEDGER}"),
        ("ledger verify theirs", 4, f"theirs: no ledger: it holds 'notes.txt'; {LEDGER}"),
        ("ledger merge file empty", 4, f"file: no ledger: it is a file; {LEDGER}"),
        ("ledger merge theirs empty", 4, f"theirs: no ledger: it holds 'notes.txt'; {LEDGER}"),
        ("ledger add new nowhere", 4, "nowhere: no such file or folder; give RESULTS/NAME of a run, or an .npz file"),
        ("ledger add new theirs", 4, "theirs: no results folder: "),
        ("ledger add theirs empty", 4, f"theirs: no ledger: it holds 'notes.txt'; {LEDGER}"),
        ("status nowhere.yaml", 3, "nowhere.yaml: cannot be read: No such file or directory"),
        ("status empty", 3, "empty: cannot be read: Is a directory"),
        ("schema --plugins file", 10, "file: no such folder; give one that is laid out like advrun's own"),
    ],
)
def test_what_is_not_there_or_something_else_is_one_line(place, words, code, said):
    before = contents(place)
    refused = advrun(*words.split())
    assert refused.exit_code == code
    (line,) = refused.output.splitlines()
    assert line.startswith(f"advrun: {said}")
    assert contents(place) == before


@pytest.mark.parametrize("command", ["status", "clean", "report", "run"])
def test_a_file_where_results_should_lie_is_a_fault_of_the_configuration(place, toy_run, command):
    refused = advrun(command, toy_run, "--set", "results=file/deep")
    assert (refused.exit_code, refused.output.count("\n")) == (3, 1)
    assert refused.output.startswith("advrun: --set results: results: file is a file; expected a folder, or a place where one can be made")
    assert (place / "file").read_text() == "x"


def test_a_ledger_that_is_none_is_refused_before_anything_is_computed(place, toy_run):
    for ledger, said in (("file", "it is a file"), ("theirs", "it holds 'notes.txt'")):
        refused = advrun("run", toy_run, "--set", "results=new", "--ledger", ledger)
        assert (refused.exit_code, refused.output) == (4, f"advrun: {ledger}: no ledger: {said}; {LEDGER}\n")
    assert not (place / "new").exists()


def test_the_folder_of_all_results_leads_to_that_of_one_run(toy_run):
    results = toy_run.parent / "results"
    refused = advrun("verify", results)
    assert refused.exit_code == 4
    assert refused.output.endswith(f"with finished cells; did you mean {results / 'toy'}?\n")


def test_a_system_is_named_for_a_model_alone(toy_run):
    refused = advrun("verify", toy_run.parent / "results/toy", "--system", "net seed 0")
    assert refused.exit_code == 2
    assert refused.output.endswith("--system says which system --model is; give --model FILE, or leave it out\n")


def test_torn_files_are_named_and_cost_no_other_cell(toy_run, tmp_path):
    root = tmp_path / "toy"
    shutil.copytree(toy_run.parent / "results/toy", root)
    row, manifest = next(root.glob("rows/*noise*.json")), next(root.glob("manifests/*fmn-l2-adaptive-????????.json"))
    for torn in (row, manifest):
        torn.write_bytes(torn.read_bytes()[:60])
    shown = advrun("status", toy_run, "--set", f"results={tmp_path}")
    assert shown.exit_code == 0
    assert "2 damaged" in shown.output.splitlines()[0]
    for torn in (row, manifest):
        assert f": {torn.relative_to(root)}: " in shown.output
    compared = advrun("compare", toy_run.parent / "results/toy", root)
    assert compared.exit_code == 0
    assert "clean" in compared.output
    for torn in (row, manifest):
        assert torn.name in compared.output
