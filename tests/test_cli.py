"""The command line as a person types it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from advrun import registry
from advrun.cli import main
from advrun.config import load

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))


def advrun(*arguments: str):
    return CliRunner().invoke(main, list(map(str, arguments)))


def test_help_names_every_command():
    shown = advrun("--help")
    assert shown.exit_code == 0
    for command in ("train", "attack", "defend", "report", "run", "check", "schema", "list", "show", "data", "doctor"):
        assert f"\n  {command} " in shown.output


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.name)
def test_shipped_configs_load_and_fit_the_schema(config):
    load(config)
    schema = json.loads(advrun("schema").output)
    jsonschema.validate(yaml.safe_load(config.read_text()), schema)
    head = config.read_text().split("\nname:")[0]
    assert f"advrun run configs/{config.name}" in head
    assert "minutes" in head


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.name)
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
    [(["run", "absent.yaml"], 3), (["show", "pdg"], 3), (["nonsense"], 2), (["list", "nonsense"], 2), (["run"], 2)],
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
