"""What `advrun list` and `advrun show` say, and that what they say is true."""

from __future__ import annotations

import io
import json
import runpy
import sys
import types

import pytest

from advrun import attacks, registry
from advrun.attack import Attack
from advrun.config import describe, loads
from advrun.config.entries import settings_of
from advrun.errors import ConfigError, PluginError
from advrun.registry import KINDS

ENTRIES = [(section, entry.kind, name) for section, entry in describe.SECTIONS.items() for name in registry.names(entry.kind)]


@pytest.mark.parametrize("kind", KINDS)
def test_tables_have_a_row_for_each_plugin(kind):
    rows = describe.table(kind)
    assert [row["name"] for row in rows] == registry.names(kind)
    assert all(row["summary"] for row in rows)
    assert json.loads(json.dumps(rows)) == rows
    heading, *lines = describe.aligned(rows).splitlines()
    assert heading.split()[0] == "name"
    assert len(lines) == len(rows)


def test_the_table_of_attacks_says_what_they_can_do():
    rows = {row["name"]: row for row in describe.table("attacks")}
    assert {key: rows["pgd"][key] for key in ("norms", "budget", "access", "targeted")} == {
        "norms": ["linf", "l2"],
        "budget": "ball",
        "access": "gradients",
        "targeted": True,
    }
    assert (rows["cw"]["norms"], rows["cw"]["budget"]) == (["l2"], "minimal")


@pytest.mark.parametrize(
    ("signature", "cost", "message"),
    [
        ("model: Gradients, x, y: Labels, ball: Linf, rgn", "", "the runner hands over no 'rgn'; did you mean 'rng'"),
        ("model, x, y: Labels, ball: Linf", "", "'model' has no annotation"),
        ("model: Gradients, x, y: Labels, ball: Linf, norm: Linf", "", "a ball or, for the nearest image, a norm"),
        ("model: Gradients, x, y: Labels, ball: Linf, *, steps: Count = 1", "stepz", r"cost\(\) asks for 'stepz'.*mean 'steps'"),
        (
            "model: Gradients, x, y: Labels, ball: Linf, *, rho: Positive = 1.0",
            "",
            "Args: explains 'roh', which is no parameter.*mean 'rho'",
        ),
    ],
)
def test_signatures_that_cannot_be_meant_are_refused(monkeypatch, signature, cost, message):
    source = "from advrun.system import *\nfrom advrun.geometry import *\nfrom advrun.types import *\n"
    doc = "'What it does.\\n\\nArgs:\\n    roh: what it is.\\n'" if "rho" in signature else "''"
    source += f"def mine({signature}): {doc}\ndef cost({cost}): ...\n"
    module = types.ModuleType("mine")
    exec(source, vars(module))
    module.mine.__module__ = "mine"
    monkeypatch.setitem(sys.modules, "mine", module)
    monkeypatch.setattr(registry, "names", lambda kind: ["mine"])
    monkeypatch.setattr(registry, "load", lambda kind, name: module.mine)
    with pytest.raises(PluginError, match=message):
        registry.get.__wrapped__("attacks", "mine")


def test_a_broken_file_is_named_with_its_line(tmp_path, monkeypatch):
    path = tmp_path / "mine.py"
    path.write_text("\nanswer = no_such_name\n")
    monkeypatch.setattr(registry.importlib, "import_module", lambda name: runpy.run_path(path))
    with pytest.raises(PluginError, match=r"advrun/attacks/mine.py:2 cannot be imported: NameError"):
        registry.load("attacks", "mine")


def test_a_broken_file_does_not_stop_the_others(monkeypatch):
    def load(kind, name, load=registry.load):
        if name == "mine":
            raise PluginError("advrun/attacks/mine.py cannot be imported")
        return load(kind, name)

    names = [*registry.names("attacks"), "mine"]
    monkeypatch.setattr(registry, "names", lambda kind: names)
    monkeypatch.setattr(registry, "load", load)
    assert attacks.pgd.plugin.name == "pgd"
    with pytest.raises(PluginError, match=r"mine\.py cannot be imported"):
        attacks.mine(None, None, None)
    broken = next(row for row in describe.table("attacks") if row["name"] == "mine")
    assert broken["summary"] == "broken: advrun/attacks/mine.py cannot be imported"


