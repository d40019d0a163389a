"""Order, worst cases, and the numbers over seeds."""

from __future__ import annotations

import random
from dataclasses import replace
from statistics import mean, stdev

import numpy as np
import pytest

from advrun.flags import explained, mark
from advrun.report import accuracy
from advrun.report.headline import headline
from advrun.report.layout import MISSING, SAME, distance_label, tables
from advrun.report.notes import notes
from advrun.report.summary import AttackId, System, summarise
from advrun.results import Result, Row
from tests.report._sample import EPS, findings, result

PGD = AttackId("pgd", "linf")
WORST = AttackId("worst case", "linf")
CLOSEST_L2 = AttackId("closest example", "l2")


def test_rows_come_in_the_documented_order():
    measured = [
        result("late", "clean", "none", accuracy=0.9),
        result("late", "pgd", "adaptive", accuracy=0.5, eps=0.1, norm="linf", seed=1),
        result("late", "pgd", "adaptive", accuracy=0.5, eps=0.1, norm="linf", seed=0),
        result("late", "pgd", "static", accuracy=0.5, eps=0.1, norm="linf"),
        result("early", "cw", "adaptive", accuracy=0.1, norm="l2"),
        result("early", "fgsm", "adaptive", accuracy=0.5, eps=0.2, norm="linf"),
        result("early", "fgsm", "adaptive", accuracy=0.5, eps=0.1, norm="linf"),
        result("none", "clean", "none", accuracy=0.9),
    ]
    shown = [(row.defense, row.attack, row.eps, row.threat, row.seed) for row in summarise(measured).rows]
    assert shown == [
        ("none", "clean", None, "none", 0),
        ("late", "clean", None, "none", 0),
        ("late", "pgd", 0.1, "static", 0),
        ("late", "pgd", 0.1, "adaptive", 0),
        ("late", "pgd", 0.1, "adaptive", 1),
        ("late", "worst case", 0.1, "static", 0),
        ("late", "worst case", 0.1, "adaptive", 0),
        ("late", "worst case", 0.1, "adaptive", 1),
        ("early", "cw", None, "adaptive", 0),
        ("early", "fgsm", 0.1, "adaptive", 0),
        ("early", "fgsm", 0.2, "adaptive", 0),
        ("early", "worst case", 0.1, "adaptive", 0),
        ("early", "worst case", 0.2, "adaptive", 0),
    ]


def test_order_within_a_system_does_not_depend_on_the_order_of_measuring():
    measured = findings(seeds=(0, 1)).results
    heads = {(r.row.defense, r.row.attack): r for r in reversed(measured)}.values()  # keeps the order of first appearance
    rest = [r for r in measured if not any(r is head for head in heads)]
    random.Random(0).shuffle(rest)
    shuffled = sorted(heads, key=lambda r: [measured.index(other) for other in measured if other is r]) + rest
    assert summarise(shuffled).rows == summarise(measured).rows


def test_worst_case_is_the_minimum_image_by_image():
    measured = findings().results
    summary = summarise(measured)
    for defense in ("adversarial_training", "hybrid"):
        members = [r for r in measured if r.row.defense == defense and r.row.eps == EPS[2]]
        survives = np.logical_and.reduce([r.correct for r in members])
        cell = summary.cell(System("lnet", defense), WORST, EPS[2], "adaptive")
        assert cell is not None
        assert cell.accuracy == survives.mean()
        assert cell.accuracy <= min(r.row.accuracy for r in members)


def test_the_closest_example_leads_its_norm_and_makes_no_headline():
    attacks = [result("none", name, "adaptive", accuracy=0.1, norm="l2", metrics={"l2": 0.5}) for name in ("ddn", "fmn")]
    clean, pgd = result("none", "clean", "none", accuracy=0.9), result("none", "pgd", "adaptive", accuracy=0.3, eps=0.1, norm="linf")
    summary = summarise([clean, *attacks, pgd])
    leading = [panel.attack for panel in summary.panels[:2]]
    assert sorted(leading, key=lambda attack: attack.norm) == [CLOSEST_L2, WORST]
    assert "a bound, from above" in next(note.text for note in notes(summary) if note.term == CLOSEST_L2.name)
    (sentence,) = headline(summary)
    assert "worst case within L∞" in sentence


