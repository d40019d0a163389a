"""Rows: what is stored comes back, and the interval is the textbook's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from advrun.results import Result, binomial_interval
from tests._rows import result


def test_a_result_survives_its_file():
    first = result("ddn", "01", eps=None, norm="l2", distances=[0.1, 0.3])
    second = Result.from_json(first.to_json())
    assert second.row == first.row
    for name in ("labels", "predictions", "distances"):
        assert getattr(second, name).dtype == getattr(first, name).dtype
        np.testing.assert_array_equal(getattr(second, name), getattr(first, name))


def test_interval_covers_by_its_definition():
    low, high = binomial_interval(7, 20)
    assert binom.sf(6, 20, low) == pytest.approx(0.025)
    assert binom.cdf(7, 20, high) == pytest.approx(0.025)
    assert binomial_interval(0, 20)[0] == 0
    assert binomial_interval(20, 20)[1] == 1


def test_json_round_trip():
    before = result("pgd", "1010", settings={"steps": 3}, metrics={"l2": None}, flags=("x",))
    after = Result.from_json(before.to_json())
    assert after.row == before.row
    np.testing.assert_array_equal(after.predictions, before.predictions)
    assert after.row.flat()["l2"] is None
