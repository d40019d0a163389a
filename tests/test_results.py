"""Rows: the worst case by hand, the interval by the textbook, the flags by construction."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from advrun.results import (
    CLOSEST,
    FEWER_STEPS_WIN,
    GUESSES,
    MORE_EPS_HELPS,
    STATIC_WINS,
    UNBROKEN,
    UNMOVED,
    WORST_CASE,
    Result,
    Row,
    binomial_interval,
    flagged,
    worst_cases,
)


def result(attack, right, threat="adaptive", eps=0.1, defense="d", norm="linf", distances=None, **more) -> Result:
    """`right` is one bit per image; all were moved by eps, if nothing else is said."""
    labels = np.zeros(len(right), np.int32)
    predictions = np.array([0 if bit == "1" else 1 for bit in right], np.int32)
    accuracy = right.count("1") / len(right)
    content = {"gradients": 10.0, **more}
    row = Row("m", defense, attack, threat, 0, len(right), accuracy, (0, 1), eps, norm, **content)
    moved = np.full(len(right), eps or 0.0) if distances is None else distances
    return Result(row, labels, predictions, np.asarray(moved, np.float32))


def test_worst_case_is_per_image_and_the_adaptive_one_includes_replays():
    rows = [
        result("fgsm", "111100", "static"),
        result("pgd", "011110", "static"),
        result("fgsm", "110111"),
        result("pgd", "101111"),
        result("fgsm", "111111", eps=0.05),
        result("clean", "111111", "none", eps=None, norm=""),
    ]
    worst = {(each.row.threat, each.row.eps): each for each in worst_cases(rows)}
    assert {each.row.attack for each in worst.values()} == {WORST_CASE}
    assert worst["static", 0.1].correct.tolist() == [False, True, True, True, False, False]
    assert worst["adaptive", 0.1].correct.tolist() == [False, False, False, True, False, False]
    assert worst["adaptive", 0.05].row.accuracy == 1
    assert len(worst) == 3


def test_targeted_attacks_take_part_in_the_worst_case():
    """An image that a targeted attack moved out of its class has not survived."""
    (worst,) = worst_cases([result("pgd", "1101", target="2"), result("fgsm", "1011")])
    assert worst.correct.tolist() == [True, False, False, True]
    assert worst.row.target == ""


def test_worst_case_over_the_common_images():
    worst = worst_cases([result("fgsm", "1111"), result("cw", "10")])
    assert [each.row.n for each in worst] == [2]
    assert worst[0].row.accuracy == 0.5


def test_what_falls_within_a_ball_falls_within_a_larger_one():
    """Also where the larger eps met a weak attack alone, on more images."""
    small, large = result("autoattack", "001", eps=0.1), result("noise", "1110", eps=0.2)
    worst = {each.row.eps: each for each in worst_cases([large, small])}
    assert worst[0.1].correct.tolist() == [False, False, True]
    assert worst[0.2].correct.tolist() == [False, False, True, False]
    assert worst[0.2].row.settings["over"] == ["noise"]  # what was run at this eps: where others ran more, something failed
    assert worst[0.2].row.budget == "over autoattack, noise"


def test_the_adaptive_worst_case_includes_replays_at_smaller_eps():
    rows = [result("pgd", "01", threat="static", eps=0.1), result("pgd", "11", eps=0.2), result("pgd", "11", threat="static", eps=0.2)]
    worst = {(each.row.threat, each.row.eps): each.row.accuracy for each in worst_cases(rows)}
    assert worst == {("static", 0.1): 0.5, ("static", 0.2): 0.5, ("adaptive", 0.2): 0.5}


def test_what_an_attack_without_eps_moved_no_further_falls_within_the_ball():
    rows = [result("pgd", "1110"), result("fmn", "00000", eps=None, distances=[0.05, 0.1, 0.11, 0.4, 0.05])]
    (ball, nearest) = worst_cases(rows)
    assert (ball.row.attack, ball.row.eps, ball.row.n) == (WORST_CASE, 0.1, 4)
    assert ball.correct.tolist() == [False, False, True, False]
    assert ball.row.settings["over"] == ["pgd"]
    assert (nearest.row.attack, nearest.row.eps, nearest.row.accuracy) == (CLOSEST, None, 0.0)
    np.testing.assert_allclose(nearest.distances, [0.05, 0.1, 0.11, 0.1, 0.05])
    assert nearest.row.metrics == {"linf": pytest.approx(0.082)}


def test_the_closest_example_counts_no_image_that_was_wrong_before_and_none_that_stayed_right():
    rows = [result("ddn", "001", eps=None, norm="l2", distances=[0.0, 2.0, 9.0]), result("fmn", "011", eps=None, norm="l2")]
    (nearest,) = worst_cases(rows)
    assert nearest.row.metrics == {"l2": 2.0}
    assert nearest.distances.tolist() == [0.0, 2.0, 0.0]
    assert nearest.row.accuracy == pytest.approx(1 / 3)


@pytest.mark.parametrize("order", [1, -1])
def test_the_closest_example_is_the_nearer_one_whatever_their_order(order):
    rows = [result(name, "00", eps=None, norm="l2", distances=moved) for name, moved in (("ddn", [1.0, 5.0]), ("fmn", [2.0, 3.0]))]
    (nearest,) = worst_cases(rows[::order])
    assert nearest.distances.tolist() == [1.0, 3.0]


def test_a_worst_case_has_the_doubts_about_attacks_of_its_own_kind():
    """That an attack without eps left survivors says nothing of what was tried within a ball, and the other way round."""
    rows = [result(name, "01", eps=eps, flags=(name,)) for name, eps in (("pgd", 0.1), ("bim", 0.05), ("fmn", None), ("fab", None))]
    flags = {each.row.eps: each.row.flags for each in worst_cases(rows)}
    assert flags == {0.1: ("bim", "pgd"), 0.05: ("bim",), None: ("fab", "fmn")}


def test_one_attack_without_eps_is_its_own_closest_example():
    one = result("ddn", "01", eps=None, norm="l2")
    assert worst_cases([one, result("ddn", "00", "static", eps=None, norm="l2")]) == []
    (of_two_targets,) = worst_cases([one, result("ddn", "10", eps=None, norm="l2", target="2")])
    assert of_two_targets.row.accuracy == 0


def test_a_result_survives_its_file():
    first = result("ddn", "01", eps=None, norm="l2", distances=[0.1, 0.3])
    second = Result.from_json(first.to_json())
    assert second.row == first.row
    for name in ("labels", "predictions", "distances"):
        assert getattr(second, name).dtype == getattr(first, name).dtype
        np.testing.assert_array_equal(getattr(second, name), getattr(first, name))


def test_a_worst_case_names_the_attacks_of_its_own_threat():
    """Replays count in the adaptive worst case, but must not hide that an adaptive attack is missing."""
    rows = [result("fgsm", "11", "static"), result("pgd", "10", "static"), result("fgsm", "01")]
    over = {each.row.threat: each.row.settings["over"] for each in worst_cases(rows)}
    assert over == {"static": ["fgsm", "pgd"], "adaptive": ["fgsm"]}


def test_interval_covers_by_its_definition():
    low, high = binomial_interval(7, 20)
    assert binom.sf(6, 20, low) == pytest.approx(0.025)
    assert binom.cdf(7, 20, high) == pytest.approx(0.025)
    assert binomial_interval(0, 20)[0] == 0
    assert binomial_interval(20, 20)[1] == 1


def test_flags_come_from_contradictions():
    strong, weak = "1" * 50 + "0" * 50, "1" * 80 + "0" * 20
    rows = {
        "replay beats adaptive": ([result("pgd", strong, "static"), result("pgd", weak)], STATIC_WINS),
        "more eps helps": ([result("pgd", strong, eps=0.05), result("pgd", weak, eps=0.1)], MORE_EPS_HELPS),
        "one step wins": ([result("fgsm", strong, gradients=1.0), result("pgd", weak, gradients=40.0)], FEWER_STEPS_WIN),
        "unbroken": ([result("cw", weak, eps=None, norm="l2")], UNBROKEN),
    }
    for name, (pair, flag) in rows.items():
        assert flagged(pair)[-1].row.flags == (flag,), name
    stuck = [0.0] * 2 + [0.1] * 78 + [0.0] * 20  # of 80 that stay right, two did not move; those that were wrong before never do
    rows = [result("pgd", weak, distances=distances) for distances in (stuck, [0.0, *stuck[:-1]], np.arange(100))]
    assert [each.row.flags for each in flagged(rows)] == [(), (UNMOVED,), ()]
    consistent = [result("fgsm", weak, gradients=1.0), result("pgd", strong), result("pgd", weak, "static")]
    assert all(not each.row.flags for each in flagged(consistent))


def test_a_model_that_guesses_is_flagged():
    """Three classes, 50, 30 and 20 of 100 images; right on the first so many images."""
    labels = np.repeat([0, 1, 2], [50, 30, 20]).astype(np.int32)

    def clean(right):
        row = Row("m", "none", "clean", "none", 0, 100, right / 100, (0, 1), None, "")
        predictions = np.where(np.arange(100) < right, labels, (labels + 1) % 3).astype(np.int32)
        return Result(row, labels, predictions, np.zeros(100, np.float32))

    assert [each.row.flags for each in flagged(map(clean, (20, 50, 54, 55)))] == [(GUESSES,), (GUESSES,), (GUESSES,), ()]
    assert flagged([result("clean", "1110", "none", eps=None, norm="")])[0].row.flags == ()  # one class only


def test_json_round_trip():
    before = result("pgd", "1010", settings={"steps": 3}, metrics={"l2": None}, flags=("x",))
    after = Result.from_json(before.to_json())
    assert after.row == before.row
    np.testing.assert_array_equal(after.predictions, before.predictions)
    assert after.row.flat()["l2"] is None
