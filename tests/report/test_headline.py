"""What the headline claims, in small experiments whose numbers are counted by hand."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html import unescape

import numpy as np
import pytest
from scipy.stats import binomtest

from advrun.flags import MEANINGS, STATIC_WINS, flagged
from advrun.paired import score_interval
from advrun.report import curves, latex, markdown, page, tables, terminal
from advrun.report.headline import headline, sentences
from advrun.report.layout import tables as laid_out
from advrun.report.ranking import ranking
from advrun.report.summary import AttackId, System, summarise
from advrun.results import Result, binomial_interval
from tests._rows import result
from tests.report._sample import findings


def made(defense: str, right: str, **more) -> Result:
    """An attacked system, its interval as it is measured."""
    one = result("pgd", right, defense=defense, eps=more.pop("eps", 8 / 255), **more)
    return replace(one, row=replace(one.row, interval=binomial_interval(right.count("1"), len(right))))


def clean(defense: str, right: str, **more) -> Result:
    one = result("clean", right, "none", eps=None, norm="", defense=defense, **more)
    return replace(one, row=replace(one.row, interval=binomial_interval(right.count("1"), len(right))))


def experiment(**systems: str) -> list[Result]:
    """A clean and an attacked result per defence; "1" right in both, "c" when clean only, "0" never."""
    clean_rows = [clean(defense, bits.replace("c", "1")) for defense, bits in systems.items()]
    return clean_rows + [made(defense, bits.replace("c", "0")) for defense, bits in systems.items()]


EXACT = ", but p = 0.12 in McNemar's exact test"
"""2 / 2^4: all four images that differ are on one side."""
NONE, GOOD, NEARLY = "1" * 20 + "c" * 78 + "00", "1" * 50 + "c" * 44 + "0" * 6, "c" * 4 + "1" * 47 + "c" * 40 + "0" * 9


def interval(low: float, high: float, n: int = 100, test: str = "") -> str:
    return f"95 % interval {100 * low:.1f} to {100 * high:.1f}{test}; {n} images"


def test_the_headline_of_three_systems_sentence_by_sentence():
    """good is right on 50 of 100, nearly on 47: 4 images only the first got right, 1 only the second; none on 20, all of them good's."""
    results = [*experiment(none=NONE, good=GOOD, nearly=NEARLY), made("good", "1" * 80 + "0" * 20, threat="static")]
    (found,) = sentences(summarise(results))
    own = binomtest(50, 100).proportion_ci(method="exact")
    assert found[:4] == [
        f"m with good: 50.0 % right in the worst case within L∞ 8/255 ({interval(*own)}).",
        f"good 50.0 % and nearly 47.0 % cannot be told apart (difference 3.0, {interval(*score_interval(4, 1, 100))}).",
        f"good 50.0 % is better than no defence 20.0 % by 30.0 ({interval(*score_interval(30, 0, 100))}).",
        "On clean images good is right on 94.0 % (no defence 98.0 %: 4.0 lost, which can be chance, "
        f"{interval(*score_interval(4, 0, 100), test=EXACT)}).",
    ]
    assert found[4] == "Replayed examples alone would have claimed 80.0 %."
    assert len(found) == 5
    assert headline(summarise(results)) == [" ".join(found)]


def test_a_clear_winner_is_better_by_so_much():
    (found,) = headline(summarise(experiment(none=NONE, good=GOOD, poor="1" * 30 + "c" * 70)))
    assert "good 50.0 % is better than poor 30.0 % by 20.0 (95 % interval " in found
    assert "better than no defence 20.0 % by 30.0" in found
    assert "told apart" not in found


def test_all_that_cannot_be_told_from_the_best_are_named():
    (found,) = headline(summarise(experiment(none=NONE, good=GOOD, nearly=NEARLY, third="1" * 46 + "c" * 54, poor="1" * 30 + "c" * 70)))
    assert "good 50.0 % and nearly 47.0 % cannot be told apart" in found
    assert "Nor can third 46.0 % be told apart from good." in found
    assert "poor" not in found


def test_what_a_defence_gains_on_clean_images_is_no_loss():
    (found,) = headline(summarise(experiment(none="1" * 10 + "c" * 60 + "0" * 30, good="1" * 40 + "c" * 60)))
    low, high = score_interval(30, 0, 100)
    assert f"(no defence 70.0 %: 30.0 gained, 95 % interval {100 * low:.1f} to {100 * high:.1f}; 100 images)." in found


