"""What a cell's result depends on."""

from __future__ import annotations

import pytest

from advrun import plan, registry


@pytest.mark.parametrize(
    ("kind", "name", "work", "among_them"),
    [
        ("models", "lnet", "train", {"models/lnet.py", "engine/training.py", "losses.py"}),
        ("attacks", "pgd", "attack", {"attacks/pgd.py", "attacks/_ascent.py", "attack.py", "craft.py", "engine/loops.py", "geometry.py"}),
        ("metrics", "distance", "measure", {"metrics/distance.py", "evaluate.py", "results.py", "geometry.py"}),
    ],
)
def test_a_result_depends_on_the_code_that_makes_it(kind, name, work, among_them):
    files = plan.sources(kind, name, work)
    assert among_them <= {file.relative_to(registry.PACKAGE).as_posix() for file in files}
    assert all(file.is_file() for file in files)


def test_a_result_does_not_depend_on_comments_and_docstrings(tmp_path, monkeypatch):
    file = tmp_path / "attack.py"
    monkeypatch.setattr(plan, "sources", lambda *which: [file])
    keys = []
    for source in ('"""Text."""\na = 1', '"""Another text."""\n\na = 1  # comment', "a = 2"):
        file.write_text(source)
        plan.source_key.cache_clear()
        plan._code.cache_clear()
        keys.append(plan.source_key("attacks", "any", "attack"))
    plan.source_key.cache_clear()
    plan._code.cache_clear()
    assert keys[0] == keys[1] != keys[2]
