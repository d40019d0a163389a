"""Paired tests and intervals: against their definitions, worked out another way, and by simulation."""

from __future__ import annotations

import math
from itertools import combinations, product

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest, fisher_exact, norm, t

from advrun.paired import (
    at_least,
    difference,
    exact_test,
    holm,
    in_pairs,
    newcombe_interval,
    one_sided,
    score_interval,
    unpaired,
    wilson_interval,
)

TABLES = [(12, 2, 50), (2, 12, 50), (40, 20, 160), (150, 86, 1600), (0, 1, 44), (5, 5, 30), (0, 0, 20), (3, 0, 12)]


def score_by_likelihood(only_first: int, only_second: int, n: int, delta: float) -> float:
    """Tango's statistic with the likelihood under `delta` made large by search, not by its formula."""
    rest = n - only_first - only_second

    def loss(share: float) -> float:
        cells = ((only_first, share + delta), (only_second, share), (rest, 1 - 2 * share - delta))
        return -sum(count * math.log(max(chance, 1e-300)) for count, chance in cells if count)

    bounds = (max(0.0, -delta), (1 - delta) / 2)
    share = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-12}).x
    return (only_first - only_second - n * delta) / math.sqrt(n * (2 * share + delta - delta**2))


@pytest.mark.parametrize("counts", TABLES)
def test_the_interval_ends_where_the_score_test_begins_to_reject(counts):
    low, high = score_interval(*counts)
    assert score_by_likelihood(*counts, low) == pytest.approx(norm.ppf(0.975), abs=2e-3)
    assert score_by_likelihood(*counts, high) == pytest.approx(norm.ppf(0.025), abs=2e-3)


def test_the_interval_of_agresti_s_approval_ratings():
    """Agresti (2002), Categorical Data Analysis, 10.1: 150 and 86 of 1,600; for so many images Wald's 0.021 to 0.059 is right too."""
    assert score_interval(150, 86, 1600) == pytest.approx((0.021, 0.059), abs=5e-4)


@pytest.mark.parametrize(
    ("counts", "expected"), [((0, 0, 20), (-0.1611, 0.1611)), ((8, 0, 8), (0.3512, 1.0)), ((0, 8, 8), (-1.0, -0.3512))]
)
def test_the_interval_at_the_edges(counts, expected):
    """By hand: z^2 / (n + z^2) where nothing differs; (n - z^2) / (n + z^2) where everything does."""
    assert score_interval(*counts) == pytest.approx(expected, abs=1e-4)


def test_swapping_the_systems_mirrors_the_interval():
    for first, second in product(range(0, 7, 2), repeat=2):
        low, high = score_interval(first, second, 25)
        assert score_interval(second, first, 25) == pytest.approx((-high, -low), abs=1e-9)
        assert low <= (first - second) / 25 <= high


@pytest.mark.parametrize(("n", "shares"), [(40, (0.1, 0.1)), (100, (0.2, 0.05)), (300, (0.03, 0.01)), (1000, (0.12, 0.1))])
def test_the_interval_covers_the_true_difference_in_nineteen_of_twenty(n, shares):
    rng = np.random.default_rng(5)
    counts, times = np.unique(rng.multinomial(n, [*shares, 1 - sum(shares)], 4000)[:, :2], axis=0, return_counts=True)
    inside = [low <= shares[0] - shares[1] <= high for low, high in (score_interval(int(a), int(b), n) for a, b in counts)]
    assert 0.938 < times[inside].sum() / 4000 < 0.965


def test_the_exact_test_is_the_binomial_one():
    for first, second in ((12, 2), (2, 12), (5, 5), (0, 0), (7, 0), (150, 86)):
        expected = binomtest(first, first + second).pvalue if first + second else 1.0
        assert exact_test(first, second) == pytest.approx(expected)
    assert one_sided(7, 0) == pytest.approx(2**-7)
    assert one_sided(0, 0) == 1
    assert at_least(3, 10, 0.1) == pytest.approx(binomtest(3, 10, 0.1, alternative="greater").pvalue)


def bits(text: str) -> np.ndarray:
    return np.array([letter == "1" for letter in text])


def test_the_difference_is_of_the_common_images():
    found = difference([bits("1110")], [bits("100011")])
    assert (found.n, found.value, found.seeds) == (4, 0.5, 1)
    assert found.p == pytest.approx(0.5)
    assert (found.low, found.high) == pytest.approx(score_interval(2, 0, 4))
    assert not found.apart


