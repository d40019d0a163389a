"""A ball with a mask: its methods against their definitions, and attacks inside it."""

from __future__ import annotations

import numpy as np
import pytest

from advrun import attacks, engine
from advrun.attack import Attack
from advrun.engine import Rng
from advrun.errors import ConfigError
from advrun.geometry import L0, L1, L2, Linf
from advrun.masked import Masked
from advrun.registry import get

MASK = np.zeros((6, 6), bool)
MASK[1:4, 2:5] = True
BALLS = [Masked(Linf(0.1), MASK), Masked(L2(0.5), MASK), Masked(L1(1.5), MASK), Masked(L0(5), MASK)]


@pytest.fixture(scope="module")
def points() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, (20, 6, 6, 3)).astype(np.float32)
    return x, (x + rng.normal(0, 0.4, x.shape)).astype(np.float32)


@pytest.mark.parametrize("ball", BALLS, ids=str)
def test_everything_stays_inside_the_mask(ball, points):
    x, far = points
    for images in (
        ball.project(far, x),
        ball.sample(x, Rng.from_seed(1)),
        ball.line(x, ball.project(far, x), np.full(20, 0.5, np.float32)),
    ):
        images = np.asarray(images)
        assert (images[:, ~MASK] == x[:, ~MASK]).all()
        assert (images[:, MASK] != x[:, MASK]).any()
        assert np.asarray(ball.distance(images, x)).max() <= ball.reach
    assert not np.asarray(ball.steepest(far - x))[:, ~MASK].any()


@pytest.mark.parametrize("ball", BALLS[:3], ids=str)
def test_projection_is_that_of_the_ball_on_what_the_mask_leaves(ball, points):
    x, far = points
    inside = np.where(MASK[..., None], far, x)
    np.testing.assert_array_equal(np.asarray(ball.project(far, x)), np.asarray(ball.ball.project(inside, x)))


@pytest.mark.parametrize("ball", BALLS, ids=str)
def test_steepest_is_as_steep_as_any_change_inside_the_mask(ball, points):
    """No change of the ball and the mask climbs more than `steepest`, which climbs by the dual norm."""
    x, far = points
    gradient = far - x
    best = (np.asarray(ball.steepest(gradient)) * gradient).sum((1, 2, 3))
    centre = np.full_like(x, 0.5)
    for seed in range(5):
        change = np.asarray(ball.sample(centre, Rng.from_seed(seed))) - centre
        assert ((change * gradient).sum((1, 2, 3)) <= best + 1e-5).all()
    if ball.order > 0:
        np.testing.assert_allclose(best, ball.eps * np.asarray(ball.dual(gradient)), rtol=1e-4)


def test_a_change_elsewhere_is_infinitely_far():
    x = np.full((2, 6, 6, 3), 0.5, np.float32)
    elsewhere = x.copy()
    elsewhere[1, 0, 0, 0] += 0.001
    assert np.asarray(BALLS[0].distance(elsewhere, x)).tolist() == [0.0, np.inf]


@pytest.mark.parametrize("ball", BALLS, ids=str)
def test_resized_keeps_the_mask(ball, points):
    x, far = points
    wider = ball.resized(2 * ball.eps)
    assert type(wider) is Masked
    assert wider.eps == 2 * ball.eps
    assert (np.asarray(wider.project(far, x))[:, ~MASK] == x[:, ~MASK]).all()
    assert str(wider).startswith(ball.ball.name)


@pytest.mark.parametrize(
    ("name", "ball", "few"),
    [
        ("pgd", Linf(0.3), {"steps": 5}),
        ("square", Linf(0.3), {"queries": 60}),
        pytest.param("sparse_pgd", L0(8), {"steps": 30}, marks=pytest.mark.slow),
    ],
)
def test_attacks_stay_on_the_mask_and_climb(network, images, name, ball, few):
    """`craft` raises where an image changed elsewhere: it is infinitely far."""
    y = network.predict(images).argmax(-1)
    x_adv = getattr(attacks, name)(network, images, y, Masked(ball, MASK), **few)
    assert (x_adv[:, ~MASK] == images[:, ~MASK]).all()
    assert network.accuracy(x_adv, y) < 1


def test_two_masks_share_no_graph():
    other = ~MASK
    keys = {Attack(get("attacks", "pgd"), ball).key for ball in (Linf(0.1), BALLS[0], Masked(Linf(0.1), other))}
    assert len(keys) == 3
    assert Attack(get("attacks", "pgd"), BALLS[0].resized(0.2)).key == Attack(get("attacks", "pgd"), BALLS[0]).key


def test_eps_may_be_a_tensor_inside_a_graph(points):
    x, far = points
    run = engine.compiled(lambda x, far, eps: BALLS[0].resized(eps).project(far, x))
    for eps in (0.05, 0.1):
        np.testing.assert_allclose(np.asarray(run(x, far, np.float32(eps))), np.asarray(BALLS[0].resized(eps).project(far, x)), atol=1e-7)


@pytest.mark.parametrize(
    ("ball", "mask", "said"),
    [
        (Linf(0.1), np.zeros((6, 6)), "0 everywhere"),
        (Linf(0.1), np.full((6, 6), 0.5), "of 0 and 1"),
        (Linf(0.1), np.ones(6), "height, width"),
        (BALLS[0], MASK, "a ball and a mask"),
        (0.1, MASK, "a ball and a mask"),
    ],
)
def test_what_is_no_mask_is_refused(ball, mask, said):
    with pytest.raises(ConfigError, match=said):
        Masked(ball, mask)


def test_a_norm_that_the_attack_lacks_is_refused(network, images):
    with pytest.raises(ConfigError, match="works in"):
        attacks.fgsm(network, images, np.zeros(10, int), Masked(L0(3), MASK))
