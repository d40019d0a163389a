"""What the READMEs print as code works when it is typed: the examples keep the contract, and the core attack is the one that is there."""

from __future__ import annotations

import ast
import re

import pytest
from click.testing import CliRunner

from advrun import folders
from advrun.cli import main

from .conftest import EXAMPLE

READMES = {kind: (folders.PACKAGE / kind / "README.md").read_text() for kind in folders.KINDS}
EXAMPLES = [path.removesuffix(".py") for text in READMES.values() for path, _ in EXAMPLE.findall(text)]
UNITS = [unit for unit in EXAMPLES if not unit.startswith("layers/")]
LONG = {"attacks/walk", "defenses/dither", "defenses/noise_training", "models/allconv"}


def advrun(*arguments: str):
    return CliRunner().invoke(main, list(arguments))


def test_every_kind_has_a_whole_example():
    assert {unit.split("/")[0] for unit in EXAMPLES} == {*folders.KINDS, folders.LAYERS}


@pytest.mark.parametrize("unit", [pytest.param(unit, marks=pytest.mark.slow if unit in LONG else ()) for unit in UNITS])
def test_the_example_keeps_the_contract(unit, added):
    checked = advrun("check", "--contract", unit, "--plugins", str(added))
    assert checked.exit_code == 0, checked.output
    assert f"{unit} keeps the contract" in checked.output
    assert len(re.findall("^ok ", checked.output, re.MULTILINE)) >= 6
    assert advrun("show", unit).exit_code == 0


def test_the_attack_that_is_shown_is_the_one_that_is_there():
    shown = next(block for block in re.findall("```python\n(.*?)```", READMES["attacks"], re.DOTALL) if "def fgsm" in block)
    file = (folders.PACKAGE / "attacks/fgsm.py").read_text()
    assert ast.dump(ast.parse(shown)) == ast.dump(ast.parse(file))


def test_the_purifier_of_the_first_page_is_the_one_that_is_tried():
    """Which keeps the contract, above."""
    (shown,) = re.findall("```python\n# mine/defenses/levels.py\n(.*?)```", (folders.PACKAGE.parent / "README.md").read_text(), re.DOTALL)
    (tried,) = (code for path, code in EXAMPLE.findall(READMES["defenses"]) if path == "defenses/levels.py")
    assert shown == tried


@pytest.mark.parametrize("kind", folders.KINDS)
def test_what_the_readme_names_exists(kind):
    """Files, helpers, and what is imported."""
    text = READMES[kind]
    for file in re.findall(r"advrun/[\w/]+\.(?:py|md)", text):
        assert (folders.PACKAGE.parent / file).is_file(), file
    for file in re.findall(r"(?<![/\w])`(_?\w+\.py)`", text):
        assert (folders.PACKAGE / kind / file).is_file(), file
    for name in set(re.findall(r"`(?:Count|Natural|Positive|NonNegative|Fraction|Share|FilePath|AttackChoice)`", text)):
        assert hasattr(__import__("advrun.types", fromlist=["types"]), name.strip("`"))