def test_where_no_defence_is_best_the_headline_says_so():
    (found,) = sentences(summarise(experiment(none=GOOD, poor=NONE)))
    assert found[0].startswith("m without a defence: 50.0 % right in the worst case")
    assert found[1].startswith("no defence 50.0 % is better than poor 20.0 % by 30.0 (")
    own = binomtest(94, 100).proportion_ci(method="exact")
    assert found[2] == f"On clean images it is right on 94.0 % ({interval(*own)})."


def test_a_flagged_system_is_never_crowned_and_is_named_with_its_mark():
    doubtful = made("best", "1" * 90 + "0" * 10, flags=(STATIC_WINS,))
    summary = summarise([*experiment(none=NONE, good=GOOD), clean("best", "1" * 100), doubtful])
    (found,) = sentences(summary)
    assert found[0].startswith("m with good: 50.0 %")
    assert found[-1] == "Not ranked, because doubtful: best 90.0 % ‡ (static-wins)."
    (panel,) = (panel for panel in summary.panels if panel.attack.is_worst_case)
    assert ranking(summary, panel, 8 / 255, "m").leaders == (System("m", "good"),)


def test_a_system_whose_clean_number_is_flagged_is_not_crowned_either():
    guess = clean("best", "1" * 100, flags=("guesses",))
    (found,) = headline(summarise([*experiment(none=NONE, good=GOOD), guess, made("best", "1" * 100)]))
    assert found.startswith("m with good")
    assert "best 100.0 % ♯ (guesses)" in found


def test_a_flag_of_the_clean_images_belongs_to_every_number_of_that_system_and_seed():
    guess = clean("best", "1" * 100, flags=("guesses",))
    attacked = [made("best", "1" * 100, eps=eps) for eps in (2 / 255, 8 / 255)]
    results = [*experiment(none=NONE, good=GOOD), guess, *attacked]
    summary = summarise(results)
    entries = {line.system.defense: line.entries for table in laid_out(summary) for line in table.lines}
    assert all(entry.marks == "♯" for entry in entries["best"] if entry.share is not None)
    assert not any(entry.marks for name in ("none", "good") for entry in entries[name])
    text = terminal.plain(replace(findings(galleries=False), results=results, histories={}), summary)
    assert text.count("100.0 ± 3.6 ♯") == 4  # pgd and the worst case, at two eps
    (panel,) = (panel for panel in summary.panels if panel.attack.is_worst_case)
    figure, _ = curves.robustness(summary, panel, "m")
    none, good, sound, thin, hollow = (np.isfinite(line.get_ydata()).tolist() for line in figure.axes[0].lines)
    assert (none, good, sound, thin, hollow) == ([True] * 2, [True] * 2, [False] * 3, [True] * 3, [True] * 3)
    other = [replace(each, row=replace(each.row, seed=1, flags=())) for each in (guess, *attacked)]
    alone = summarise([*other, *(replace(each, row=replace(each.row, seed=0)) for each in (guess, attacked[0]))])
    assert alone.cell(System("m", "best"), AttackId("pgd", "linf"), 8 / 255, "adaptive").flags == ("seeds-missing: 1 of 2",)


def test_where_all_are_flagged_none_is_called_best_and_what_to_do_is_said():
    rows = [replace(each, row=replace(each.row, flags=(STATIC_WINS,))) for each in experiment(none=NONE, good=GOOD)]
    (found,) = sentences(summarise(rows))
    assert found[0] == (
        "m: none can be called best in the worst case within L∞ 8/255, because every number is doubtful: "
        "no defence 20.0 % ‡ and good 50.0 % ‡."
    )
    assert found[1] == f"To do: {MEANINGS[STATIC_WINS].remedy}"
    assert not any(entry.best for table in laid_out(summarise(rows)) for line in table.lines for entry in line.entries)


def test_only_the_images_that_both_met_are_compared():
    results = [made("none", "0" * 30), made("good", "1" * 20 + "0" * 80)]
    (found,) = headline(summarise(results))
    low, high = score_interval(20, 0, 30)
    assert f"by {100 * 20 / 30:.1f} (95 % interval {100 * low:.1f} to {100 * high:.1f}; 30 images)" in found


