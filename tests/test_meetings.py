"""Which examples meet which system: the threats, the meetings that follow from them, and the cells of a plan."""

from __future__ import annotations

import pytest

from advrun import registry
from advrun.config import loads
from advrun.data import Dataset
from advrun.errors import ConfigError, PluginError
from advrun.runs import meetings
from advrun.runs.meetings import Cast, meet
from advrun.runs.plan import Cell, make_plan
from advrun.types import SystemName

TWO = """
models: [{name: lnet}, {name: cnn}]
attacks: [{name: fgsm, eps: [0.1, 0.2]}, {name: ddn}]
defenses: [{name: autoencoder}, {name: hybrid}]
"""
A, A_HYBRID, B, B_HYBRID = (SystemName(model, defense) for model in ("a", "b") for defense in ("none", "hybrid"))


def said(threat: str, **settings: str) -> set[tuple[str, str]]:
    function = registry.get("threats", threat).function
    systems = (A, A_HYBRID, B, B_HYBRID)
    return {(str(source), str(target)) for source in systems for target in systems if function(source=source, target=target, **settings)}


def test_what_each_threat_lets_meet() -> None:
    assert said("static") == {("a", "a / hybrid"), ("b", "b / hybrid")}
    assert said("adaptive") == {(str(each), str(each)) for each in (A, A_HYBRID, B, B_HYBRID)}
    assert said("transfer") == {("a", "b"), ("a", "b / hybrid"), ("b", "a"), ("b", "a / hybrid")}
    all_sources = said("transfer", sources="all")
    assert all_sources > said("transfer")
    assert ("a / hybrid", "a") in all_sources
    assert not all_sources & (said("static") | said("adaptive"))
    assert len(all_sources | said("static") | said("adaptive")) == 16


def planned(text: str, data: Dataset) -> tuple[Cell, ...]:
    return make_plan(loads(text), data).cells


def rows(cells: tuple[Cell, ...]) -> list[Cell]:
    return [cell for cell in cells if cell.kind == "measure"]


def test_without_threats_the_plan_is_the_one_it_always_was(toy_data: Dataset) -> None:
    """Six systems, three attacks: a clean row each, replays on the four defended ones, adaptive attacks on all."""
    cells = planned(TWO, toy_data)
    assert [cell.key for cell in cells] == [cell.key for cell in planned(TWO + "threats: [none, static, adaptive]\n", toy_data)]
    threats = [cell.threat for cell in rows(cells)]
    assert (threats.count("none"), threats.count("static"), threats.count("adaptive"), len(threats)) == (6, 12, 18, 36)
    assert not any(cell.own or cell.access or cell.metric == "transferability" for cell in cells)
    assert [cell.kind for cell in cells if not cell.metric][:5] == ["train", "measure", "attack", "measure", "attack"]


def test_transfer_adds_rows_and_attacks_nothing_more(toy_data: Dataset) -> None:
    before, after = planned(TWO, toy_data), planned(TWO + "threats: [none, static, adaptive, transfer]\n", toy_data)
    more = [cell for cell in after if cell.key not in {each.key for each in before}]
    assert len(after) == len(before) + len(more)
    assert {cell.kind for cell in more} == {"measure", "metric"}
    crossing = rows(tuple(more))
    assert len(crossing) == 2 * 3 * 3  # two sources, three targets each, three attacks
    assert {(cell.source_label, cell.threat, cell.access) for cell in crossing} == {
        ("lnet", "transfer", "blind"),
        ("cnn", "transfer", "blind"),
    }
    assert all(cell.own.system.key == cell.images.system.key != cell.system.key for cell in crossing)
    assert sum(cell.metric == "transferability" for cell in more) == len(crossing)
    assert len({cell.stem for cell in after}) == len(after)