def test_a_worst_case_that_lacks_an_attack_says_so():
    measured = [r for r in findings().results if (r.row.defense, r.row.attack, r.row.threat) != ("hybrid", "pgd", "adaptive")]
    measured = [r for r in measured if (r.row.defense, r.row.attack) != ("hybrid", "pgd")]
    summary = summarise(measured)
    assert summary.cell(System("lnet", "hybrid"), WORST, EPS[0], "adaptive").flags == ("attacks-missing: pgd",)
    assert summary.cell(System("lnet", "none"), WORST, EPS[0], "adaptive").flags == ()


def test_several_seeds_give_mean_and_standard_deviation():
    measured = findings(seeds=(0, 1, 2)).results
    values = [
        r.row.accuracy for r in measured if (r.row.defense, r.row.attack, r.row.eps, r.row.threat) == ("hybrid", "pgd", EPS[1], "adaptive")
    ]
    cell = summarise(measured).cell(System("lnet", "hybrid"), PGD, EPS[1], "adaptive")
    assert len(values) == 3
    assert cell.accuracy == pytest.approx(mean(values))
    assert cell.margin == pytest.approx(stdev(values))
    assert any("standard deviation over 3 seeds" in note.text and "seeds 0, 1, 2" in note.text for note in notes(summarise(measured)))


def test_one_of_several_seeds_has_no_margin_and_a_flag():
    measured = [r for r in findings(seeds=(0, 1)).results if (r.row.defense, r.row.attack, r.row.seed) != ("hybrid", "pgd", 1)]
    cell = summarise(measured).cell(System("lnet", "hybrid"), PGD, EPS[0], "adaptive")
    assert cell.margin is None
    assert cell.flags == ("seeds-missing: 1 of 2",)


@pytest.mark.parametrize("accuracy", [0.0, 0.004, 0.5, 1.0])
def test_the_margin_of_one_seed_reaches_the_farther_end_of_the_interval(accuracy):
    only = result("none", "pgd", "adaptive", accuracy=accuracy, eps=0.1, norm="linf")
    cell = summarise([only]).cell(System("lnet", "none"), PGD, 0.1, "adaptive")
    low, high = only.row.interval
    assert cell.accuracy - cell.margin <= low + 1e-12
    assert cell.accuracy + cell.margin >= high - 1e-12
    assert min(abs(cell.accuracy - cell.margin - low), abs(cell.accuracy + cell.margin - high)) < 1e-12


def test_undefended_systems_have_one_number_for_static_and_adaptive():
    for table in tables(summarise(findings().results)):
        undefended, defended, *_ = table.lines
        assert all(entry.span == 2 for entry in undefended.entries if entry.threat == "adaptive")
        assert all(entry.span == 1 for entry in defended.entries)
        assert undefended.texts.count(SAME) == sum(entry.threat == "adaptive" for entry in undefended.entries)
        assert len({len(line.texts) for line in table.lines} | {len(table.heads)}) == 1


def test_missing_cells_are_shown_and_explained():
    measured = [r for r in findings().results if not (r.row.defense == "hybrid" and r.row.attack == "cw" and r.row.threat == "adaptive")]
    summary = summarise(measured)
    cw = tables(summary)[-1]
    assert cw.lines[-1].texts[1] == MISSING
    assert cw.lines[-1].texts[0] != MISSING
    assert MISSING in [note.term for note in notes(summary)]
    assert MISSING not in [note.term for note in notes(summarise(findings().results))]


def test_every_flag_that_occurs_is_explained_under_its_mark():
    flags = ("zero-gradients", "unbroken", "attacks-missing: cw", "odd")
    summary = summarise([result("none", "pgd", "adaptive", accuracy=0.5, eps=0.1, norm="linf", flags=flags)])
    texts = {note.term: note.text for note in notes(summary)}
    assert all(texts[mark(flag)] == explained(flag) for flag in flags)
    assert tables(summary)[0].lines[0].entries[-1].marks == "†◊△*"
    assert not set("†◊△*") & {note.term for note in notes(summarise(findings().results[:3]))}


@pytest.mark.parametrize(("fooled", "shown"), [(9.0, "(0.310)"), (10.0, "0.310"), (None, "0.310")])
def test_a_mean_over_fewer_than_ten_images_is_in_parentheses(fooled, shown):
    only = result("none", "cw", "adaptive", accuracy=0.1, norm="l2", metrics={"l2": 0.31, "l2_median": 0.2, "fooled": fooled})
    summary = summarise([only])
    (line,) = tables(summary)[-1].lines
    assert line.texts[2] == shown
    assert line.entries[2].few == (fooled == 9.0)
    assert ("( )" in {note.term for note in notes(summary)}) == (fooled == 9.0)
    header, readable = accuracy.readable(summary)
    assert readable[header.index("mean L2")] == shown