def test_several_seeds_are_told_as_what_they_are():
    rng = np.random.default_rng(0)
    results = []
    for seed in range(3):
        for defense, share in (("none", 0.2), ("good", 0.6)):
            bits = "".join("1" if draw < share else "0" for draw in rng.random(200))
            results += [clean(defense, "1" * 200, seed=seed), made(defense, bits, seed=seed)]
    (found,) = headline(summarise(results))
    assert re.search(r"% right in .* \(mean of 3 seeds, standard deviation [\d.]+; 200 images each\)", found)
    assert re.search(
        r"good [\d.]+ % is better than no defence [\d.]+ % by [\d.]+ \(95 % interval [\d.]+ to [\d.]+; 200 images and 3 seeds\)", found
    )


def test_one_paragraph_per_norm_and_model_of_the_largest_eps():
    results = [made("good", "1100", eps=eps, norm=norm) for norm, eps in (("linf", 4 / 255), ("linf", 8 / 255), ("l2", 0.5))]
    found = headline(summarise(results))
    assert [re.search(r"within (\S+ \S+) ", text)[1] for text in found] == ["L∞ 8/255", "L2 0.5"]


def test_without_an_attack_the_clean_numbers_are_the_headline():
    (found,) = headline(summarise([clean("none", "1" * 9 + "0")]))
    assert found == "m on clean images: no defence 90.0 % (95 % interval 55.5 to 99.7; 10 images). Nothing was attacked."


def test_where_no_attack_had_a_ball_the_headline_tells_distances():
    moved = {"l2": 0.5, "l2_median": 0.25, "fooled": 8.0}
    rows = [
        clean("none", "1" * 9 + "0"),
        result("cw", "1" + "0" * 9, defense="none", eps=None, norm="l2", metrics=moved, flags=("unbroken",)),
    ]
    (found,) = headline(summarise(rows))
    assert found.endswith("Under cw, L2, half of the fooled images lie within 0.250 ◊ for no defence (8 images).")


# Everywhere ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def doubted():
    """The highest number is flagged, the second best leads."""
    best = [made("best", "1" * 90 + "0" * 10), made("best", "1" * 40 + "0" * 60, threat="static")]
    results = flagged([*experiment(none=NONE, good=GOOD), clean("best", "1" * 100), *best])
    return replace(findings(galleries=False), results=results, histories={}), summarise(results)


def test_the_leader_is_bold_and_the_flagged_number_is_not(doubted):
    found, summary = doubted
    made = tables.files(found, summary)
    (line,) = (line for line in made["summary.md"].splitlines() if line.startswith("| m     | best") and "‡" in line and "100.0" in line)
    assert "**" not in line
    assert made["summary.md"].count("**50.0 ± 10.2**") == 1
    assert made["summary.tex"].count(r"\textbf{50.0}") == 1
    assert r"\textbf{90.0}" not in made["summary.tex"]
    assert r"40.0{\tiny$\,\pm$10.3}$^{\ddagger}$" in made["summary.tex"]
    html = page.html(found, summary, [])
    assert html.count('class="adaptive best"') == 1
    assert re.search(r'class="adaptive best"[^>]*>\s*<a class="number" href="#row-\d+">50\.0<', html)


def test_the_headline_is_the_same_in_every_report(doubted):
    found, summary = doubted
    (paragraph,) = headline(summary)
    assert "‡ (static-wins)" in paragraph
    made = tables.files(found, summary)
    assert markdown.escape(paragraph) in made["summary.md"]
    assert latex.escape(paragraph) in made["summary.tex"]
    assert " ".join(terminal.plain(found, summary).split()).endswith(paragraph)
    text = unescape(re.sub(r"<[^>]+>", "", page.html(found, summary, []))).replace("\u00a0", " ")
    assert paragraph in " ".join(text.split())


def test_marks_on_the_page_lead_to_their_explanation(doubted):
    html = page.html(*doubted, [])
    assert '<dt id="flag-static-wins">‡</dt>' in html
    assert html.count('<a href="#flag-static-wins">‡</a>') >= 3  # headline, summary, all measurements
    assert "To do: Run square, or give the purifier a straight-through gradient." in html


def test_programs_get_shares_and_percent_by_name(doubted):
    found, summary = doubted
    records = json.loads(tables.files(found, summary)["accuracy.json"])
    assert all(record["accuracy_percent"] == pytest.approx(100 * record["accuracy"]) for record in records)
    assert {record["accuracy"] for record in records} >= {0.5, 0.9}


