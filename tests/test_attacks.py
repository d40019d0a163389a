"""Every attack of the registry is held to the contract: a new file in advrun/attacks/ is tested here without another edit."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from advrun import registry
from advrun.attack import Attack
from advrun.contract import Inapplicable
from advrun.contract import attacks as contract
from advrun.contract.distances import true_distance

ATTACKS = [(name, norm) for name in registry.names("attacks") for norm in registry.get("attacks", name).norms or ("",)]


@cache
def bound(name: str, norm: str) -> Attack:
    return contract.bound(registry.get("attacks", name), norm)


def label(name: str, norm: str) -> str:
    return "-".join(filter(None, (name, norm)))


def first_norms():
    """Every attack in its first norm; in its other norms when there is time. The closed forms below are always tried in all norms."""
    for name, norm in ATTACKS:
        marks = () if norm in registry.get("attacks", name).norms[:1] or not norm else (pytest.mark.slow,)
        yield pytest.param((name, norm), id=label(name, norm), marks=marks)


def kept(promise, attack: Attack) -> None:
    try:
        promise(attack)
    except Inapplicable as reason:
        pytest.skip(str(reason))


WHOLE = (
    *("fgsm", "pgd", "apgd", "deepfool", "cw", "fmn"),
    *("square", "hopskipjump", "spatial"),
)
"""One or two of each kind of attack, which `make test` holds to all promises; others to the first, and `make test-all` all to all."""
LONG = ("advgan", "advgan_blackbox", "natural", "lbfgs")
"""Attacks that train networks, for which each promise trains them anew, or search for long: `make test` reads their files, and has tests
of their own."""
FIRST = (
    *(contract.it_is_documented, contract.box_ball_and_numbers, contract.it_fools_the_model),
    *(contract.what_it_asks_is_counted_and_announced, contract.the_query_budget_is_never_exceeded),
)


def promises():
    """Every attack with every promise."""
    for attack in first_norms():
        (name, norm), marks = attack.values[0], attack.marks
        for promise in contract.PROMISES:
            kept = FIRST[:1] if name in LONG else contract.PROMISES if name in WHOLE else FIRST
            spared = () if promise in kept else (pytest.mark.slow,)
            yield pytest.param((name, norm), promise, id=f"{label(name, norm)}-{promise.__name__}", marks=(*marks, *spared))


@pytest.mark.parametrize(("attack", "promise"), list(promises()))
def test_contract(attack, promise):
    kept(promise, bound(*attack))


def all_norms():
    """Every attack in all its norms; all but WHOLE when there is time."""
    for name, norm in ATTACKS:
        spared = name not in WHOLE
        yield pytest.param(name, norm, id=label(name, norm), marks=(pytest.mark.slow,) if spared else ())


@pytest.mark.parametrize(("name", "norm"), list(all_norms()))
def test_true_distance(name, norm):
    kept(true_distance, bound(name, norm))


def test_what_the_victims_are():
    """The promises mean something: the network is right on most of its images and linear models know their boundaries."""
    victims = contract.victims
    right = victims.network().predict(victims.images()).argmax(-1) == victims.labels()
    np.testing.assert_array_equal(right, [False, False, *[True] * 8])
    two = victims.linear_classifier(2, seed=8)
    x = victims.well_inside(two, victims.images())
    weights, bias = two.model.layers[-1].get_weights()
    slope, offset = weights[:, 1] - weights[:, 0], bias[1] - bias[0]
    by_hand = np.abs(x.reshape(len(x), -1) @ slope + offset) / np.linalg.norm(slope)
    np.testing.assert_allclose(victims.boundary_distances(two, x, 2), by_hand, rtol=1e-4)
