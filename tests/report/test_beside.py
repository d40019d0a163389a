"""Figures that other processes draw: the same bytes, whatever becomes of these processes."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path

import pytest

from advrun.fonts import BASE
from advrun.report import beside
from advrun.report.beside import Easel
from advrun.report.curves import training


def loud(label: str):
    warnings.warn(f"{label} is loud", UserWarning, stacklevel=1)
    return training(label, {"loss": [1.0, 0.5]})


DRAWINGS = [("training", f"training-{label}", partial(loud, label)) for label in ("net", "other")]


@pytest.fixture(scope="module")
def here() -> list:
    with pytest.warns(UserWarning, match="is loud"):
        return [beside.one(drawing, [BASE]) for drawing in DRAWINGS]


@pytest.fixture
def two_cores(monkeypatch) -> None:
    monkeypatch.setattr(beside, "cores", lambda: 2)
    monkeypatch.setattr(beside, "WORTH", len(DRAWINGS))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


def test_another_process_draws_the_same_bytes_and_says_what_it_warns_of(here, two_cores, monkeypatch, caplog):
    with Easel(DRAWINGS, [BASE]) as drawn, monkeypatch.context() as patch:
        patch.setattr(beside, "one", None)  # nothing is drawn here
        assert list(drawn) == here
        assert list(drawn) == here
    said = [record.getMessage() for record in caplog.records]
    assert [any(f"{label} is loud" in line for line in said) for label in ("net", "other")] == [True, True]


def test_what_a_killed_process_has_not_drawn_is_drawn_here(here, two_cores):
    with Easel(DRAWINGS, [BASE]) as drawn:
        ((process, _),) = drawn._begun
        process.kill()
        with pytest.warns(UserWarning, match="is loud"):
            assert list(drawn) == here


def test_nothing_is_left_of_those_that_nobody_waits_for(two_cores):
    with Easel(DRAWINGS, [BASE]) as drawn:
        ((process, said),) = drawn._begun
    assert process.returncode is not None
    assert said.closed


def test_few_figures_and_one_core_need_no_process(two_cores, monkeypatch):
    with Easel(DRAWINGS[:1], [BASE]) as drawn:
        assert not drawn._begun
    monkeypatch.setattr(beside, "cores", lambda: 1)
    with Easel(DRAWINGS, [BASE]) as drawn:
        assert not drawn._begun
