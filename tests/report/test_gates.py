"""Gates: what they name, what they refuse, and when they break."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advrun.console import Console
from advrun.errors import ConfigError, GateError
from advrun.flags import STATIC_WINS, mark
from advrun.optimality import COLUMN
from advrun.report.gates import Demands, Gate, Spot, numbers, parse
from advrun.report.summary import Summary, summarise
from tests.report._sample import findings, result

E8 = 8 / 255
SPOTS = [
    Spot("lnet", "none", "clean", "", None, "none"),
    Spot("lnet", "hybrid", "clean", "", None, "none"),
    *(
        Spot(model, "hybrid", attack, "linf", eps, threat)
        for model in ("lnet", "cnn")
        for attack in ("pgd", "worst case")
        for eps in (4 / 255, E8)
        for threat in ("static", "adaptive")
    ),
    Spot("lnet", "hybrid", "worst case", "l2", 0.5, "adaptive"),
    Spot("lnet", "hybrid", "cw", "l2", None, "adaptive"),
]


@pytest.fixture(scope="module")
def summary() -> Summary:
    return summarise(findings(galleries=False).results)


@pytest.mark.parametrize(
    ("text", "where", "norm", "eps", "least"),
    [
        ("hybrid/adaptive@8/255: 0.30", "hybrid/adaptive", None, E8, 0.3),
        ("lnet:hybrid/pgd/static@linf 8/255: 30 %", "lnet:hybrid/pgd/static", "linf", E8, 0.3),
        ("hybrid@L2 0.5:30%", "hybrid", "l2", 0.5, 0.3),
        (" none/clean : 1 ", "none/clean", None, None, 1.0),
        ("none/fmn: optimality 95 %", "none/fmn", None, None, 0.95),
        ("a + b/worst case@1e-2: 3/4", "a + b/worst case", None, 0.01, 0.75),
    ],
)
def test_a_gate_is_read(text, where, norm, eps, least):
    asked = Gate(text, where, norm, pytest.approx(eps) if eps else eps, pytest.approx(least), "optimality" in text)
    assert parse(text) == asked


def test_an_attack_may_be_asked_for_its_optimality():
    """Over several seeds the mean; what has none breaks the gate."""
    fields = {"accuracy": 0.0, "norm": "l2"}
    rows = [result("none", "fmn", "adaptive", seed=seed, metrics={COLUMN: value}, **fields) for seed, value in ((0, 0.9), (1, 0.8))]
    rows += [result("none", "cw", "adaptive", seed=seed, **fields) for seed in (0, 1)]
    gates = [parse(f"none/{attack}: optimality {least}") for attack, least in (("fmn", 0.85), ("fmn", 0.86), ("cw", 0))]
    held, broken, missing = Demands(tuple(gates)).judge(summarise(rows))
    assert (held.holds, broken.holds, missing.holds) == (True, False, False)
    assert "optimality 85.0 % is under 86.0 %" in broken.said
    assert "nothing was measured there; an attack has an optimality where a ledger is named" in missing.said


BAD = {
    "": "expected [MODEL:]DEFENCE",
    "hybrid": "expected [MODEL:]DEFENCE",
    ": 0.3": "expected [MODEL:]DEFENCE",
    "@8/255: 0.3": "nothing before @",
    "hybrid: 30": "got '30' behind the last colon; expected a share from 0 to 1",
    "hybrid: -0.1": "got '-0.1'",
    "hybrid: 0.3 0.4": "got '0.3 0.4'",
    "hybrid: nan": "got 'nan'",
    "hybrid: 1/0": "got '1/0'",
    "hybrid: true": "got 'true'",
    "hybrid: 101 %": "got '101 %'",
    "hybrid:": "got ''",
    "hybrid@: 0.3": "got '' behind @; expected an eps, such as 8/255",
    "hybrid@linf: 0.3": "got 'linf' behind @",
    "hybrid@l7 0.3: 0.3": "got 'l7 0.3' behind @",
    "hybrid@0: 0.3": "got '0' behind @",
    "hybrid@-1: 0.3": "got '-1' behind @",
    "hybrid@8/255\n: x": "got 'x'",
}


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_gate_is_refused_in_one_line_that_says_why(text):
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert str(caught.value).startswith("--fail-under '")
    assert BAD[text] in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("hybrid/adaptive@8255:0.3 %linfe+-\n\0\ud800é'\"\\"), max_size=30) | st.text(max_size=30))
def test_any_text_is_a_gate_or_refused_in_one_line(text):
    said = ""
    try:
        gate = parse(text)
        assert 0 <= gate.least <= 1
        assert gate.where == gate.where.strip() != ""
        assert gate.eps is None or gate.eps > 0
        gate.of(SPOTS)
    except ConfigError as error:
        said = str(error)
    assert "\n" not in said
    assert said.encode().decode() == said


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hybrid/adaptive@8/255: 0", {("lnet", "worst case", E8, "adaptive"), ("cnn", "worst case", E8, "adaptive")}),
        ("lnet:hybrid/adaptive@8/255: 0", {("lnet", "worst case", E8, "adaptive")}),
        ("lnet:hybrid/pgd@8/255: 0", {("lnet", "pgd", E8, "adaptive")}),
        ("lnet:hybrid/pgd/static: 0", {("lnet", "pgd", eps, "static") for eps in (4 / 255, E8)}),
        ("lnet:hybrid/static@4/255: 0", {("lnet", "worst case", 4 / 255, "static")}),
        ("hybrid@l2 0.5: 0", {("lnet", "worst case", 0.5, "adaptive")}),
        ("lnet:hybrid/worst case@linf 4/255: 0", {("lnet", "worst case", 4 / 255, "adaptive")}),
        ("hybrid/cw: 0", {("lnet", "cw", None, "adaptive")}),
        ("none/clean: 0", {("lnet", "clean", None, "none")}),
    ],
)
def test_what_a_gate_names(text, expected):
    assert {(spot.model, spot.attack, spot.eps, spot.threat) for spot in parse(text).of(SPOTS)} == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hybird: 0", "the configuration has no 'hybird'; did you mean 'hybrid'?"),
        ("none/adaptive: 0", "the configuration has no 'none/adaptive'"),
        ("lenet:hybrid: 0", "the configuration has no 'lenet:hybrid'"),
        ("hybrid@9/255: 0", "'hybrid' has no number at this eps; known: linf 4/255, linf 8/255, l2 0.5"),
        ("hybrid@l1 8/255: 0", "'hybrid' has no number at this eps"),
        ("hybrid/clean@8/255: 0", "'hybrid/clean' has no number at this eps; known: no eps"),
        ("hybrid/cw@0.5: 0", "known: l2 any"),
    ],
)
def test_a_gate_that_checks_nothing_is_refused(text, said):
    with pytest.raises(ConfigError) as caught:
        Demands((parse(text),)).check(SPOTS)
    assert said in str(caught.value)


def test_every_wrong_gate_has_its_line_and_double_meanings_are_refused():
    twice = [*SPOTS, Spot("lnet", "hybrid", "static", "linf", E8, "adaptive")]  # an attack that is called as a threat
    with pytest.raises(ConfigError) as caught:
        Demands((parse("hybrid/static: 0"), parse("x: 0"), parse("hybrid: 0"))).check(twice)
    first, second = str(caught.value).splitlines()
    assert "several meanings" in first
    assert "no 'x'" in second
    Demands((parse("hybrid/static/adaptive: 0"), parse("hybrid/worst case/static: 0"))).check(twice)


def test_a_gate_holds_up_to_the_very_number_of_the_table(summary):
    known = dict(numbers(summary))
    spot = next(
        spot for spot in known if (spot.defense, spot.attack, spot.threat) == ("hybrid", "worst case", "adaptive") and spot.eps == E8
    )
    share = known[spot].accuracy

    def holds(least: float) -> bool:
        (verdict,) = Demands((parse(f"hybrid/adaptive@8/255: {least}"),)).judge(summary)
        assert verdict.numbers == ((spot, known[spot]),)
        assert f"lnet / hybrid, worst case L∞ 8/255, adaptive: {100 * share:.1f} %" in verdict.said
        return verdict.holds

    assert holds(0.0)
    assert holds(share)
    assert not holds(share + 0.001)


def test_of_several_numbers_the_lowest_decides(summary):
    (verdict,) = Demands((parse("hybrid/adaptive: 0.999"),)).judge(summary)
    assert len(verdict.numbers) > 1
    lowest = min(score.accuracy for _, score in verdict.numbers)
    assert f"{100 * lowest:.1f} % is under 99.9 %" in verdict.said
    assert f"{len(verdict.numbers) - 1} more are broken" in verdict.said


def test_seeds_count_by_their_mean():
    rows = [result("hybrid", "pgd", "adaptive", accuracy=share, eps=E8, norm="linf", seed=seed) for seed, share in enumerate((0.2, 0.4))]
    for least, expected in ((0.29, True), (0.31, False)):
        (verdict,) = Demands((parse(f"hybrid/pgd: {least}"),)).judge(summarise(rows))
        assert verdict.holds == expected


def test_a_number_that_was_not_measured_breaks_its_gate():
    (verdict,) = Demands((parse("hybrid: 0"),)).judge(summarise([result("none", "clean", "none", accuracy=0.9)]))
    assert not verdict.holds
    assert verdict.said == "nothing was measured there"


def close(rows, *gates: str, fail_on_flags: bool = False) -> GateError | None:
    made = replace(findings(galleries=False), results=rows)
    return Demands(tuple(map(parse, gates)), fail_on_flags).close(made, summarise(rows), Console(quiet=True))


def test_flags_count_only_where_that_is_asked(monkeypatch):
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    flagged = result("hybrid", "pgd", "adaptive", accuracy=0.5, eps=E8, norm="linf", flags=(STATIC_WINS,))
    other = result("trades", "pgd", "adaptive", accuracy=0.5, eps=E8, norm="linf")
    assert close([flagged, other], "hybrid/pgd: 0.4") is None
    error = close([flagged, other], "hybrid/pgd: 0.4", "trades/pgd: 0.4", fail_on_flags=True)
    assert error is not None
    assert error.exit_code == 12
    (line,) = str(error).splitlines()
    assert line.startswith("--fail-under 'hybrid/pgd: 0.4': ")
    assert f"50.0 % {mark(STATIC_WINS)} is flagged (static-wins)" in line
    assert close([flagged, other], "trades/pgd: 0.4", fail_on_flags=True) is None
    error = close([flagged, other], fail_on_flags=True)
    assert str(error) == "--fail-on-flags: 2 of 4 numbers are flagged (static-wins)"  # the worst case is of the same attack
    assert close([other], fail_on_flags=True) is None
    assert close([flagged]) is None
