"""The stand-in, backed by the small victim of the tests."""

from __future__ import annotations

import pytest

from advrun.serve import Served

from .standin import StandIn, running

NAMES = ("Give way", "Stop", "No entry", "Turn left")


@pytest.fixture(scope="session")
def served(victim) -> Served:
    """A real classifier of 8 x 8 images, four classes."""
    return Served(victim)


@pytest.fixture
def service(served):
    """A service on this machine that speaks the four protocols, new for each test."""
    with running(StandIn(served, NAMES)) as service:
        yield service