def test_systems_are_apart_where_more_images_differ_one_way_than_chance_explains():
    def against(only_first: int, only_second: int) -> bool:
        first = np.repeat([True, False, True], [only_first, only_second, 60])
        second = np.repeat([False, True, True], [only_first, only_second, 60])
        return difference([first], [second]).apart

    assert against(6, 0)  # 2 / 64
    assert not against(5, 0)  # 2 / 32
    assert against(0, 6)
    assert not against(9, 6)


def test_with_seeds_the_interval_is_student_s_over_seeds_and_images():
    rng = np.random.default_rng(3)
    first, second = rng.random((3, 200)) < 0.7, rng.random((3, 200)) < 0.5
    found = difference(list(first), list(second))
    gaps = first.astype(float) - second
    spread = math.sqrt(np.var(gaps.mean(1), ddof=1) / 3 + np.var(gaps.mean(0)) / 200)
    assert (found.seeds, found.n, found.p) == (3, 200, None)
    assert found.value == pytest.approx(gaps.mean())
    assert found.high - found.value == pytest.approx(t.ppf(0.975, 2) * spread)


def test_with_seeds_the_interval_covers_what_training_and_images_vary():
    """Training moves the difference by 3 points, the same images are hard for all seeds."""
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(400):
        images, seeds = rng.normal(0, 0.1, 150), rng.normal(0, 0.03, (2, 4, 1))
        first, second = (
            rng.random((4, 150)) < np.clip(0.5 + gap + images + seed, 0, 1) for gap, seed in zip((0.1, 0.0), seeds, strict=True)
        )
        found = difference(list(first), list(second))
        inside += found.low <= 0.1 <= found.high
    assert inside / 400 > 0.94


# Other images, and many tests ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((56, 70, 48, 80), (0.0524, 0.3339)),
        ((9, 10, 3, 10), (0.1705, 0.8090)),
        ((10, 10, 0, 20), (0.6791, 1.0)),
        ((0, 10, 0, 20), (-0.1611, 0.2775)),
    ],
)
def test_newcombe_s_own_examples(counts, expected):
    """Newcombe (1998), table II, method 10."""
    assert newcombe_interval(*counts) == pytest.approx(expected, abs=6e-5)


def test_the_interval_of_one_share_is_scipy_s_of_wilson():
    for k, n in ((0, 5), (3, 7), (7, 7), (120, 1000)):
        expected = binomtest(k, n).proportion_ci(method="wilson")
        assert wilson_interval(k, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.slow
def test_the_unpaired_interval_covers_the_true_difference_in_nineteen_of_twenty():
    rng = np.random.default_rng(2)
    for shares, sizes in (((0.7, 0.5), (60, 90)), ((0.9, 0.85), (200, 120))):
        counts = rng.binomial(sizes, shares, (2000, 2))
        intervals = [newcombe_interval(int(a), sizes[0], int(b), sizes[1]) for a, b in counts]
        inside = np.mean([low <= shares[0] - shares[1] <= high for low, high in intervals])
        assert 0.935 < inside < 0.97


def test_unpaired_is_of_the_second_against_the_first():
    before, after = bits("1" * 30 + "0" * 70), bits("1" * 60 + "0" * 60)
    found = unpaired(before, after)
    assert (found.value, found.common, found.paired, found.agree) == (pytest.approx(0.2), 0, False, False)
    assert (found.low, found.high) == newcombe_interval(60, 120, 30, 100)
    assert found.p == pytest.approx(fisher_exact([[30, 70], [60, 60]]).pvalue)


def test_in_pairs_is_mcnemar_s_test_whatever_the_order_of_the_images():
    rng = np.random.default_rng(0)
    before, after = rng.random(80) < 0.4, rng.random(80) < 0.6
    order = rng.permutation(80)
    found = in_pairs(before, after)
    gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
    assert found == in_pairs(before[order], after[order])
    assert (found.value, found.common, found.agree) == (pytest.approx((gained - lost) / 80), 80, False)
    assert found.p == pytest.approx(binomtest(gained, gained + lost).pvalue)
    assert in_pairs(before, before).agree


def test_holm_s_p_is_that_of_the_closed_test():
    """The largest Bonferroni p of all sets of tests that hold this one: the closure that Holm's steps shorten."""
    for chances in ([0.01, 0.04, 0.03, 0.5], [0.001, 0.001, 0.9], [0.2], [0.02, 0.3, 0.021, 0.022, 0.0004]):
        places = range(len(chances))
        sets = [held for size in range(1, len(chances) + 1) for held in combinations(places, size)]
        closed = [max(min(1.0, len(held) * min(chances[each] for each in held)) for held in sets if place in held) for place in places]
        assert holm(chances) == pytest.approx(closed)
    assert holm([]) == []
