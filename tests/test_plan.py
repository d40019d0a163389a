"""What a cell's result depends on."""

from __future__ import annotations

import shutil

import pytest

from advrun import plan, registry


@pytest.mark.parametrize(
    ("file", "kind", "name", "work"),
    [
        ("attacks/pgd.py", "attacks", "pgd", "attack"),
        ("attacks/_ascent.py", "attacks", "pgd", "attack"),
        ("attack.py", "attacks", "pgd", "attack"),
        ("craft.py", "attacks", "pgd", "attack"),
        ("engine/loops.py", "attacks", "pgd", "attack"),
        ("engine/training.py", "models", "lnet", "train"),
        ("geometry.py", "attacks", "pgd", "attack"),
        ("evaluate.py", "metrics", "distance", "measure"),
    ],
)
def test_a_result_depends_on_the_code_that_makes_it_not_on_its_comments(file, kind, name, work, tmp_path, monkeypatch):
    keys = []
    for number, line in enumerate(("", "\n# a comment\n", "\nCHANGED = 1\n")):
        package = tmp_path / str(number)
        shutil.copytree(registry.PACKAGE, package)
        with (package / file).open("a") as source:
            source.write(line)
        monkeypatch.setattr(registry, "PACKAGE", package)
        plan.source_key.cache_clear()
        keys.append(plan.source_key(kind, name, work))
    plan.source_key.cache_clear()
    assert keys[0] == keys[1] != keys[2]


def test_all_code_that_a_result_depends_on_exists():
    assert all(
        (registry.PACKAGE / name).is_dir() or (registry.PACKAGE / f"{name}.py").is_file() for names in plan.CORE.values() for name in names
    )