def test_effort_is_what_the_cost_depends_on():
    def budget(name, **settings):
        plugin = registry.get("attacks", name)
        return Attack(plugin, None, settings_of(plugin, settings)).budget()

    assert budget("tifgsm") == "10 steps"
    assert budget("hopskipjump", queries=400) == "400 queries"
    assert budget("square", queries=1) == "1 queries"
    assert budget("substitute") == "150 images x 6 rounds x 10 epochs"
    assert budget("cw") == "5 search steps x 100 steps"
    assert budget("apgd") == "100 steps"
    assert budget("apgd", loss="targeted_dlr") == "100 steps x 9 targets"


def test_columns_line_up():
    text = describe.aligned([{"a": True, "long": ["x", "y"], "c": "end"}, {"a": False, "long": [], "c": "e"}])
    assert text == "a    long  c\nyes  x y   end\nno         e"
    assert describe.aligned([]) == "(none)"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [80, 100, 200])
def test_lists_fit_the_width(kind, width):
    heading, *lines = describe.aligned(describe.table(kind), width).splitlines()
    assert max(map(len, [heading, *lines])) <= width
    start = heading.index("summary")
    assert all(line[start - 2 : start] == "  " and line[start] != " " for line in lines)
    assert ("cost" in heading.split()) == (kind == "attacks" and width >= 120)
    assert any(line.endswith("…") for line in lines) or width == 200


def test_a_list_for_a_terminal_without_unicode_has_none(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="latin-1"))
    shown = describe.aligned(describe.table("attacks"), 80)
    assert shown.isascii()
    assert "..." in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_filters_are_what_the_rows_say():
    rows = describe.table("attacks")

    def names(**wanted) -> set[str]:
        return {row["name"] for row in describe.chosen(rows, **wanted)}

    assert names() == {row["name"] for row in rows}
    assert {"cw_l0", "jsma", "fmn"} <= names(norm="l0")
    assert not {"pgd", "cw", "spatial"} & names(norm="l0")
    assert {"boundary", "geoda"} <= names(access="decisions") <= names() - names(access="scores") - names(access="gradients")
    assert names(targeted=True) | names(targeted=False) == names()
    assert "deepfool" in names(targeted=False)
    assert names(budget="minimal", norm="l1", access="gradients", targeted=True) >= {"ead", "fmn", "fab"}
    assert names(about="GAUSSIAN") == {row["name"] for row in rows if "gaussian" in row["summary"].lower()}
    assert names(norm="l0", access="blind") == set()


def test_find_looks_in_every_folder():
    assert describe.find("pgd") == [("attacks", "pgd")]
    assert describe.find("distance") == [("metrics", "distance")]
    with pytest.raises(ConfigError, match=r"nothing is named 'pdg'; did you mean 'pgd'\?"):
        describe.find("pdg")


def test_text_says_it_all():
    text = describe.text("attacks", "cw")
    for part in (
        "cw: attack, advrun/attacks/cw.py",
        "arXiv:1608.04644",
        "budget:   minimal",
        "  steps: a whole number from 1 to 10,000,000; default 100\n      Adam iterations",
        "  label: a name",
        "  paper: {search_steps: 9, steps: 10000}",
        "    - {name: cw, search_steps: 5",
    ):
        assert part in text
    assert "Args:" not in text
    assert "  eps: a number > 0, such as 8/255, or a list of them; required" in describe.text("attacks", "pgd")


@pytest.mark.parametrize("kind", KINDS)
def test_every_plugin_can_be_explained(kind):
    for name in registry.names(kind):
        text = describe.text(kind, name)
        assert all(f"  {key}: " in text for key in registry.get(kind, name).settings)


@pytest.mark.parametrize(("section", "kind", "name"), ENTRIES)
def test_examples_load(section, kind, name):
    experiment = loads(describe.example(registry.get(kind, name), section))
    entry = experiment.data if section == "data" else getattr(experiment, section)[0]
    assert entry.name == name
