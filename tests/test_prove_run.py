"""`advrun prove` as a user types it: it trains, tests, tells, and stands in the report; again it does nothing, and killed it goes on."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from advrun.cli import main

CONFIG = """
name: toy
data: {{name: arrays, path: {data}, validation: 0.2}}
models: [{{name: cnn, width: 4, blocks: 2}}]
train: {{epochs: 3, batch_size: 32, learning_rate: 1e-2}}
attacks:
  - {{name: pgd, eps: 24/255, steps: 40}}
  - {{name: pgd, label: lazy, eps: 24/255, steps: 1, step_size: 1e-3}}
  - {{name: stadv, steps: 2, examples: 10}}
results: {results}
"""


def advrun(*arguments: str):
    return CliRunner().invoke(main, list(map(str, arguments)))


@pytest.fixture
def config(tmp_path, toy_data):
    arrays = {name: getattr(toy_data, name) for name in ("x_train", "y_train", "x_test", "y_test")}
    np.savez(tmp_path / "toy.npz", group_train=toy_data.group, class_names=np.array(toy_data.class_names), **arrays)
    (tmp_path / "toy.yaml").write_text(CONFIG.format(data=tmp_path / "toy.npz", results=tmp_path / "results"))
    return tmp_path / "toy.yaml"


def proofs(folder) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted((folder / "proofs").glob("*-*.json"))]


@pytest.mark.slow
def test_prove_tells_a_lazy_attack_from_one_that_works(config, tmp_path):
    ran = advrun("prove", config, "--images", 24)
    assert ran.exit_code == 0, ran.output
    folder = tmp_path / "results/toy"
    table = (folder / "tables/prove.md").read_text()
    assert "TOO WEAK" in table
    assert "too few images to tell" in table  # 24 at most, whatever it found
    assert "95 % can be told from 59 planted examples on: take --images " in table
    assert "strong enough" not in table.split("\n\n")[1]
    assert "not tested: it has no norm" in table
    found = {each["attack"]: each for each in proofs(folder)}
    assert found["pgd"]["found"] >= 0.95 * found["pgd"]["n"] > 0
    assert found["lazy"]["found"] < 0.5 * found["lazy"]["n"]
    stamps = {path: path.stat().st_mtime_ns for path in (folder / "proofs").glob("*-*.json")}
    (folder / "manifests" / next(path.stem for path in stamps if "-pgd-" in path.name)).with_suffix(".json").unlink()  # as if killed there
    again = advrun("prove", config, "--images", 24)
    assert again.exit_code == 0, again.output
    assert [path.name for path, stamp in stamps.items() if path.stat().st_mtime_ns != stamp] == [
        path.name for path in stamps if "-pgd-" in path.name
    ]
    assert proofs(folder) == list(found.values()) or {each["attack"]: each for each in proofs(folder)} == found

    ran = advrun("run", config)
    assert ran.exit_code == 0, ran.output
    rows = {row["attack"]: row for row in json.loads((folder / "tables/accuracy.json").read_text())}
    assert "too-weak" in rows["lazy"]["flags"]
    assert "too-weak" not in rows["pgd"]["flags"] + rows["worst case"]["flags"]
    assert rows["pgd"]["planted_score"] >= 0.95
    assert rows["pgd"]["access"] == "gradients"
    assert rows["pgd"]["source"] == "cnn / none"
    assert "Is the evaluation strong enough?" in (folder / "report.html").read_text()


@pytest.mark.slow
def test_beside_a_detector_the_table_says_what_is_found_without_knowing_it(config, tmp_path):
    chosen = "attacks=[{name: pgd, eps: 24/255, steps: 40}]", "defenses=[{name: mahalanobis, false_positives: 0.2}]"
    ran = advrun("prove", config, "--images", 24, "--set", chosen[0], "--set", chosen[1])
    assert ran.exit_code == 0, ran.output
    table = (tmp_path / "results/toy/tables/prove.md").read_text()
    assert "not knowing the detector, %" in table
    plain, guarded = sorted(proofs(tmp_path / "results/toy"), key=lambda each: each["defense"] != "none")
    assert plain["unguarded"] is None
    assert guarded["reason"] == ""
    assert 0 <= guarded["unguarded"] <= guarded["found"] <= guarded["n"]
    assert guarded["n"] + guarded["left_out"] == 24


def test_without_attacks_there_is_nothing_to_test(config):
    refused = advrun("prove", config, "--set", "attacks=[]")
    assert refused.exit_code == 3
    assert len(refused.output.strip().splitlines()) == 1
