"""What a wrong file is told: one line for each problem, with its place, the value received and what was expected."""

from __future__ import annotations

import pytest

from advrun.config import load, loads
from advrun.errors import ConfigError

NAME = "a name of at most 100 letters, digits, '_', '.' and '-', the first a letter or digit"
EPS = "a number > 0, such as 8/255, or a list of them"
ATTACK = "an attack, such as {name: pgd, eps: 8/255}"
NEEDED = "expected a mapping, such as {attacks: [{name: fgsm, eps: 8/255}]}"
DATASETS = "expected a data set, such as {name: signs}; `advrun list datasets` has all names"
CRAFTERS = "expected the name of a white-box attack inside a ball, such as mifgsm"
TAKEN = "give this entry another label"
TARGETS = "one of random, least_likely, second, all, or a whole number from 0 to 10,000,000, or null"


def problems(text: str, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as error:
        loads(text, overrides, source="F")
    return str(error.value).splitlines()


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("atacks: []", 1, "atacks: unknown setting 'atacks' of the experiment; did you mean 'attacks'?"),
        ("train: {epoch: 3}", 9, "train.epoch: unknown setting 'epoch' of train; did you mean 'epochs'?"),
        ("train: {epochs: 0}", 17, "train.epochs: got 0; expected a whole number from 1 to 10,000,000"),
        ("train: {epochs: 2.5}", 17, "train.epochs: got 2.5; expected a whole number from 1 to 10,000,000"),
        ("train: {epochs: true}", 17, "train.epochs: got true; expected a whole number from 1 to 10,000,000"),
        ("train: {epochs: '3'}", 17, "train.epochs: got '3'; expected a whole number from 1 to 10,000,000, without quotes"),
        ("train: {epochs: 3000000000}", 17, "train.epochs: got 3000000000; expected a whole number from 1 to 10,000,000"),
        ("train: {learning_rate: 0}", 24, "train.learning_rate: got 0; expected a number > 0"),
        ("train: {learning_rate: 1e999}", 24, "train.learning_rate: got '1e999'; expected a number > 0"),
        ("train: 3", 8, "train: got 3; expected a mapping of settings"),
        ("train:", 7, "train: got null; expected a mapping of settings"),
        ("compute: {jit: maybe}", 16, "compute.jit: got 'maybe'; expected one of auto, on, off"),
        ("compute: {deterministic: no}", 26, "compute.deterministic: got 'no'; expected true or false"),
        ("seeds: [0, 1, 0]", 15, "seeds[2]: 0 is listed twice"),
        ("seeds: [-1]", 9, "seeds[0]: got -1; expected a whole number >= 0 and < 4294967296"),
        ("seeds: []", 8, "seeds: got an empty list; expected a list, each a whole number >= 0 and < 4294967296"),
        ("seeds: 3", 8, "seeds: got 3; expected a list, each a whole number >= 0 and < 4294967296"),
        ("name: a/b", 7, f"name: got 'a/b'; expected {NAME}"),
        ("name: ..", 7, f"name: got '..'; expected {NAME}"),
        ("name: 3", 7, f"name: got 3; expected {NAME}, in quotes"),
        ("description: 3", 14, "description: got 3; expected text, in quotes"),
        ("results: ''", 10, "results: got ''; expected the path of a folder"),
        ("", 1, f"got nothing; {NEEDED}"),
        ("[a]", 1, f"got a list; {NEEDED}"),
        ("a: [", 5, "not valid YAML: did not find expected node content while parsing a flow node"),
    ],
)
def test_a_problem_is_one_line_with_its_place(text, column, message):
    assert problems(text) == [f"F:1:{column}: {message}"]


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("data: {}", 7, f"data.name: missing; {DATASETS}"),
        ("data: {name: 3}", 14, f"data.name: got 3; {DATASETS}"),
        ("data: {name: signs, validation: 1}", 33, "data.validation: got 1; expected a number >= 0 and < 1"),
        ("models: []", 9, "models: got an empty list; expected a list, each a model, such as {name: lnet}"),
        ("models: [{name: lent}]", 17, "models[0].name: no model named 'lent'; did you mean 'lnet'?"),
        ("models: [{name: lnet}, {name: lnet}]", 24, f"models[1].label: 'lnet' is taken by models[0]; {TAKEN}"),
        ("attacks: [pgd]", 11, "attacks[0]: got 'pgd'; expected an attack, such as {name: pgd, eps: 8/255}"),
        ("attacks: [{name: pdg, eps: 1}]", 18, "attacks[0].name: no attack named 'pdg'; did you mean 'pgd'?"),
        ("attacks: [{name: pgd}]", 11, f"attacks[0].eps: missing; expected {EPS}"),
        ("attacks: [{name: pgd, epz: 1}]", 23, "attacks[0].epz: unknown setting 'epz' of attack 'pgd'; did you mean 'eps'?"),
        ("attacks: [{name: pgd, eps: 8}]", 28, "attacks[0].eps: eps is 8; images are in [0, 1], so write 8/255"),
        (
            "attacks: [{name: sparse_pgd, eps: [1, 0.5]}]",
            39,
            "attacks[0].eps[1]: eps is 0.5; in L0 it is how many values may change, 1 or more",
        ),
        ("attacks: [{name: fgsm, eps: [1, 300]}]", 33, "attacks[0].eps[1]: eps is 300; images are in [0, 1], so it is at most 1"),
        ("attacks: [{name: pgd, eps: [0.1, 0]}]", 34, "attacks[0].eps[1]: got 0; expected a number > 0, such as 8/255"),
        ("attacks: [{name: pgd, eps: '8/255'}]", 28, "attacks[0].eps: got '8/255'; expected a number > 0, such as 8/255, without quotes"),
        ("attacks: [{name: pgd, eps: []}]", 28, f"attacks[0].eps: got an empty list; expected {EPS}"),
        ("attacks: [{name: cw, eps: 1}]", 22, "attacks[0].eps: attack 'cw' takes no eps: it is not bounded by a ball"),
        ("attacks: [{name: cw, norm: linf}]", 28, "attacks[0].norm: got 'linf'; expected l2"),
        ("attacks: [{name: cw, preset: slow}]", 30, "attacks[0].preset: got 'slow'; expected one of fast, paper, or null"),
        ("attacks: [{name: bim, eps: 1, preset: slow}]", 31, "attacks[0].preset: attack 'bim' has no presets"),
        ("attacks: [{name: patch, share: 0}]", 32, "attacks[0].share: got 0; expected a number > 0 and <= 1"),
        ("attacks: [{name: transfer, eps: 1, attack: cw}]", 44, f"attacks[0].attack: got 'cw'; {CRAFTERS}"),
        ("attacks: [{name: substitute, eps: 1, attack: pdg}]", 46, f"attacks[0].attack: got 'pdg'; {CRAFTERS}"),
        ("attacks: [{name: cw, target: worst}]", 30, f"attacks[0].target: got 'worst'; expected {TARGETS}"),
        ("attacks: [{name: cw, label: clean}]", 29, f"attacks[0].label: 'clean' is taken by the tables themselves; {TAKEN}"),
        ("attacks: [{name: cw, label: worst case}]", 29, f"attacks[0].label: got 'worst case'; expected {NAME}"),
        ("defenses: [{name: hybrid, label: none}]", 34, f"defenses[0].label: 'none' is taken by the tables themselves; {TAKEN}"),
        (
            "defenses: [{name: hybrid, train: {epochs: -1}}]",
            43,
            "defenses[0].train.epochs: got -1; expected a whole number from 1 to 10,000,000",
        ),
    ],
)
def test_a_problem_of_an_entry_is_one_line_with_its_place(text, column, message):
    assert problems(text) == [f"F:1:{column}: {message}"]