def test_distances_over_seeds_are_means_and_their_images_all_of_them():
    metrics = [{"l2": 0.3, "l2_median": 0.2, "fooled": 4.0}, {"l2": 0.5, "l2_median": 0.3, "fooled": 7.0}]
    rows = [result("none", "cw", "adaptive", accuracy=0.1, norm="l2", seed=seed, metrics=each) for seed, each in enumerate(metrics)]
    cell = summarise(rows).cell(System("lnet", "none"), AttackId("cw", "l2"), None, "adaptive")
    assert (cell.distance, cell.median, cell.fooled) == (pytest.approx(0.4), pytest.approx(0.25), 11)


def test_distances_have_three_digits():
    shown = [distance_label(distance) for distance in (0.0, 0.01196, 0.5896, 7.866, 42.31, 123.4, 999.4, 999.9, 1234.5)]
    assert shown == ["0.00", "0.0120", "0.590", "7.87", "42.3", "123", "999", "1000", "1234"]


def test_attacks_without_eps_show_their_distance():
    table = tables(summarise(findings().results))[-1]
    assert [group.title for group in table.groups] == ["accuracy, %", "mean L2", "median L2", "images fooled"]
    row = next(r.row for r in findings().results if (r.row.defense, r.row.attack, r.row.threat) == ("hybrid", "cw", "static"))
    assert table.lines[-1].texts[2::2] == [f"{row.metrics['l2']:#.3g}", f"{row.metrics['l2_median']:#.3g}", "400"]
    safe = replace(row, accuracy=1.0, interval=(0.836, 1.0), metrics={"l2": None})
    only = Result(safe, *np.zeros((2, row.n), np.int32), np.zeros(row.n, np.float32))
    assert tables(summarise([only]))[-1].lines[0].texts == [MISSING, "100.0 ± 16.4", "none", "none", "0"]


def test_budget_n_and_norm_are_in_the_notes():
    texts = {note.term: note.text for note in notes(summarise(findings().results))}
    assert texts["pgd, L∞"] == "40 steps of 2/255; n = 500."
    assert "8/255 is eight grey levels" in texts["L∞"]
    assert "12,630" in texts["accuracy"]


def test_budgets_that_differ_name_their_eps():
    rows = [
        result("none", "pgd", "adaptive", accuracy=0.5, eps=eps, norm="linf", budget=budget)
        for eps, budget in ((2 / 255, "40 steps"), (4 / 255, "40 steps"), (8 / 255, "40 steps x 5 restarts"))
    ]
    texts = {note.term: note.text for note in notes(summarise(rows))}
    assert texts["pgd, L∞"] == "2/255, 4/255: 40 steps; 8/255: 40 steps x 5 restarts; n = 500."


def test_nothing_measured_is_an_empty_summary():
    summary = summarise([])
    assert (summary.rows, summary.panels, headline(summary)) == ([], [], [])


def test_rows_of_other_threats_get_their_own_column():
    measured = [
        result("hybrid", "square", threat, accuracy=0.5, eps=0.1, norm="linf") for threat in ("static", "adaptive", "transfer", "blackbox")
    ]
    assert tables(summarise(measured))[-1].groups[-1].heads == ("static", "adaptive", "transfer", "blackbox")


def test_targeted_attacks_are_not_mixed_with_untargeted_ones():
    rows = [
        result("none", "pgd", "adaptive", accuracy=accuracy, eps=0.1, norm="linf", target=target, metrics={"success": success})
        for target, accuracy, success in (("", 0.2, 0.8), ("2", 0.8, 0.125), ("random", 0.6, 0.25))
    ]
    summary = summarise(rows)
    shown = {table.title: table.lines[0].entries[-1].number for table in tables(summary)}
    assert shown == {"Worst case, L∞": "20.0", "pgd, L∞": "20.0", "pgd (target 2), L∞": "80.0", "pgd (target random), L∞": "60.0"}
    said = {note.term: note.text for note in notes(summary)}
    assert "reached by 12.5 % of the images" in said["pgd (target 2), L∞"]
    assert [line[2] for line in accuracy.readable(summary)[1:]] == ["pgd", "pgd (target 2)", "pgd (target random)", "worst case"]
    assert "reached" not in said["pgd, L∞"]
    assert "images of the target class itself are not attacked, but counted" in said["target"]


def test_row_is_what_the_report_expects():
    assert {"model", "defense", "attack", "eps", "norm", "threat", "seed", "n", "accuracy", "interval", "flags"} <= set(
        Row.__dataclass_fields__
    )
