"""What a cell's result depends on: the code that it runs, and no other."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from advrun import folders, registry
from advrun.registry import PACKAGE
from advrun.runs import keys

WORK = {"models": "train", "defenses": "train", "attacks": "attack", "metrics": "metric"}
PLUGINS = [(kind, name) for kind in WORK for name in registry.names(kind)]


@pytest.fixture(autouse=True)
def forgetful():
    """No key of an edited file outlives its test."""
    yield
    for cached in (keys.source_key, keys.work_key, keys.imported, keys.code):
        cached.cache_clear()


def names(files: list[Path]) -> set[str]:
    return {file.relative_to(PACKAGE).as_posix() for file in files}


@pytest.mark.parametrize(
    ("kind", "name", "among_them"),
    [
        ("models", "lnet", {"models/lnet.py", "engine/training.py", "losses.py", "train.py", "runs/work/train.py"}),
        ("attacks", "pgd", {"attacks/pgd.py", "attacks/_ascent.py", "attack.py", "craft.py", "engine/loops.py", "geometry.py"}),
        ("attacks", "universal", {"attacks/deepfool.py"}),
        ("attacks", "cw_l0", {"attacks/cw.py"}),
        ("attacks", "geoda", {"attacks/simba.py"}),
        ("attacks", "transfer", {"models/cnn.py", "train.py"}),
        ("metrics", "distance", {"metrics/distance.py", "evaluate.py", "results.py", "geometry.py"}),
    ],
)
def test_a_result_depends_on_the_code_that_makes_it(kind, name, among_them):
    assert among_them <= names(keys.sources(kind, name, WORK[kind]))


def test_training_depends_on_no_attack_and_no_report():
    assert not {
        name for name in names(keys.sources("models", "lnet", "train")) if re.match("attacks/|report/|craft|results|runs/plan", name)
    }


def neighbours(kind: str, name: str) -> set[str]:
    """Files of the plugin's folder that it uses, found in another way than `keys` does: by the text of their imports."""
    found, waiting = set(), {name}
    while waiting:
        each = waiting.pop()
        found.add(each)
        text = (PACKAGE / kind / f"{each}.py").read_text()
        used = set(re.findall(rf"from advrun\.{kind}\.(\w+) import", text))
        for line in re.findall(rf"from advrun\.{kind} import (.+)", text):
            used |= set(re.findall(r"(\w+)(?: as \w+)?", line)) & {file.stem for file in (PACKAGE / kind).glob("*.py")}
        waiting |= used - found
    return found


@pytest.mark.parametrize(("kind", "name"), PLUGINS, ids=lambda value: value)
def test_an_edit_makes_those_cells_anew_that_use_the_file_and_no_others(kind, name):
    own = {
        Path(each).stem for each in names(keys.sources(kind, name, WORK[kind])) if each.startswith(f"{kind}/") and "__init__" not in each
    }
    assert own == neighbours(kind, name)


def test_an_edited_file_changes_the_keys_of_its_users(tmp_path, monkeypatch):
    shutil.copytree(PACKAGE, tmp_path / "advrun", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(folders, "PACKAGE", tmp_path / "advrun")

    def key(name: str) -> str:
        forgetful_caches = (keys.source_key, keys.work_key, keys.imported, keys.code)
        for cached in forgetful_caches:
            cached.cache_clear()
        return keys.source_key("attacks", name, "attack")

    before = {name: key(name) for name in ("universal", "pgd", "deepfool", "corruptions")}
    with open(tmp_path / "advrun/attacks/deepfool.py", "a") as file:
        file.write("\nCHANGED = 1\n")
    assert {name for name in before if key(name) != before[name]} == {"universal", "deepfool"}
    with open(tmp_path / "advrun/jpeg.py", "a") as file:
        file.write("\nCHANGED = 1\n")
    assert key("corruptions") != before["corruptions"]
    assert key("pgd") == before["pgd"]


def test_the_attack_that_a_setting_names_belongs_to_the_key():
    described = {
        attack: str(keys.described("attacks", "transfer", {"models": (), "attack": attack, "images": 1, "epochs": 1}))
        for attack in ("pgd", "mifgsm")
    }
    assert keys.source_key("attacks", "mifgsm") in described["mifgsm"]
    assert keys.source_key("attacks", "mifgsm") not in described["pgd"]


def test_a_result_does_not_depend_on_comments_and_docstrings(tmp_path):
    file = tmp_path / "attack.py"
    codes = []
    for source in ('"""Text."""\na = 1', '"""Another text."""\n\na = 1  # comment', "a = 2"):
        file.write_text(source)
        keys.code.cache_clear()
        codes.append(keys.code(file))
    assert codes[0] == codes[1] != codes[2]
