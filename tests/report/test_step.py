"""The summary for CI: appended, escaped, never too long, and no reason to fail unless it was asked for."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from advrun.errors import WriteError
from advrun.report import step
from advrun.report.gates import Demands, in_markdown, parse
from advrun.report.summary import summarise
from tests.report._sample import findings


def test_it_is_appended_where_the_environment_or_the_option_says(tmp_path, monkeypatch):
    said: list[str] = []
    monkeypatch.delenv(step.VARIABLE, raising=False)
    step.add("nowhere", None, said.append)
    monkeypatch.setenv(step.VARIABLE, str(tmp_path / "env.md"))
    step.add("one", None, said.append)
    step.add("two", None, said.append)
    step.add("three", tmp_path / "given.md", said.append)
    assert (tmp_path / "env.md").read_text() == "one\ntwo\n"
    assert (tmp_path / "given.md").read_text() == "three\n"
    assert not said


def test_where_it_cannot_be_written(tmp_path, monkeypatch):
    said: list[str] = []
    monkeypatch.setenv(step.VARIABLE, str(tmp_path))
    step.add("one", None, said.append)
    assert len(said) == 1
    assert str(tmp_path) in said[0]
    with pytest.raises(WriteError, match="give --summary another file"):
        step.add("one", tmp_path / "no" / "folder.md", said.append)


def test_what_is_too_long_ends_with_a_whole_line_and_says_so(tmp_path):
    text = "\n".join(f"line {number} é" for number in range(100_000))
    file = tmp_path / "x.md"
    step.add(text, file, pytest.fail)
    content = file.read_bytes()
    assert step.MOST - 100 < len(content) <= step.MOST
    kept, cut = content.decode().split(step.CUT)
    assert cut == ""
    assert text.startswith(kept)
    assert kept.endswith("é")
    step.add(text, file, pytest.fail)
    assert file.stat().st_size <= step.MOST
    assert step.fitting("x", 2) == b"x\n"


def test_headline_gates_table_and_flags_stand_in_it_as_text():
    nasty = "<b>|`x`\n# y"
    found = replace(findings(galleries=False), title=nasty)
    summary = summarise(found.results)
    demands = Demands((parse("hybrid/adaptive@8/255: 0.999"), parse("none/clean: 0.1")))
    text = in_markdown(found, summary, demands.judge(summary), ["flagged <i>"])
    assert "<b>" not in text
    assert "<i>" not in text
    assert "\n# y" not in text
    title, gates, *_ = text.split("\n\n")
    assert title.startswith("# ")
    assert gates == "## Gates"
    lines = [line for line in text.splitlines() if "@8/255" in line or "none/clean" in line]
    assert ["**broken**" in line for line in lines] == [True, False]
    assert "| hybrid" in text
    assert "±" in text
    assert os.linesep.join(["", "- **broken** flagged &lt;i&gt;"]) in text
