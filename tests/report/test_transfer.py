"""Matrices of what crosses over, from results made by hand: which images count, which pairs, and what is said of them."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from advrun.paired import score_interval
from advrun.report import transfer
from advrun.report.crossing import lead, matrices
from advrun.report.figures import pictures
from advrun.report.findings import Findings
from advrun.report.headline import headline
from advrun.report.page import html
from advrun.report.summary import Summary, System, summarise
from advrun.report.tables import files
from advrun.results import Result, Row, binomial_interval

from . import _sample

N = 200


def made(
    model: str,
    attack: str,
    threat: str,
    wrong: np.ndarray,
    *,
    answer: int = 1,
    source: str = "",
    defense: str = "none",
    seed: int = 0,
    flags=(),
):
    """A result of N images of class 0; where `wrong`, the answer is `answer`."""
    predictions = np.where(wrong, answer, 0).astype(np.int32)
    norm, eps = ("", None) if attack == "clean" else ("linf", 8 / 255)
    right = int((predictions == 0).sum())
    row = Row(
        *(model, defense, attack, threat, seed, N, right / N, binomial_interval(right, N), eps, norm),
        settings={"steps": 10} if norm else {},
        gradients=10.0 if norm else 0.0,
        source=source,
        access="blind" if source else "",
        flags=flags,
    )
    return Result(row, np.zeros(N, np.int32), predictions, np.full(N, 0.03, np.float32))


def first(count: int) -> np.ndarray:
    return np.arange(N) < count


def results(seed: int = 0, **clean) -> list[Result]:
    """Model a is wrong on images 0 to 9 without an attack, b on 5 to 24. bim carries over to 60 images, mifgsm to 90 of the same."""
    found = [
        made("a", "clean", "none", first(10), seed=seed, **clean),
        made("b", "clean", "none", (np.arange(N) >= 5) & first(25), seed=seed),
    ]
    found += [made("b", "clean", "none", first(5), defense="d", seed=seed)]
    for attack, reach in (("bim", 60), ("mifgsm", 90)):
        found += [made(model, attack, "adaptive", first(180), seed=seed) for model in "ab"]
        found += [made("b", attack, "static", first(40), defense="d", seed=seed)]
        found += [made("b", attack, "transfer", first(reach), source="a", seed=seed, answer=1)]
        found += [made("b", attack, "transfer", first(30), source="a", defense="d", seed=seed, answer=2)]
        found += [made("a", attack, "transfer", first(reach), source="b", seed=seed, answer=2)]
    return found


def place(summary: Summary, attack: str, source: str, target: str):
    matrix = next(each for each in matrices(summary) if each.attack.name == attack)
    return next(each for each in matrix.crossings if (str(each.source), str(each.target)) == (source, target))


def test_only_images_that_both_got_right_count() -> None:
    summary = summarise(results())
    found = place(summary, "mifgsm", "a", "b")
    assert (found.found.n, found.found.fooled, found.share) == (N - 25, 90 - 25, 65 / 175)
    assert (found.low, found.high) == binomial_interval(65, 175)
    own = place(summary, "mifgsm", "a", "a")
    assert (own.threat, own.found.n, own.found.fooled) == ("adaptive", 190, 170)
    assert place(summary, "mifgsm", "b", "b / d").threat == "static"
    assert place(summary, "mifgsm", "a", "b").found.same_share == 1.0
    assert place(summary, "mifgsm", "b", "a").found.same_share == 0.0


def test_rows_of_other_models_are_no_column_of_the_summary() -> None:
    """What b makes of a's examples says nothing of an attack on b: worst cases, panels and headline are as without them."""
    with_them, without = summarise(results()), summarise([each for each in results() if not each.row.source])
    assert with_them.panels == without.panels
    assert files(_findings(with_them), with_them)["summary.csv"] == files(_findings(without), without)["summary.csv"]
    assert headline(with_them)[: len(headline(without))] == headline(without)
    assert len([row for row in with_them.rows if row.source]) == 6
    crossing = [each for each in with_them.attacks if with_them.cell(System("b", "none"), each, 8 / 255, "transfer")]
    assert not crossing  # of several sources only one could be shown


