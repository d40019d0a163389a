"""The threat transfer as it is run: two small classifiers, killed between cells, and the tables that follow."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from advrun.cli import main
from advrun.config import load
from advrun.report.crossing import matrices
from advrun.report.summary import summarise
from advrun.results import Result
from advrun.runs import runner
from advrun.runs.work import worker

pytestmark = pytest.mark.slow  # two systems are trained; tables and metrics have tests in report/ and attacks/

CONFIG = """
name: toy
data: {{name: arrays, path: {data}, validation: 0.2}}
models:
  - {{name: cnn, label: small, width: 4, blocks: 2}}
  - {{name: cnn, label: large, width: 6, blocks: 2}}
train: {{epochs: 1, batch_size: 32, learning_rate: 1e-2}}
attacks:
  - {{name: fgsm, eps: 64/255}}
  - {{name: noise, eps: 64/255, queries: 2, examples: 60}}
threats: [none, transfer]
results: {results}
compute: {{batch_size: 64}}
"""


def cli(*arguments: object):
    return CliRunner().invoke(main, list(map(str, arguments)))


def written(folder: Path, name: str, toy_data) -> Path:
    arrays = {each: getattr(toy_data, each) for each in ("x_train", "y_train", "x_test", "y_test")}
    np.savez(folder / "toy.npz", group_train=toy_data.group, class_names=np.array(toy_data.class_names), **arrays)
    path = folder / f"{name}.yaml"
    path.write_text(CONFIG.format(data=folder / "toy.npz", results=folder / name))
    return path


@pytest.fixture(scope="module")
def killed(tmp_path_factory, toy_data) -> Path:
    """A run that was interrupted before its second row of another model's examples, and then ended."""
    config = written(tmp_path_factory.mktemp("transfer"), "killed", toy_data)
    seen, work = [], worker.Worker.run

    def interrupted(self, cell) -> None:
        if cell.own is not None:
            seen.append(cell.label)
            if len(seen) == 2:
                raise KeyboardInterrupt
        work(self, cell)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker.Worker, "run", interrupted)
        assert cli("run", config).exit_code == 130
    half = {path.name: path.stat().st_mtime_ns for path in (config.parent / "killed/toy/examples").iterdir()}
    assert half
    ended = cli("run", config)
    assert ended.exit_code == 0, ended.output
    assert "transfers best within L∞ 64/255" in ended.output.replace("\n    ", " ")
    after = {path.name: path.stat().st_mtime_ns for path in (config.parent / "killed/toy/examples").iterdir()}
    assert half.items() <= after.items()  # nothing was crafted twice
    return config


def rows(config: Path) -> list[dict[str, object]]:
    found = json.loads((config.parent / config.stem / "toy/tables/accuracy.json").read_text())
    return [{name: value for name, value in row.items() if name != "seconds"} for row in found]


def test_every_system_meets_the_examples_of_every_other_model(killed):
    crossing = [row for row in rows(killed) if row["threat"] == "transfer"]
    systems = [(row["source"], row["model"], row["attack"]) for row in crossing]
    assert sorted(systems) == [
        (one, other, attack) for one, other in (("large", "small"), ("small", "large")) for attack in ("fgsm", "noise")
    ]
    assert {row["access"] for row in crossing} == {"blind"}
    others = [row for row in rows(killed) if row not in crossing]
    assert all(row["source"] in ("", f"{row['model']} / none") and row["transfer_share"] is None for row in others)
    assert {(row["attack"], row["access"]) for row in others} == {
        ("clean", ""),
        ("fgsm", "gradients"),
        ("noise", "scores"),
        ("worst case", ""),
    }


def test_columns_and_matrix_are_the_same_numbers(killed):
    """The metric counts on logits and the images' own file, the matrix on the rows: one answer."""
    with open(killed.parent / "killed/toy/tables/transfer.csv") as file:
        places = {(line["attack"], line["source"], line["target"]): line for line in csv.DictReader(file) if line["threat"] == "transfer"}
    crossing = [row for row in rows(killed) if row["threat"] == "transfer"]
    assert len(places) == len(crossing)
    for row in crossing:
        line = places[row["attack"], row["source"], row["model"]]
        assert (int(line["both_right"]), int(line["fooled_both"])) == (row["both_right"], row["fooled_both"])
        for said, column in (("transfer_share", "transfer_share"), ("low", "transfer_low_share"), ("same_class_share", "same_class_share")):
            assert line[said] == ("" if row[column] is None else str(row[column]))
    assert any(row["fooled_both"] for row in crossing)


def test_images_that_one_of_both_got_wrong_do_not_count(killed):
    """From the rows themselves, by hand."""
    found = [Result.read(path) for path in (killed.parent / "killed/toy/rows").glob("*.json")]
    clean = {result.row.model: result for result in found if result.row.attack == "clean"}
    (row,) = [each for each in found if (each.row.source, each.row.model, each.row.attack) == ("small", "large", "fgsm")]
    both = clean["small"].correct & clean["large"].correct
    assert 0 < both.sum() < len(both)
    matrix = next(each for each in matrices(summarise(found)) if each.attack.name == "fgsm")
    (place,) = [each for each in matrix.crossings if (str(each.source), str(each.target)) == ("small", "large")]
    assert (place.found.n, place.found.fooled) == (both.sum(), (both & ~row.correct).sum())


def test_the_pages_have_it(killed):
    place = killed.parent / "killed/toy"
    assert (place / "figures/transfer-fgsm-linf-64-255.png").stat().st_size > 5000
    assert "# toy: from model to model" in (place / "tables/transfer.md").read_text()
    page = (place / "report.html").read_text()
    assert page.count("the same wrong class, % of the images that fooled both</caption>") == 2
    assert "to do" not in cli("run", killed, "--dry-run").output


def test_without_the_threat_rows_are_what_they_were(killed):
    """The same keys: nothing is done again, and no row speaks of other models."""
    place = killed.parent / "killed/toy"
    assert all(status.done for status in runner.status(load(killed, ["threats=[none,adaptive]"]))[0])
    others = [path.read_bytes() for path in (place / "rows").glob("*.json") if "transfer" not in path.name]
    assert all(b'"source"' not in content and b'"access"' not in content for content in others)
    assert not list((place / "rows").glob("*transfer-from*.npz"))  # pictures of the same images are kept once


@pytest.mark.slow
def test_killed_for_real_it_ends_with_the_same_tables(killed, toy_data, tmp_path):
    config = written(tmp_path, "again", toy_data)
    shutil.copy(killed.parent / "toy.npz", tmp_path / "toy.npz")
    command = [sys.executable, "-m", "advrun", "run", str(config)]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while run.poll() is None and not list((tmp_path / "again/toy/rows").glob("*transfer-from*")):
        time.sleep(0.02)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    assert rows(config) == rows(killed)