@pytest.mark.parametrize("threats", ["[transfer]", "[{name: transfer, sources: all}]", "[adaptive, transfer]", "[none, static]", "[none]"])
def test_every_cell_comes_after_what_it_needs(toy_data: Dataset, threats: str) -> None:
    """And what a matrix takes is there whatever else is asked for: clean rows, and the sources' own."""
    cells = planned(TWO + f"threats: {threats}\n", toy_data)
    known: set[str] = set()
    for cell in cells:
        assert {needed.key for needed in cell.needs} <= known, cell.label
        known.add(cell.key)
    if "transfer" in threats:
        assert {cell.name for cell in rows(cells) if cell.threat == "none"} == {cell.name for cell in cells if cell.kind == "train"}
        sources = {cell.images.key for cell in rows(cells) if cell.source_label}
        assert sources == {cell.images.key for cell in rows(cells) if cell.threat == "adaptive" and cell.images.key in sources}
    assert any(cell.kind == "attack" for cell in cells) == (threats != "[none]")


def test_a_stage_has_all_that_its_cells_need(toy_data: Dataset) -> None:
    """Examples of a defended system are crafted by `advrun defend`, and so is a row of an undefended target that sees them."""
    plan = make_plan(loads(TWO + "threats: [{name: transfer, sources: all}]\n"), toy_data)
    for stage in ("train", "attack", "defend"):
        cells = plan.upto(stage)
        assert all(needed.key in {cell.key for cell in cells} for cell in cells for needed in cell.needs)


def test_each_seed_meets_its_own(toy_data: Dataset) -> None:
    cells = planned(TWO + "seeds: [0, 1]\nthreats: [transfer]\n", toy_data)
    assert all(cell.seed == cell.images.seed == cell.own.seed for cell in rows(cells) if cell.source_label)


@pytest.mark.parametrize(
    ("threats", "complaint"),
    [
        ("[none, trnsfer]", "threats[1]: no threat named 'trnsfer'; did you mean 'transfer'"),
        ("[none, {name: trnsfer}]", "threats[1].name: no threat named 'trnsfer'; did you mean 'transfer'"),
        ("[none, adaptive, none]", "threats[2]: 'none' is listed twice"),
        ("[{name: transfer, sources: some}]", "threats[0].sources: got 'some'; expected one of undefended, all"),
        ("[3]", "threats[0]: got 3; expected a threat, such as adaptive or {name: transfer}"),
        ("[]", "threats: got an empty list; expected a list, each a threat"),
    ],
)
def test_mistakes_are_named_with_their_place(threats: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as error:
        loads(f"threats: {threats}\n")
    assert complaint in str(error.value)
    assert str(error.value).startswith("<text>:1:")


def test_names_alone_and_mappings_are_one(toy_data: Dataset) -> None:
    experiment = loads("threats: [none, {name: transfer}]\n")
    assert experiment == loads("threats: [{name: none}, {name: transfer, sources: undefended}]\n")
    assert loads(experiment.to_yaml()) == experiment


def test_an_answer_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = loads("attacks: [{name: ddn}]\nthreats: [adaptive]\n")
    (entry,), cast = experiment.threats, Cast(experiment.attacks[0], None)
    registry.get("threats", "adaptive"), registry.get("attacks", "ddn")  # made before their class is another
    monkeypatch.setattr(
        registry.get("threats", "adaptive").__class__, "function", property(lambda plugin: lambda **_: "yes"), raising=False
    )
    with pytest.raises(PluginError, match=r"advrun/threats/adaptive.py: says 'yes' of a and a; expected True or False"):
        meet([entry], [A], [cast])


def test_words_of_access_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    (attack,) = loads("attacks: [{name: ddn}]\n").attacks
    assert (meetings.access_of("transfer", attack), meetings.access_of("static", attack)) == ("blind", "")
    monkeypatch.setattr(registry.get("threats", "transfer").module, "access", lambda attack: "everything")
    with pytest.raises(PluginError, match="access\\(\\) says 'everything'; expected one of gradients, scores, decisions, blind"):
        meetings.access_of("transfer", attack)


@pytest.mark.parametrize("threat", ["transfer", "static"])
def test_threats_that_let_nothing_meet_are_refused(threat: str, toy_data: Dataset) -> None:
    with pytest.raises(ConfigError, match="no example meets any system; transfer needs a second model, static a defence"):
        planned(f"attacks: [{{name: fgsm, eps: 0.1}}]\nthreats: [none, {threat}]\n", toy_data)