def test_how_far_ahead_is_the_difference_of_the_shares_with_an_interval() -> None:
    """For a single pair it is the interval of two paired proportions, for which Tango's stands beside it."""
    bim, mifgsm = matrices(summarise([each for each in results() if each.row.source != "b"]))
    ahead = lead(mifgsm, bim)
    assert ahead.value == pytest.approx(mifgsm.carried - bim.carried) == pytest.approx(30 / 175)
    assert (ahead.low, ahead.high) == pytest.approx(score_interval(30, 0, 175), abs=0.012)
    assert ahead.apart
    assert lead(bim, mifgsm).value == -ahead.value
    assert not lead(bim, bim).apart


def test_an_interval_holds_the_truth_where_pairs_share_images() -> None:
    """Two pairs that always agree are worth one: with 200 images each, 95 of 100 intervals or so hold a difference of nothing."""
    rng, held = np.random.default_rng(0), 0
    for _ in range(200):
        one, other = (rng.random(N) < 0.4 for _ in range(2))
        found = [made(model, "clean", "none", first(0)) for model in "ab"]
        for attack, wrong in (("bim", one), ("mifgsm", other)):
            found += [made(model, attack, "adaptive", first(200)) for model in "ab"]
            found += [made(model, attack, "transfer", wrong, source=source) for model, source in ("ab", "ba")]
        bim, mifgsm = matrices(summarise(found))
        held += not lead(bim, mifgsm).apart
    assert 180 <= held <= 199


def test_what_is_said() -> None:
    (paragraph,) = transfer.sentences(summarise(results()))
    text = " ".join(paragraph)
    assert text.startswith(
        "mifgsm transfers best within L∞ 8/255: of the images that two models both get right, its examples of one fool the other"
    )
    assert "After it bim 20.0 %." in text
    assert "It is ahead of bim by 17.1 points" in text
    assert "On defended systems of other models the same examples fool 10.5 %." in text
    assert "name the same wrong class in 50.0 %" in text


def test_systems_whose_clean_accuracy_is_in_doubt_are_not_called_best() -> None:
    summary = summarise(results(flags=("guesses",)))
    assert transfer.sentences(summary) == []
    assert len(transfer.grids(summary)) == 4  # they are in the tables


def test_seeds_are_means_with_their_spread() -> None:
    summary = summarise([*results(0), *results(1)])
    found = place(summary, "bim", "a", "b")
    assert (found.seeds, found.found.n) == (2, 2 * 175)
    assert found.low == found.share == found.high == 0.2
    assert "Means over seeds" in transfer.notes(summary)


def test_without_clean_rows_there_is_no_matrix() -> None:
    summary = summarise([each for each in results() if each.row.attack != "clean"])
    assert transfer.grids(summary) == []
    assert transfer.files(summary, "t") == {}


def _findings(summary: Summary) -> Findings:
    return Findings("t", "t", "", "name: t\n", {}, ("stop", "go", "wait"), summary.results)


def test_tables_and_figures() -> None:
    summary = summarise(results())
    written = files(_findings(summary), summary)
    lines = list(csv.DictReader(io.StringIO(written["transfer.csv"])))
    assert len(lines) == 2 * 6
    assert all(0 <= float(line["low"]) <= float(line["transfer_share"]) <= float(line["high"]) <= 1 for line in lines)
    low, high = (f"{100 * each:.1f}" for each in binomial_interval(35, 175))
    assert f" | 20.0 ({low} to {high}) " in written["transfer.md"]
    drawn = [picture for picture in pictures(_findings(summary), summary) if picture.kind == "transfer"]
    assert [picture.name for picture in drawn] == ["transfer-bim-linf-8-255", "transfer-mifgsm-linf-8-255"]
    assert "independent answers" in drawn[0].caption
    page = html(_findings(summary), summary, drawn)
    assert page.count("<caption>mifgsm, L∞ 8/255: ") == 2


def test_a_report_without_transfer_has_none_of_it() -> None:
    found = _sample.findings()
    summary = summarise(found.results)
    assert not any("transfer" in name for name in files(found, summary))
    lines = csv.DictReader(io.StringIO(files(found, summary)["accuracy.csv"]))
    assert {line["source"].partition(" / ")[0] for line in lines} <= {"", *summary.models}
    assert "Examples on other systems" not in html(found, summary, [])
