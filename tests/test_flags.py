"""Flags: each raised by a small contradiction, and not by the next smaller one; none by chance; one mark for one flag."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy.stats import binom

from advrun import flags, meanings
from advrun.flags import (
    BLACK_BOX_WINS,
    FEWER_STEPS_WIN,
    GUESSES,
    MORE_EPS_HELPS,
    STATIC_WINS,
    UNBROKEN,
    UNMOVED,
    ZERO_GRADIENTS,
    explained,
    flagged,
    in_order,
    mark,
    marks,
)
from advrun.results import Result, Row
from tests._rows import result


def alone(*results: Result) -> tuple[str, ...]:
    """The flags of the last result; no other may have one."""
    *others, last = flagged(results)
    assert not any(other.row.flags for other in others)
    return last.row.flags


def pair(only_last: int, only_other: int, n: int = 100) -> tuple[str, str]:
    """Bits of two attacks: so many images stay right under only one of them, the rest is wrong under both or right under both."""
    both = (n - only_last - only_other) // 2
    rest = "1" * both + "0" * (n - only_last - only_other - both)
    return "0" * only_last + "1" * only_other + rest, "1" * only_last + "0" * only_other + rest


CONTRADICTIONS = {
    STATIC_WINS: lambda other, last: (result("pgd", other, "static"), result("pgd", last)),
    MORE_EPS_HELPS: lambda other, last: (result("pgd", other, eps=0.05), result("pgd", last, eps=0.1)),
    FEWER_STEPS_WIN: lambda other, last: (result("fgsm", other, gradients=1.0), result("pgd", last, gradients=40.0)),
    BLACK_BOX_WINS: lambda other, last: (result("square", other, gradients=0.0), result("pgd", last, gradients=40.0)),
}


@pytest.mark.parametrize("flag", CONTRADICTIONS)
def test_an_attack_that_must_not_be_stronger_is_when_chance_does_not_explain_it(flag):
    """Every adaptive result makes a test of its own, whether it moved its images, and all tests of a report share one per cent."""
    tests, enough = (2, 8) if flag == STATIC_WINS else (3, 9)
    assert 0.5**enough <= 0.01 / tests < 0.5 ** (enough - 1)
    assert alone(*CONTRADICTIONS[flag](*pair(enough, 0))) == (flag,)
    assert alone(*CONTRADICTIONS[flag](*pair(enough - 1, 0))) == ()
    assert alone(*CONTRADICTIONS[flag](*pair(0, 30))) == ()
    assert alone(*CONTRADICTIONS[flag](*pair(20, 15))) == ()  # five in a hundred, but chance may do that


@pytest.mark.parametrize("flag", CONTRADICTIONS)
def test_a_difference_that_is_sure_but_small_is_no_reason(flag):
    """30 of 10,000 images, all one way; 15 where an attack without gradients is the stronger one."""
    assert alone(*CONTRADICTIONS[flag](*pair(15 if flag == BLACK_BOX_WINS else 30, 0, 10000))) == ()
    assert alone(*CONTRADICTIONS[flag](*pair(60, 0, 10000))) == (flag,)


def test_only_the_images_that_both_met_count():
    assert alone(result("pgd", "0" * 20, "static"), result("pgd", "0" * 20 + "1" * 80)) == ()
    assert alone(result("pgd", "0" * 20, "static"), result("pgd", "1" * 20 + "0" * 80)) == (STATIC_WINS,)


def test_another_system_norm_seed_or_target_contradicts_nothing():
    other, last = pair(40, 0)
    for more in ({"defense": "e"}, {"norm": "l2"}, {"target": "2"}):
        assert alone(result("pgd", other, "static", **more), result("pgd", last)) == ()
    assert alone(result("pgd", other, "static", settings={"steps": 9}), result("pgd", last, settings={"steps": 8})) == ()
    assert alone(result("fgsm", other, "static"), result("pgd", last)) == ()


def test_an_attack_is_only_weak_where_another_with_gradients_does_as_well():
    """Then gradients do not mislead: what is strongest counts, and the weak one is no reason to doubt it."""
    other, last = pair(40, 0)
    strong, weak = result("apgd", other, gradients=100.0), result("tifgsm", last, gradients=10.0)
    assert alone(result("fgsm", other, gradients=1.0), strong, weak) == ()
    assert alone(result("square", other, gradients=0.0), strong, weak) == ()
    assert alone(strong, result("fgsm", other, gradients=1.0, eps=0.05), result("fgsm", last, gradients=1.0)) == ()
    nearly = result("apgd", other.replace("0", "1", 1), gradients=100.0)
    assert alone(nearly, result("fgsm", other, gradients=1.0), weak) == (FEWER_STEPS_WIN,)
    assert alone(nearly, result("square", other, gradients=0.0), weak) == (BLACK_BOX_WINS,)


def test_a_single_step_need_not_beat_an_attack_without_gradients():
    other, last = pair(40, 0)
    assert alone(result("square", other, gradients=0.0), result("fgsm", last, gradients=1.0)) == ()


@pytest.mark.parametrize(("left", "n"), [(7, 100), (3, 20), (16, 400)])
def test_an_attack_that_may_go_anywhere_is_to_break_all_but_a_few(left, n):
    """So many of n are more than 2 % at the level of 1 %, one fewer are not."""
    assert binom.sf(left - 1, n, 0.02) <= 0.01 < binom.sf(left - 2, n, 0.02)
    assert alone(result("cw", "1" * left + "0" * (n - left), eps=None, norm="l2")) == (UNBROKEN,)
    assert alone(result("cw", "1" * (left - 1) + "0" * (n - left + 1), eps=None, norm="l2")) == ()


def test_an_attack_within_a_ball_is_to_move_what_stays_right():
    """Of 80 that stay right so many did not move; those that were wrong before never do."""
    right = "1" * 80 + "0" * 20
    assert alone(result("pgd", right, distances=[0.0] * 7 + [0.1] * 73 + [0.0] * 20)) == (UNMOVED,)
    assert alone(result("pgd", right, distances=[0.0] * 6 + [0.1] * 74 + [0.0] * 20)) == ()


def test_zero_gradients_are_told_by_their_share():
    assert alone(result("pgd", "10", metrics={"zero_gradients": 0.03})) == (ZERO_GRADIENTS,)
    assert alone(result("pgd", "10", "static", metrics={"zero_gradients": 0.03})) == (ZERO_GRADIENTS,)
    assert alone(result("pgd", "10", metrics={"zero_gradients": 0.005})) == ()
    assert alone(result("pgd", "10", metrics={"zero_gradients": None})) == ()


def test_a_model_that_guesses_is_flagged():
    """Three classes, 50, 30 and 20 of 100 images; right on the first so many images."""
    labels = np.repeat([0, 1, 2], [50, 30, 20]).astype(np.int32)

    def clean(right):
        row = Row("m", "none", "clean", "none", 0, 100, right / 100, (0, 1), None, "")
        predictions = np.where(np.arange(100) < right, labels, (labels + 1) % 3).astype(np.int32)
        return Result(row, labels, predictions, np.zeros(100, np.float32))

    assert [each.row.flags for each in flagged(map(clean, (20, 50, 54, 55)))] == [(GUESSES,), (GUESSES,), (GUESSES,), ()]
    assert alone(result("clean", "1110", "none", eps=None, norm="")) == ()  # one class only
    assert re.search("came trained, run advrun check.*; one that was trained here needs more epochs", explained(GUESSES))


def test_flags_that_a_result_has_stay():
    (again,) = flagged([result("pgd", "10", flags=("of old", UNMOVED))])
    assert again.row.flags == (UNMOVED, "of old")


def plain_net(rng: np.random.Generator, n: int) -> list[Result]:
    """Attacks on four systems: a threshold per image, which every attack finds up to noise of its own.

    Replays are as strong as adaptive attacks and iterative ones equally strong, so that noise alone tells them apart; a single step and
    square are weaker. Of the largest eps nothing is left.
    """
    results = []
    for defense in ("none", "a", "b", "c"):
        threshold = rng.exponential(0.02 if defense == "none" else 0.05, n)
        labels = rng.integers(0, 10, n).astype(np.int32)

        def row(attack, threat, eps, loss, gradients, defense=defense, threshold=threshold, labels=labels):
            right = threshold * rng.normal(1 + loss, 0.03, n) > eps
            moved = np.full(n, eps, np.float32)
            content = Row("m", defense, attack, threat, 0, n, float(right.mean()), (0, 1), eps, "linf", gradients=gradients)
            return Result(content, labels, np.where(right, labels, labels + 1), moved)

        for attack, loss, gradients in (("fgsm", 0.1, 1.0), ("pgd", 0.0, 20.0), ("mifgsm", 0.0, 50.0), ("square", 0.1, 0.0)):
            for eps in (1 / 255, 2 / 255, 4 / 255, 8 / 255, 16 / 255, 32 / 255, 64 / 255):
                results.append(row(attack, "adaptive", eps, loss, gradients))
                if defense != "none":
                    results.append(row(attack, "static", eps, loss, gradients))
    return results


def test_twenty_nets_without_fault_raise_no_flag():
    for seed in range(20):
        found = flagged(plain_net(np.random.default_rng(seed), (100, 500, 1000)[seed % 3]))
        assert len(found) == 4 * 28 + 3 * 28
        assert not any(each.row.flags for each in found), seed


def test_every_flag_has_a_mark_of_its_own_and_says_what_to_do():
    known = list(meanings.MEANINGS)
    assert len({mark(flag) for flag in known}) == len(known)
    assert mark("not of this version") not in {mark(flag) for flag in known}
    for flag in known:
        found = flags.meaning(flag)
        assert found.seen.endswith(".")
        assert found.why.endswith(".")
        assert found.remedy.startswith(("Run ", "Give ", "For a model that came trained, run "))
        assert explained(flag) == f"{flag}: {found.seen} {found.why} To do: {found.remedy}"


def test_a_mark_does_not_depend_on_what_else_is_flagged():
    assert mark("attacks-missing: pgd, cw") == mark("attacks-missing: fgsm") == "△"
    assert marks([UNBROKEN, ZERO_GRADIENTS, "attacks-missing: pgd", "attacks-missing: cw"]) == "†◊△"
    assert in_order(["odd", UNBROKEN, STATIC_WINS, UNBROKEN]) == [STATIC_WINS, UNBROKEN, "odd"]
    assert "lacks pgd, cw, which" in explained("attacks-missing: pgd, cw")
    assert explained("odd") == "odd: Not a flag that this version knows."


def test_the_wording_of_a_flag_is_in_no_key():
    """An edit of a text must not measure anything anew."""
    from advrun.runs import keys

    for work in ("train", "attack", "measure", "metric"):
        names = {file.name for file in keys.closure([keys._work(work)])}
        assert not names & {"flags.py", "worst.py", "paired.py"}, work
