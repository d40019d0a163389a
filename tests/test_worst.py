"""The worst case by hand."""

from __future__ import annotations

import numpy as np
import pytest

from advrun.results import CLOSEST, WORST_CASE
from advrun.worst import worst_cases
from tests._rows import result


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
    assert nearest.row.metrics == {"fooled": 5, "linf": pytest.approx(0.082), "linf_median": pytest.approx(0.1)}


def test_the_closest_example_counts_no_image_that_was_wrong_before_and_none_that_stayed_right():
    rows = [result("ddn", "001", eps=None, norm="l2", distances=[0.0, 2.0, 9.0]), result("fmn", "011", eps=None, norm="l2")]
    (nearest,) = worst_cases(rows)
    assert nearest.row.metrics == {"fooled": 1, "l2": 2.0, "l2_median": 2.0}
    assert nearest.distances.tolist() == [0.0, 2.0, 0.0]
    assert nearest.row.accuracy == pytest.approx(1 / 3)


@pytest.mark.parametrize("order", [1, -1])
def test_the_closest_example_is_the_nearer_one_whatever_their_order(order):
    rows = [result(name, "00", eps=None, norm="l2", distances=moved) for name, moved in (("ddn", [1.0, 5.0]), ("fmn", [2.0, 3.0]))]
    (nearest,) = worst_cases(rows[::order])
    assert nearest.distances.tolist() == [1.0, 3.0]


def test_a_worst_case_has_the_doubts_about_attacks_of_its_own_kind():
    """That an attack without eps left survivors says nothing of what was tried within a ball, and the other way round."""
    flags = {"pgd": "unmoved", "bim": "zero-gradients", "fmn": "unbroken", "fab": "static-wins"}
    rows = [result(name, "01", eps=eps, flags=(flags[name],)) for name, eps in (("pgd", 0.1), ("bim", 0.05), ("fmn", None), ("fab", None))]
    found = {each.row.eps: each.row.flags for each in worst_cases(rows)}
    assert found == {0.1: ("zero-gradients", "unmoved"), 0.05: ("zero-gradients",), None: ("static-wins", "unbroken")}


def test_one_attack_without_eps_is_its_own_closest_example():
    one = result("ddn", "01", eps=None, norm="l2")
    assert worst_cases([one, result("ddn", "00", "static", eps=None, norm="l2")]) == []
    (of_two_targets,) = worst_cases([one, result("ddn", "10", eps=None, norm="l2", target="2")])
    assert of_two_targets.row.accuracy == 0


def test_a_worst_case_names_the_attacks_of_its_own_threat():
    """Replays count in the adaptive worst case, but must not hide that an adaptive attack is missing."""
    rows = [result("fgsm", "11", "static"), result("pgd", "10", "static"), result("fgsm", "01")]
    over = {each.row.threat: each.row.settings["over"] for each in worst_cases(rows)}
    assert over == {"static": ["fgsm", "pgd"], "adaptive": ["fgsm"]}


def test_the_closest_example_needs_none_where_the_system_is_wrong_anyway():
    """Replayed images were moved because the undefended model had them right; what the defence gets wrong without them fooled nobody."""
    clean = result("clean", "0111", "none", eps=None, norm="")
    replays = [result(name, "0011", "static", eps=None, norm="l2", distances=[0.1, 0.4, 0.2, 0.3]) for name in ("cw", "hopskipjump")]
    (closest,) = worst_cases([clean, *replays])
    assert (closest.row.metrics["fooled"], closest.row.metrics["l2"]) == (1, pytest.approx(0.4))
    assert closest.row.accuracy == 0.5