@pytest.mark.parametrize(
    ("attack", "column", "message"),
    [
        ("{name: pgd, eps: [0.1]}", 52, "eps: got a list; expected a number > 0, such as 8/255"),
        ("{name: pgd, eps: 8}", 52, "eps: eps is 8; images are in [0, 1], so write 8/255"),
        ("{name: pgd, eps: 0.1, target: 3}", 57, "target: attack 'pgd' has no target inside a defence"),
        ("{name: pgd, eps: 0.1, stps: 3}", 57, "stps: unknown setting 'stps' of attack 'pgd'; did you mean 'steps'?"),
        ("{name: fgms, eps: 0.1}", 42, "name: no attack named 'fgms'; did you mean 'fgsm'?"),
    ],
)
def test_a_problem_of_an_attack_inside_a_defense(attack, column, message):
    assert problems(f"defenses: [{{name: hybrid, attack: {attack}}}]") == [f"F:1:{column}: defenses[0].attack.{message}"]


def test_all_problems_are_reported_in_the_order_of_the_file():
    text = (
        "seeds: [x]\ntrain: {epochs: 0, patience: x}\nattacks:\n  - {name: pgd, eps: 8, stps: 3}\n  - {nam: cw}\nmodels: [{name: lent}]\n"
    )
    places = [line.split(": ")[:2] for line in problems(text, "compute.jit=x", "seeds.3=1")]
    assert places == [
        ["--set seeds.3", "seeds has no entry 3; it has 1 entry, counted from 0"],
        ["--set compute.jit", "compute.jit"],
        ["F:1:9", "seeds[0]"],
        ["F:2:17", "train.epochs"],
        ["F:2:30", "train.patience"],
        ["F:4:22", "attacks[0].eps"],
        ["F:4:25", "attacks[0].stps"],
        ["F:5:5", "attacks[1].name"],
        ["F:6:17", "models[0].name"],
    ]


