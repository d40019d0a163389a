"""Whether two systems err alike: counts by hand, the chance in closed form and by drawing, and the test that goes with it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from advrun.agreement import agreement, at_least, chances
from advrun.results import binomial_interval


def test_counts_by_hand() -> None:
    """Of six images both got five right; three of them fool the target, two of these fool the source too, one alike."""
    y = np.array([0, 0, 0, 0, 0, 0])
    common = np.array([1, 1, 1, 1, 1, 0], bool)
    source = np.array([1, 2, 0, 0, 3, 1])
    target = np.array([1, 1, 2, 0, 0, 1])
    found = agreement(y, common, source, target)
    assert (found.n, found.fooled, found.both, found.same) == (5, 3, 2, 1)
    assert (found.share, found.same_share) == (0.6, 0.5)
    assert (found.low, found.high) == binomial_interval(3, 5)
    assert (found.same_low, found.same_high) == binomial_interval(1, 2)
    assert found.chance == pytest.approx(0.5)  # source 1 or 2, target always 1
    assert found.p == pytest.approx(0.75)


def test_nothing_to_compare() -> None:
    y = np.zeros(4, int)
    none = agreement(y, np.zeros(4, bool), y, y)
    assert (none.n, none.share, none.same_share, none.chance, none.p) == (0, None, None, None, 1.0)
    right = agreement(y, np.ones(4, bool), y, y)
    assert (right.share, right.both, right.chance, right.p) == (0.0, 0, None, 1.0)


@pytest.mark.parametrize("classes", [3, 10, 43])
def test_answers_spread_evenly_agree_by_chance_one_in_k_minus_one(classes: int) -> None:
    """Each true class with each wrong one, as often for both."""
    y, wrong = (each.ravel() for each in np.meshgrid(range(classes), range(classes)))
    y, wrong = y[y != wrong], wrong[y != wrong]
    assert chances(y, wrong, wrong) == pytest.approx(np.full(len(y), 1 / (classes - 1)))


def test_one_favourite_class_is_no_merit() -> None:
    """Two models that call everything a bird agree always, and that is what chance says too."""
    y = np.arange(1, 40)
    found = agreement(y, np.ones(39, bool), np.zeros(39, int), np.zeros(39, int))
    assert (found.same_share, found.chance, found.p) == (1.0, 1.0, 1.0)


def test_the_chance_is_what_independent_answers_give() -> None:
    """Drawn again and again from the same distributions, apart from each other."""
    rng = np.random.default_rng(0)
    p, q, n = rng.dirichlet(np.ones(6)), rng.dirichlet(np.ones(6)), 60_000
    y = rng.integers(6, size=n)

    def drawn(shares: np.ndarray) -> np.ndarray:
        return np.array([rng.choice(6, p=np.where(np.arange(6) == each, 0, shares) / (1 - shares[each])) for each in y[:6000]])

    y = y[:6000]
    source, target = drawn(p), drawn(q)
    found = agreement(y, np.ones(len(y), bool), source, target)
    assert found.same_share == pytest.approx(found.chance, abs=0.02)
    assert found.p > 0.01


def test_agreement_beyond_chance_is_found_and_independence_is_not() -> None:
    """At the level of 5 % no more than about 5 % of independent pairs are called more than chance."""
    rng, called, powerful = np.random.default_rng(1), 0, 0
    for _ in range(200):
        y = rng.integers(10, size=80)
        source, target = ((y + rng.integers(1, 10, size=80)) % 10 for _ in range(2))
        called += agreement(y, np.ones(80, bool), source, target).p < 0.05
        alike = np.where(rng.random(80) < 0.3, source, target)
        powerful += agreement(y, np.ones(80, bool), source, alike).p < 0.05
    assert called <= 18
    assert powerful >= 190


@pytest.mark.parametrize("k", [0, 1, 7, 30])
def test_equal_shares_are_the_binomial_distribution(k: int) -> None:
    assert at_least(k, np.full(30, 0.2)) == pytest.approx(binom.sf(k - 1, 30, 0.2))
