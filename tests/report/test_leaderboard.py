"""The leaderboard: one table over all models, sorted by what is left, without what is flagged."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest

from advrun.flags import ZERO_GRADIENTS
from advrun.optimality import COLUMN
from advrun.report import accuracy, leaderboard, page, texts
from advrun.report.findings import Findings
from advrun.report.notes import notes
from advrun.report.summary import Summary, summarise
from tests.report._sample import findings, result

E8 = 8 / 255
LEFT = {("lnet", "none"): 0.1, ("lnet", "trades"): 0.42, ("cnn", "none"): 0.12, ("cnn", "trades"): 0.5, ("mlp", "jpeg"): 0.9}


@pytest.fixture(scope="module")
def found() -> Findings:
    """Two models with and without a defence, and a third whose number, the best of all, is flagged."""
    results = []
    for (model, defense), left in LEFT.items():
        flags = (ZERO_GRADIENTS,) if model == "mlp" else ()
        about = {"model": model, "n": 400}
        results.append(result(defense, "clean", "none", accuracy=0.95, **about))
        ball = {"norm": "linf", "eps": E8, "budget": "over a lot", "flags": flags, **about}
        results.append(pgd := result(defense, "pgd", "adaptive", accuracy=left, **ball))
        results.append(replace(pgd, row=replace(pgd.row, attack="apgd")))
        results.append(result(defense, "pgd", "adaptive", accuracy=0.01, **{**ball, "eps": 2 * E8}))
        metrics = {"l2": 0.5, "l2_median": left * 2, "fooled": 100.0, COLUMN: 0.8}
        results.append(result(defense, "fmn", "adaptive", accuracy=0.0, norm="l2", metrics=metrics, flags=flags, **about))
    return replace(findings(galleries=False), results=results, histories={})


@pytest.fixture(scope="module")
def summary(found) -> Summary:
    return summarise(found.results)


def test_the_best_is_first_and_what_is_flagged_is_not_ranked(summary):
    header, *lines = leaderboard.lines(summary)
    assert header == ["rank", "model", "defence", "clean, %", "L∞ 8/255, %", "median L2", "images", "attacked", "flags"]
    assert [line[:3] for line in lines] == [
        ["1", "cnn", "trades"],
        ["2", "lnet", "trades"],
        ["3", "cnn", "none"],
        ["4", "lnet", "none"],
        ["—", "mlp", "jpeg"],
    ]
    assert [line[4].split()[0] for line in lines] == ["50.0", "42.0", "12.0", "10.0", "90.0"]
    assert [line[5] for line in lines] == ["1.00", "0.840", "0.240", "0.200", "1.80"]
    assert {line[7] for line in lines} == {"over apgd, pgd"}
    assert [line[8] for line in lines] == ["", "", "", "", "†"]


def test_who_cannot_be_told_apart_from_the_first_is_marked(found):
    near = [replace(each, predictions=each.predictions.copy()) for each in found.results if each.row.model in ("lnet", "cnn")]
    place = {(each.row.model, each.row.defense, each.row.attack, each.row.eps): each for each in near}
    best, other = place["cnn", "trades", "pgd", E8], place["lnet", "trades", "pgd", E8]
    other.predictions[:] = best.predictions
    other.predictions[best.correct.argmax()] += 1  # one image less
    rows = [replace(each, row=replace(each.row, accuracy=float(each.correct.mean()))) for each in near if each.row.attack != "apgd"]
    ranks = [line[0] for line in leaderboard.lines(summarise(rows))[1:]]
    assert ranks == ["1", "2 =", "3", "4"]


def test_it_is_on_the_page_and_in_files(found, summary):
    text = page.html(found, summary, [])
    assert '<a href="#leaderboard">' in text
    board = text.split('id="leaderboard"')[1].split("</table>")[0]
    assert board.index("trades") < board.index("none") < board.index("jpeg")
    assert 'href="#flag-zero-gradients"' in board
    assert "over apgd, pgd" not in board
    assert "50.0\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}" in board
    assert "All were attacked over apgd, pgd." in text
    tables = {name: content.decode() for name, content in texts(found, summary).items()}
    lines = list(csv.reader(io.StringIO(tables["tables/leaderboard.csv"])))
    assert lines == leaderboard.lines(summary)
    assert "Sorted by the adaptive worst case within L∞ 8/255" in tables["tables/leaderboard.md"]


def test_attacks_that_are_not_the_same_for_all_have_a_column_on_the_page(found):
    fewer = [each for each in found.results if (each.row.model, each.row.attack) != ("mlp", "apgd")]
    table, notes = leaderboard.shown(summarise(fewer))
    place = table[0].index("attacked")
    assert {line[1]: line[place] for line in table[1:]}["mlp"] != table[1][place] == "over apgd, pgd"
    assert len(notes) == 1


def test_one_model_has_none(summary):
    one = summarise([each for each in summary.results if each.row.model == "lnet" and not each.row.attack.startswith("worst")])
    assert leaderboard.lines(one) == []
    assert leaderboard.files(one, "title") == {}
    assert leaderboard.shown(one) == ([], [])


def test_the_optimality_is_a_column_and_explained(found, summary):
    header, *lines = accuracy.readable(summary)
    place = header.index("optimality, %")
    assert {line[place] for line in lines if line[2] == "fmn"} == {"80.0"}
    assert [note.term for note in notes(summary)].count(COLUMN) == 1
    without = summarise([replace(each, row=replace(each.row, metrics={})) for each in found.results])
    assert COLUMN not in [note.term for note in notes(without)]