def test_an_eps_above_one_is_fine_in_l2():
    assert loads("attacks: [{name: pgd, norm: l2, eps: 1.5}]").attacks[0].eps == (1.5,)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("attacks: [{pgd: {eps: 8/255}}]", "1:11", "attacks[0].name: missing; write {name: pgd, ...}"),
        ("attacks: [{name:pgd, eps: 8/255}]", "1:11", "attacks[0].name: missing; write {name: pgd, ...}"),
        ("attacks: [{eps: 8/255}]", "1:11", f"attacks[0].name: missing; expected {ATTACK}; `advrun list attacks` has all names"),
        ("attacks: pgd", "1:10", f"attacks: got 'pgd'; expected a list, each {ATTACK}"),
        (
            "defenses: trades",
            "1:11",
            "defenses: got 'trades'; expected a list, each a defence, such as {name: autoencoder}, or a list of such",
        ),
        ("attacks: [{name: pgd, eps: 255/8}]", "1:28", "attacks[0].eps: eps is 31.875; images are in [0, 1], so write 8/255"),
        ("attacks: [{name: pgd, eps: 8 / 255}]", "1:28", "attacks[0].eps: got '8 / 255'; expected a number > 0, such as 8/255"),
        ("attacks:\n  -\tname: pgd\n    eps: 1\n", "2:4", "a tab in the indentation; YAML indents with spaces"),
        ("bounds: [{name: smoothing, norm: linf}]", "1:34", "bounds[0].norm: got 'linf'; expected l2"),
        ("defenses: [{name: adversarial_training, ratio: 1.5}]", "1:48", "defenses[0].ratio: got 1.5; expected a number >= 0 and <= 1"),
    ],
)
def test_what_a_careless_hand_writes_is_told_what_to_write(text, line, message):
    assert problems(text) == [f"F:{line}: {message}"]


def test_a_file_name_that_cannot_name_a_folder_is_refused(tmp_path):
    path = tmp_path / "my experiment.yaml"
    path.write_text("seeds: [0]")
    with pytest.raises(ConfigError, match=r"my experiment.yaml:1:1: name: got 'my experiment'; expected a name of"):
        load(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"missing\.yaml: cannot be read: No such file or directory"):
        load(tmp_path / "missing.yaml")