def test_clean_rows_have_no_norm_no_eps_and_no_costs(doubted):
    found, summary = doubted
    header, _, *lines = (line.split("|")[1:-1] for line in tables.files(found, summary)["accuracy.md"].splitlines() if "|" in line)
    header = [name.strip() for name in header]
    for line in lines:
        cells = dict(zip(header, map(str.strip, line), strict=True))
        unattacked = cells["attack"] == "clean"
        assert (cells["norm"] == "") == (cells["ε"] == "") == (cells["gradients per image"] == "") == unattacked


def test_ten_systems_with_long_names_fit_eighty_columns():
    names = ["none", *(f"adversarial_training_with_a_very_long_name_{i}" for i in range(10))]
    results = [each for name in names for each in experiment(**{name: GOOD})]
    attack = "projected gradient descent of many restarts"
    results += [result(attack, "10" * 30, defense=name, eps=None, norm="l2", target="least_likely") for name in names]
    summary = summarise(results)
    text = terminal.plain(replace(findings(galleries=False), results=results), summary)
    body, _, said = text.partition("accuracy  percent")
    assert max(map(len, body.splitlines())) <= 80
    assert max(map(len, said.splitlines())) <= 100
    assert all(name in body for name in names)
    assert all(word in body for word in f"{attack} (target least_likely)".split())


def test_the_paragraph_is_about_the_largest_eps_that_leaves_something():
    """And says what the largest of all leaves."""
    far = [made(defense, bits, eps=16 / 255) for defense, bits in (("none", "0" * 100), ("good", "1" * 2 + "0" * 98))]
    (found,) = sentences(summarise([*experiment(none=NONE, good=GOOD), *far]))
    assert found[0].startswith("m with good: 50.0 % right in the worst case within L∞ 8/255")
    assert found[-1] == "Within L∞ 16/255 none keeps more than 2.0 %."
    near = [made(defense, "1" * 30 + "0" * 70, eps=16 / 255) for defense in ("none", "good")]
    (found,) = sentences(summarise([*experiment(none=NONE, good=GOOD), *near]))
    assert "16/255" in found[0]


def test_where_no_defence_helps_all_that_replayed_examples_claim_is_named():
    claims = [made("good", "1" * 90 + "0" * 10, threat="static"), made("nearly", "1" * 80 + "0" * 20, threat="static")]
    (found,) = sentences(summarise([*experiment(none=NEARLY, good=GOOD, nearly=NEARLY), *claims]))
    assert (
        found[-1]
        == "So no defence truly helps here, though replayed examples alone would have claimed 90.0 % for good and 80.0 % for nearly."
    )


def test_no_claim_is_told_that_is_no_more_than_no_defence():
    claims = [made("good", "1" * 10 + "0" * 90, threat="static")]
    (found,) = sentences(summarise([*experiment(none=NEARLY, good="c" * 100), *claims]))
    assert found[-1] == "So no defence truly helps here."


def test_no_claim_is_told_that_may_be_chance():
    """Two images more of a hundred; twenty more are told."""
    none, weak = "1" * 40 + "c" * 60, "1" * 20 + "c" * 80
    for more, told in ((2, False), (20, True)):
        claims = [made("good", "1" * (40 + more) + "0" * (60 - more), threat="static")]
        (found,) = sentences(summarise([*experiment(none=none, good=weak), *claims]))
        assert found[-1].startswith("So no defence truly helps here")
        assert ("would have claimed" in found[-1]) == told


def test_what_was_never_to_be_crafted_on_a_model_is_not_missing_there():
    """A service gives no gradients: its worst case lacks nothing that can be had."""
    attacked = made("none", NONE.replace("c", "0"))
    square = replace(attacked, row=replace(attacked.row, attack="square"))
    results = [*experiment(none=NONE), square]
    elsewhere = [replace(each, row=replace(each.row, model="service")) for each in (clean("none", NONE.replace("c", "1")), square)]
    flags = {}
    for planned in (None, frozenset({("m", "pgd"), ("m", "square"), ("service", "square")})):
        summary = summarise([*results, *elsewhere], planned=planned)
        (row,) = (row for row in summary.rows if row.model == "service" and row.attack == "worst case")
        flags[planned is None] = row.flags
    assert "attacks-missing: pgd" in flags[True]
    assert flags[False] == ()
