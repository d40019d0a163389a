"""The area measure: closed forms, and what can never happen."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advrun.optimality import COLUMN, Target, beside, found, optimality
from advrun.results import Result, Row, binomial_interval

INF = math.inf


def curves(distances, horizon, clean):
    """The area under a robustness-distance curve, step by step."""
    edges = np.unique(np.clip([0, horizon, *distances], 0, horizon))
    return sum((high - low) * np.mean([distance > low for distance in distances]) for low, high in itertools.pairwise(edges))


@pytest.mark.parametrize(
    ("distances", "closest", "expected"),
    [
        ([1, 3], [1, 3], 1.0),  # as near as anybody
        ([2, 3], [1, 3], 0.5),  # D = 3: areas 5/2 and 2, clean 3: 1 - (5/2 - 2) / (3 - 2)
        ([INF, 3], [1, 3], 0.0),
        ([INF, INF], [1, 3], 0.0),
        ([2, 7], [1, 3], 0.5),  # beyond D all is alike
        ([1, 2], [2, 3], 1.0),  # nearer than what was known: then that is known
        ([0, 2, 3], [0, 1, 3], 0.5),  # an image that is wrong anyway is no merit
        ([2, 3, INF], [1, 3, INF], 0.5),  # nor is one that nobody fools a fault
        ([1, 1], [1, 1], None),  # D is where all lie
        ([INF, INF], [INF, INF], None),
        ([0, 0], [0, 0], None),
    ],
)
def test_two_images(distances, closest, expected):
    assert optimality(np.array(distances, float), np.array(closest, float)) == (expected if expected is None else pytest.approx(expected))


DISTANCES = st.lists(st.sampled_from([0.5, 1.0, 1.5, 2.0, 3.0, INF]), min_size=3, max_size=3)


@settings(max_examples=200, deadline=None)
@given(DISTANCES, DISTANCES)
def test_it_is_the_formula_of_the_paper(distances, closest):
    closest = np.minimum(distances, closest)
    known = closest[np.isfinite(closest)]
    if not len(known):
        return
    horizon = known.max()
    area, best = (curves(each, horizon, 1.0) for each in (distances, closest))
    value = optimality(np.array(distances), closest)
    if horizon - best < 1e-12:
        assert value is None
    else:
        assert value == pytest.approx(1 - (area - best) / (horizon - best))
        assert 0 <= value <= 1


@settings(max_examples=300, deadline=None)
@given(DISTANCES, DISTANCES, DISTANCES, st.sampled_from([1.0, 2.0, 3.0]))
def test_for_a_given_axis_neither_a_new_example_nor_a_weaker_attack_raises_it(distances, closest, more, horizon):
    distances, closest, more = map(np.array, (distances, closest, more))
    before = optimality(distances, closest, horizon)
    for after in (optimality(distances, np.minimum(closest, more), horizon), optimality(np.maximum(distances, more), closest, horizon)):
        assert before is None or after is None or after <= before + 1e-12
    one, other = found(distances, closest, horizon), found(distances, np.minimum(closest, more), horizon)
    assert one is None or other is None or other <= one + 1e-12


@settings(max_examples=300, deadline=None)
@given(DISTANCES, DISTANCES, DISTANCES)
def test_while_the_farthest_image_stays_where_it_is_a_new_example_never_raises_it(distances, closest, more):
    distances, closest = np.array(distances), np.minimum(closest, distances)
    nearer = np.minimum(closest, more)
    known = [each[np.isfinite(each)] for each in (closest, nearer)]
    if len(known[0]) and known[0].max() == known[1].max():
        before, after = optimality(distances, closest), optimality(distances, nearer)
        assert before is None or after is None or after <= before + 1e-12


def test_a_nearer_example_of_the_farthest_image_shortens_the_axis():
    """The one way in which a number may rise when something is learnt, as the module says."""
    distances = np.array([1.0, 20.0, 10.0])
    assert optimality(distances, np.array([1.0, 9.0, 10.0])) == pytest.approx(0.9)
    assert optimality(distances, np.array([1.0, 9.0, 9.0])) == 1.0


def test_within_a_ball_it_is_the_share_of_what_is_known_to_fall():
    closest = np.array([0.1, 0.2, 0.3, 0.5, 0.0])
    assert found(np.array([0.2, INF, 0.3, INF, 0.0]), closest, 0.3) == pytest.approx(2 / 3)
    assert found(np.array([INF, INF, INF, 0.2, 0.0]), closest, 0.3) == pytest.approx(1 / 4)  # it has found one that nobody knew
    assert found(np.array([INF]), np.array([INF]), 0.3) is None


def result(attack: str, wrong, distances, *, eps=None, threat="adaptive", **fields) -> Result:
    n, right = len(wrong), len(wrong) - sum(wrong)
    row = Row(
        "lnet", "none", attack, threat, 0, n, right / n, binomial_interval(right, n), eps=eps, norm=fields.pop("norm", "l2"), **fields
    )
    return Result(row, np.zeros(n, np.int32), np.array(wrong, np.int32), np.array(distances, np.float32))


def test_an_image_that_is_wrong_anyway_is_no_merit_of_who_moved_it():
    """A replayed example of the undefended model may change an image that the defended one has wrong."""
    clean = result("clean", [1, 0, 0], [0, 0, 0], threat="none", norm="")
    replayed = result("replayed", [1, 1, 0], [1, 2, 0], threat="static")
    beside([clean, replayed], {Target("lnet", "none", 0, "l2"): np.array([INF, 1, 3])})
    assert replayed.row.metrics[COLUMN] == pytest.approx(1 / 2)  # D = 3: (3 - 2) of (3 - 1); with the first image it were 3 of 4


def test_rows_are_measured_against_the_ledger_and_each_other():
    clean = result("clean", [1, 0, 0, 0], [0, 0, 0, 0], threat="none", norm="")
    weak = result("weak", [1, 1, 1, 0], [0, 4, 4, 0])
    strong = result("strong", [1, 1, 1], [0, 2, 4])
    ball = result("ball", [1, 1, 0, 0], [0, 3, 0, 0], eps=3.0)
    other = result("other", [1, 1], [0, 1], norm="l1")
    signs = result("signs", [1, 1], [0, 1], settings={"source_class": 3})
    rows = [clean, weak, strong, ball, other, signs]
    beside(rows, {Target("lnet", "none", 0, "l2"): np.array([INF, 2, INF, 3])})
    # known: 0 (wrong anyway), 2, 4, 3; so D = 4. `strong` met three images alone: 2 and 4 of 2 and 4.
    assert weak.row.metrics[COLUMN] == pytest.approx(0.0)
    assert strong.row.metrics[COLUMN] == pytest.approx(1.0)
    assert ball.row.metrics[COLUMN] == pytest.approx(1 / 2)
    assert all(COLUMN not in each.row.metrics for each in (clean, other, signs))
