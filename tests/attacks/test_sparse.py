"""Attacks on few values: what their papers promise beyond the contract."""

from __future__ import annotations

import numpy as np
import pytest

from advrun import L0, attacks, registry
from advrun.attack import Attack
from advrun.config.entries import settings_of
from advrun.contract.victims import sparse_distance, well_inside
from advrun.craft import craft
from advrun.engine import Rng, ops

from ..conftest import IMAGE_SHAPE, linear_classifier

SIZE = int(np.prod(IMAGE_SHAPE))


@pytest.fixture(scope="module")
def two():
    """Two classes: one boundary, whose optimal set is known by sorting |w| * range."""
    return linear_classifier(2, seed=8)


def of_two_classes(two, images) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Images, labels, what the lead of the other class gains by each value (n, d), and how few values reach the boundary (n,)."""
    x = well_inside(two, images)
    y = two.predict(x).argmax(-1)
    weights, bias = two.model.layers[-1].get_weights()
    slope, offset = weights[:, 1] - weights[:, 0], bias[1] - bias[0]
    signed = np.where(y == 0, 1.0, -1.0)
    gaps = -signed * (x.reshape(len(x), SIZE) @ slope + offset)
    fewest = [sparse_distance(gap, sign * slope, image.ravel(), 0) for gap, sign, image in zip(gaps, signed, x, strict=True)]
    return x, y, signed[:, None] * slope, np.array(fewest)


def test_sigma_zero_finds_the_fewest_values_of_a_linear_classifier(two, images):
    x, y, _, fewest = of_two_classes(two, images)
    assert max(fewest) > 3
    x_adv = attacks.sigma_zero(two, x, y, L0(), steps=300)
    assert two.accuracy(x_adv, y) == 0
    excess = np.asarray(L0.distance(x_adv, x)) - fewest
    assert excess.min() == 0
    assert excess.max() <= 1  # Adam forgets slowly: one image of ten keeps a value too many
    assert (excess == 0).mean() >= 0.8


@pytest.mark.parametrize("sigma", [1e-3, 0.1])
def test_the_smooth_count_falls_along_its_slope(sigma):
    """(1/d) sum d_i^2 / (d_i^2 + sigma), by central differences in float64."""
    change = np.random.default_rng(0).uniform(-1, 1, (1, *IMAGE_SHAPE))
    h = 1e-6

    def term(d: np.ndarray) -> np.ndarray:
        return d**2 / (d**2 + sigma) / SIZE

    found = np.asarray(registry.get("attacks", "sigma_zero").module.smooth_count_slope(ops.convert_to_tensor(change, "float32"), sigma))
    np.testing.assert_allclose(found, (term(change + h) - term(change - h)) / (2 * h), rtol=1e-3, atol=1e-7)


def test_the_slope_of_a_large_change_does_not_cancel():
    """In float32 the quotient rule, which autodiff follows, takes one number near 2 from another: d near 1 then costs four digits."""
    change = np.linspace(0.5, 1, SIZE, dtype=np.float32).reshape(1, *IMAGE_SHAPE)
    exact = change.astype(float)
    found = registry.get("attacks", "sigma_zero").module.smooth_count_slope(ops.convert_to_tensor(change), 1e-3)
    np.testing.assert_allclose(found, 2e-3 * exact / (exact**2 + 1e-3) ** 2 / SIZE, rtol=2e-6)


def by_hand(two, x: np.ndarray, y: np.ndarray, steps: int) -> np.ndarray:
    """Algorithm 1 on a linear model of two classes, with the step of Kingma and Ba: the fewest values (n,)."""
    weights, bias = two.model.layers[-1].get_weights()
    sign = np.where(y == 0, 1.0, -1.0)[:, None]
    slope, offset = sign * (weights[:, 1] - weights[:, 0]).astype(float), sign[:, 0] * float(bias[1] - bias[0])
    clean = x.reshape(len(x), SIZE).astype(float)
    z, m, v, tau, fewest = clean.copy(), 0.0, 0.0, np.full(len(x), 0.3), np.full(len(x), np.inf)
    for k in range(steps + 1):
        lead = (slope * z).sum(-1) + offset
        fewest = np.where(lead > 0, np.minimum(fewest, (z != clean).sum(-1)), fewest)
        d = z - clean
        g = 2 * d * 1e-3 / (d**2 + 1e-3) ** 2 / SIZE - np.where(lead > 0, 0.0, 1.0)[:, None] * slope
        g /= np.maximum(np.abs(g).max(-1, keepdims=True), 1e-12)
        eta = 0.1 + 0.9 * (1 + np.cos(np.pi * k / steps)) / 2
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        z = z - eta * (m / (1 - 0.9 ** (k + 1))) / (np.sqrt(v / (1 - 0.999 ** (k + 1))) + 1e-8)
        z = np.clip(z, 0, 1)
        tau = np.clip(tau + 0.01 * eta * np.where(lead > 0, 1, -1), 0, 1)
        z = np.where(np.abs(z - clean) < tau[:, None], clean, z)
    return fewest


@pytest.mark.parametrize("steps", [3, 12, 40])
def test_sigma_zero_is_the_papers_loop(two, images, steps):
    x = well_inside(two, images)
    y = two.predict(x).argmax(-1)
    fewest = by_hand(two, x, y, steps)
    found = attacks.sigma_zero(two, x, y, L0(), steps=steps)
    distance = np.where(two.predict(found).argmax(-1) != y, np.asarray(L0.distance(found, x)), np.inf)
    assert (distance == fewest).mean() >= 0.9  # where a value lies on the threshold, rounding decides
    assert np.isfinite(fewest).any()


def test_sigma_zero_asks_for_a_gradient_a_step(network, images):
    plugin = registry.get("attacks", "sigma_zero")
    y = network.predict(images).argmax(-1)
    crafted = craft(network, Attack(plugin, L0(), settings_of(plugin, {"steps": 7})), images, y)
    assert (crafted.gradients == 7).all()
    assert (crafted.queries == 1).all()


@pytest.mark.slow
def test_on_a_trained_network_sigma_zero_needs_fewer_values_than_fmn(victim, toy_data):
    x = toy_data.x_test[:30] / np.float32(255)
    y = victim.predict(x).argmax(-1)
    mean = {name: np.asarray(L0.distance(getattr(attacks, name)(victim, x, y, L0()), x)).mean() for name in ("sigma_zero", "fmn")}
    assert mean["sigma_zero"] <= 0.95 * mean["fmn"]


@pytest.mark.slow
def test_sparse_pgd_fools_with_the_fewest_values_and_with_none_fewer(two, images):
    x, y, _, fewest = of_two_classes(two, images)
    for k in np.unique(fewest):
        some = fewest == k
        for fewer in (0, 1):
            x_adv = attacks.sparse_pgd(two, x[some], y[some], L0(float(k - fewer)))
            assert two.accuracy(x_adv, y[some]) == fewer
            assert (np.asarray(L0.distance(x_adv, x[some])) <= k - fewer).all()


@pytest.mark.parametrize("gradient", ["unprojected", "projected"])
def test_sparse_pgd_is_the_loop_of_its_paper(two, images, gradient):
    """Algorithm 1 on a linear model of two classes, in float64, with the same random numbers: the same values change, to the same ones."""
    x, y, slope, _ = of_two_classes(two, images)
    rng, k, steps, size = Rng.from_seed(3).of(ops.convert_to_tensor(x)), 5, 8, np.sqrt(SIZE)
    drawn = [np.asarray(rng.fold(i).normal(x.shape), float).reshape(len(x), -1) for i in range(steps)]
    clean = x.reshape(len(x), -1).astype(float)
    mask = np.asarray(rng.fold(steps).fold(0).normal(x.shape), float).reshape(len(x), -1)
    p = np.asarray(rng.fold(steps).fold(1).uniform(x.shape), float).reshape(len(x), -1) - clean
    unchanged, found, most = np.zeros(len(x), int), clean.copy(), np.full(len(x), -np.inf)

    def chosen(mask):
        return (mask >= np.sort(mask, -1)[:, -k, None]).astype(float)

    m = chosen(mask)
    for i in range(steps + 1):
        lead = (slope * (clean + p * m)).sum(-1)
        found, most = np.where((lead > most)[:, None], clean + p * m, found), np.maximum(lead, most)
        if i == steps:
            break
        s = 1 / (1 + np.exp(-mask))
        g = slope * p * s * (1 - s)
        mask = mask + 0.25 * size * g / np.linalg.norm(g, axis=-1, keepdims=True)
        along = np.sign(slope * (s if gradient == "unprojected" else m))
        p, before, m = np.clip(clean + p + 0.25 * along, 0, 1) - clean, m, chosen(mask)
        unchanged = np.where((m == before).all(-1), unchanged + 1, 0)
        anew = unchanged >= 2
        mask, unchanged = np.where(anew[:, None], drawn[i], mask), np.where(anew, 0, unchanged)
        m = chosen(mask)
    settings = {"steps": steps, "patience": 2, "gradient": gradient, "early_stop": False}
    x_adv = registry.get("attacks", "sparse_pgd").module.sparse_pgd(two, ops.convert_to_tensor(x), y, L0(float(k)), rng, **settings)
    np.testing.assert_allclose(np.asarray(x_adv).reshape(len(x), -1), found, atol=1e-5)
