"""What is wrong on the command line, whatever a configuration says: exit code 2; and options that commands share."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from advrun.cli import main

WRONG = [
    (["run", "x.yaml", "--shard", "3/2"], "--shard': got '3/2'; expected I/N with 1 <= I <= N, such as 2/8"),
    (["attack", "x.yaml", "--shard", "x"], "--shard': got 'x'; expected I/N"),
    (["run", "x.yaml", "--pool", "processes:0"], "--pool': pool 'processes:0': got '0' workers; expected a whole number from 1 to 4096"),
    (["prove", "x.yaml", "--pool", "proceses"], "--pool': pool 'proceses': 'proceses' is unknown; did you mean 'processes'?"),
    (["train", "x.yaml", "--pool", ""], "--pool': pool '': '' is unknown"),
    (["run", "x.yaml", "--set", "attacks.0.eps"], "--set': attacks.0.eps: expected PATH=VALUE, such as attacks.0.eps=4/255"),
    (["verify", "x", "--set", "=3"], "--set': =3: expected PATH=VALUE"),
    (["check", "x.yaml", "--set", "attacks=[{name: pgd"], "--set': attacks:1:12: not valid YAML"),
    (
        ["report", "x.yaml", "--fail-under", "none: 3"],
        "--fail-under': 'none: 3': got '3' behind the last colon; expected a share from 0 to 1",
    ),
    (["show", "pdg"], "nothing is named 'pdg'; did you mean 'pgd'?"),
    (["check", "--contract", "attacks/pdg"], "--contract': nothing is named 'pdg'; did you mean 'pgd'?"),
    (["print", "x.yaml", "--sign-cm", "0"], "--sign-cm': got '0'; expected the width of the sign, 2 to 300 cm"),
    (["print", "x.yaml", "--sign-cm", "nan"], "--sign-cm': got 'nan'; expected the width of the sign"),
    (["prove", "x.yaml", "--images", "0"], "--images': 0 is not in the range x>=1"),
]


@pytest.mark.parametrize(("arguments", "said"), WRONG, ids=lambda each: " ".join(each) if isinstance(each, list) else "")
def test_a_wrong_value_of_an_option_is_a_wrong_command_line(arguments, said):
    refused = CliRunner().invoke(main, arguments)
    assert refused.exit_code == 2
    usage, *_, line = refused.output.splitlines()
    assert usage.startswith("Usage: ")
    assert line.startswith("Error: Invalid value for '")
    assert said in line


def test_what_a_configuration_could_make_right_is_its_fault(tmp_path):
    (tmp_path / "x.yaml").write_text("attacks: [{name: pgd, eps: 8/255}]\n")
    refused = CliRunner().invoke(main, ["run", str(tmp_path / "x.yaml"), "--set", "attacks.7.eps=1/255"])
    assert refused.exit_code == 3
    assert refused.output == "advrun: --set attacks.7.eps: attacks has no entry 7; it has 1 entry, counted from 0\n"


def test_the_plan_of_a_test_is_shown_and_nothing_computed(toy_run, tmp_path):
    asked = ["prove", str(toy_run), "--set", f"results={tmp_path / 'results'}", "--dry-run", "--pool", "processes:2"]
    shown = CliRunner().invoke(main, asked)
    assert shown.exit_code == 0, shown.output
    train, noise, fmn, done, rest = shown.output.splitlines()
    assert train.startswith("to do  train   train    net seed 0  (about ")
    assert noise.startswith("to do  attack  prove    net seed 0 noise linf 24 over 255 prove  (about ")
    assert fmn.startswith("to do  attack  prove    net seed 0 fmn l2 prove  (about ")
    assert done == "0 of 3 cells are done"
    assert rest.startswith("the rest takes about ")
    assert "with processes:2 (2 workers; a guess" in rest
    assert not (tmp_path / "results").exists()
    lines = [json.loads(line) for line in CliRunner().invoke(main, [*asked, "--json", "--images", "20"]).output.splitlines()]
    assert [(line["kind"], line["done"], line["seconds"] > 0) for line in lines] == [("train", False, True)] + [("prove", False, True)] * 2
