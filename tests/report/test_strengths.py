"""A defence at several strengths: the best one, what it gives back, and what is left, in numbers that are counted by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from advrun.config import Sweep
from advrun.flags import UNMOVED, mark
from advrun.paired import score_interval
from advrun.report import figures, page, tables
from advrun.report.findings import Findings
from advrun.report.headline import headline
from advrun.report.strengths import best_value, lines, panels, shown, strengths, systems_of
from advrun.report.summary import System, summarise
from advrun.results import Result, binomial_interval
from tests._rows import result

SWEEP = Sweep("f", "s", ((2.0, "f s=2.0"), (0.5, "f s=0.5"), (1.0, "f s=1.0")))
"""In the order of a file that is in no order."""


def row(defense: str, right: int, threat: str = "adaptive", eps: float | None = 0.1, **more) -> Result:
    """Right on the first so many of 100 images."""
    clean = {"attack": "clean", "norm": ""} if threat == "none" else {"attack": "fgsm"}
    one = result(
        right="1" * right + "0" * (100 - right),
        threat=threat,
        eps=None if clean.get("norm") == "" else eps,
        defense=defense,
        **clean,
        **more,
    )
    return replace(one, row=replace(one.row, interval=binomial_interval(right, 100)))


def system(label: str, clean: int, static: int, adaptive: int, farther: tuple[int, int]) -> list[Result]:
    rows = [row(label, clean, "none"), row(label, static, "static"), row(label, adaptive)]
    return [*rows, row(label, farther[0], "static", 0.2), row(label, farther[1], eps=0.2)]


RESULTS = [
    *(row("none", 99, "none"), row("none", 40), row("none", 10, eps=0.2)),
    *system("f s=0.5", 98, 50, 45, (15, 9)),
    *system("f s=1.0", 95, 72, 38, (40, 8)),
    *system("f s=2.0", 80, 72, 30, (45, 5)),
]


@pytest.fixture
def summary():
    return summarise(RESULTS, [SWEEP])


def test_the_best_strength_at_each_eps(summary):
    """Of two that give back as much the weaker one; the differences are in pairs."""
    (panel,) = panels(summary)
    near, far = strengths(summary, SWEEP, "m", panel)
    assert (near.value, near.system, far.value) == (1.0, System("m", "f s=1.0"), 2.0)
    assert (near.back.value, near.left.value, near.cost.value) == pytest.approx((0.32, -0.02, -0.04))
    assert (near.back.low, near.back.high) == score_interval(32, 0, 100)
    assert (far.back.value, far.left.value) == pytest.approx((0.35, -0.05))
    assert [value for value, _ in systems_of(summary, SWEEP, "m")] == [0.5, 1.0, 2.0]
    assert best_value(summary, panel, 0.1, systems_of(summary, SWEEP, "m"), "adaptive") == 0.5


def test_the_sentence_names_filter_strength_points_and_what_is_left(summary):
    low, high = (100 * bound for bound in score_interval(35, 0, 100))
    first = headline(summary)[0]
    assert f"f at s = 2.0 gives back +35.0 points (95 % interval {low:.1f} to {high:.1f}) under fgsm within L∞ 0.2, static" in first
    assert "10.0 % without a defence, 45.0 % with it; against somebody who knows of it 5.0 % are right, -5.0 points" in first
    assert "clean images: 80.0 %, -19.0 points" in first


def test_nothing_given_back_is_said_so():
    weak = [each for each in RESULTS if each.row.defense == "none"] + system("f s=1.0", 99, 41, 40, (10, 10))
    assert "f gives back nothing that is more than chance: at best +1.0 points" in headline(summarise(weak, [SWEEP]))[0]


def test_a_flagged_number_is_not_the_best():
    doubted = [
        replace(each, row=replace(each.row, flags=(UNMOVED,))) if each.row.defense == "f s=2.0" and each.row.threat == "static" else each
        for each in RESULTS
    ]
    summary = summarise(doubted, [SWEEP])
    assert [each.value for each in strengths(summary, SWEEP, "m", panels(summary)[0])] == [1.0, 1.0]


def test_a_flagged_number_is_marked_in_the_table():
    flagged = [replace(each, row=replace(each.row, flags=(UNMOVED,))) if each.row.threat == "adaptive" else each for each in RESULTS]
    header, first, *_ = lines(summarise(flagged, [SWEEP]))
    said = dict(zip(header, first, strict=True))
    assert (said["no defence, %"], said["static, %"], said["adaptive, %"]) == (f"40.0 {mark(UNMOVED)}", "72.0", f"38.0 {mark(UNMOVED)}")


def test_tables_figure_and_page(summary):
    found = Findings("x", "x", "", "", {}, ("a", "b"), RESULTS, sweeps=(SWEEP,))
    header, near, far = lines(summary)
    assert dict(zip(header, far, strict=True))["given back"] == "+35.0"
    assert near[:10] == ["m", "f", "s", "fgsm, L∞", "0.1", "1.0", "40.0", "72.0", "+32.0", near[9]]
    written = tables.files(found, summary)
    assert written["strengths.csv"].count("\n") == 3
    assert "| +35.0" in written["strengths.md"].replace("  ", " ")
    assert "strengths.md" not in tables.files(replace(found, sweeps=()), summarise(RESULTS))
    drawn = figures.pictures(found, summary)
    (strength,) = [picture for picture in drawn if picture.kind == "strength"]
    assert (strength.name, strength.width) == ("strength-m-f-s-linf", 6.8)
    assert "best strength" in strength.caption
    assert {system.defense for system in shown(summary, "m")} == {"none", "f s=2.0"}  # what the other figures show
    assert "Strength of a defence" in page.html(found, summary, drawn)


def test_two_strengths_are_measured_while_the_third_failed():
    some = [each for each in RESULTS if each.row.defense != "f s=1.0"]
    assert "f at s = 2.0 gives back +35.0 points" in headline(summarise(some, [SWEEP]))[0]
    assert not strengths(summarise(RESULTS[3:], [SWEEP]), SWEEP, "m", panels(summarise(RESULTS, [SWEEP]))[0])
