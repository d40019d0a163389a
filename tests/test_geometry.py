"""Balls: each method against its definition."""

from __future__ import annotations

import numpy as np
import pytest

from advrun import engine
from advrun.engine import Rng
from advrun.errors import ConfigError
from advrun.geometry import L0, L1, L2, Linf, format_eps

BALLS = [Linf(0.1), L2(0.7), L1(2.0)]


@pytest.fixture(scope="module")
def points() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, (50, 4, 4, 3)).astype(np.float32)
    return x, (x + rng.normal(0, 0.5, x.shape)).astype(np.float32)


@pytest.mark.parametrize("ball", BALLS, ids=str)
def test_project_is_in_box_and_ball_and_leaves_inside_points_alone(ball, points):
    x, far = points
    projected = np.asarray(ball.project(far, x))
    assert projected.min() >= 0
    assert projected.max() <= 1
    assert np.asarray(ball.distance(projected, x)).max() <= ball.eps * (1 + 1e-5)
    again = np.asarray(ball.project(projected, x))
    np.testing.assert_allclose(again, projected, atol=1e-6)


@pytest.mark.parametrize("ball", BALLS, ids=str)
def test_project_on_the_ball_alone_is_the_nearest_point(ball, points):
    """Away from the box: <p - z, q - z> <= 0 for the projection z of p and every q of the ball (obtuse angle)."""
    x, _ = points
    rng = np.random.default_rng(1)
    centre = np.full_like(x, 0.5)
    outside = centre + rng.normal(0, 0.1, x.shape).astype(np.float32)
    z = np.asarray(ball.project(outside, centre))
    others = np.asarray(ball.sample(centre, Rng.from_seed(2)))
    angles = ((outside - z) * (others - z)).sum((1, 2, 3))
    assert angles.max() <= 1e-5


@pytest.mark.parametrize("compile", [False, True])
@pytest.mark.parametrize("ball", [Linf(0.1), L1(2.0), L1(12.0)], ids=str)
def test_project_is_the_nearest_point_of_ball_and_box_together(ball, compile, points):
    """<p - z, q - z> <= 0 for the projection z of p and every q in both; whole grey levels and steps of one size make ties."""
    x, far = points
    x, far = np.rint(255 * x) / np.float32(255), np.concatenate([far[:25], x[25:] + np.float32(0.8) * np.sign(far[25:] - x[25:])])
    project = engine.compiled(ball.project) if compile else ball.project
    z = np.asarray(project(far.astype(np.float32), x.astype(np.float32)))
    assert z.min() >= 0
    assert z.max() <= 1
    for seed in range(3):
        others = np.asarray(ball.project(ball.sample(x, Rng.from_seed(seed)) + 0.3 * (z - x), x))
        assert ((far - z) * (others - z)).sum((1, 2, 3)).max() <= 1e-4
    if ball.order == 1:
        np.testing.assert_allclose(ball.distance(z, x), np.minimum(ball.eps, np.abs(far.clip(0, 1) - x).sum((1, 2, 3))), rtol=2e-5)


@pytest.mark.parametrize("ball", BALLS, ids=str)
def test_steepest_has_the_dual_norm_as_its_gain(ball, points):
    """max <g, d> over the ball is eps times the dual norm of g: Hoelder's inequality is tight."""
    gradient = points[1] - points[0]
    step = np.asarray(ball.steepest(gradient))
    gain = (gradient * step).sum((1, 2, 3))
    flat = gradient.reshape(len(gradient), -1)
    dual = np.linalg.norm(flat, ord={np.inf: 1, 2: 2, 1: np.inf}[ball.order], axis=1)
    np.testing.assert_allclose(gain, ball.eps * dual, rtol=1e-4)
    np.testing.assert_allclose(np.asarray(ball.distance(step, 0 * step)), ball.eps, rtol=1e-5)


def test_steepest_of_a_tiny_gradient_has_full_length():
    """A confident model's gradient: its squares underflow in float32."""
    tiny = np.full((1, 3, 3, 1), 1e-30, np.float32)
    for ball in BALLS:
        assert float(ball.distance(ball.steepest(tiny), 0 * tiny)[0]) == pytest.approx(ball.eps, rel=1e-5)


def test_steepest_of_a_zero_gradient_is_no_step():
    zero = np.zeros((2, 3, 3, 1), np.float32)
    for ball in BALLS:
        assert not np.asarray(ball.steepest(zero)).any()


@pytest.mark.parametrize("ball", BALLS, ids=str)
def test_sample_fills_the_ball(ball):
    """In the middle of the box the radius of a uniform sample has the distribution r^d."""
    x = np.full((4000, 2, 2, 1), 0.5, np.float32)
    inside = type(ball)(0.3)
    radius = np.asarray(inside.distance(inside.sample(x, Rng.from_seed(5)), x)) / 0.3
    assert radius.max() <= 1 + 1e-5
    for r in (0.5, 0.8, 0.95):
        assert (radius <= r).mean() == pytest.approx(r**4, abs=0.03)


@pytest.mark.parametrize("ball", [*BALLS, L0(5)], ids=str)
def test_every_image_may_have_its_own_eps(ball, points):
    x, far = points
    eps = np.linspace(0.5, 2, len(x)).astype(np.float32) * ball.eps
    kind = type(ball)
    for method in (lambda ball, x, far: ball.project(far, x), lambda ball, x, far: ball.steepest(far)):
        together = np.asarray(method(kind(eps), x, far))
        for i in (0, 20, 49):
            np.testing.assert_allclose(together[i], np.asarray(method(kind(float(eps[i])), x[i : i + 1], far[i : i + 1]))[0], atol=1e-6)


@pytest.mark.parametrize(("side", "eps"), [(224, 12.0), (32, 0.5)])
@pytest.mark.parametrize("level", [37, 128, 201])
def test_rounding_does_not_leave_the_l1_ball(side, eps, level):
    """Equal changes of equal pixels all round the same way."""
    x = np.full((1, side, side, 3), level / 255, np.float32)
    for share in (1.0, 0.2):
        far = (x + np.float32(0.01) * (np.random.default_rng(0).uniform(size=x.shape) < share)).astype(np.float32)
        z = np.asarray(L1(eps).project(far, x)).astype(np.float64)
        assert np.abs(z - x).sum() <= eps * (1 + 1e-6)
        assert np.abs(z - x).sum() >= eps * (1 - 1e-3)


def test_l1_projection_of_points_inside_and_on_the_axis():
    x = np.full((2, 1, 2, 1), 0.5, np.float32)
    far = x + np.array([[0.1, 0.05], [0.5, 0.1]], np.float32).reshape(2, 1, 2, 1)
    np.testing.assert_allclose(np.asarray(L1(0.3).project(far, x) - x).reshape(2, 2), [[0.1, 0.05], [0.3, 0.0]], atol=1e-6)


def test_l0_keeps_the_largest_changes(points):
    x, far = points
    projected = np.asarray(L0(5).project(far, x))
    changed = projected != x
    assert (changed.sum((1, 2, 3)) <= 5).all()
    size = np.abs(far.clip(0, 1) - x)
    assert all(size[i][changed[i]].min() >= size[i][~changed[i]].max() for i in range(len(x)))
    np.testing.assert_array_equal(projected[changed], far.clip(0, 1)[changed])
    sampled = np.asarray(L0(5).sample(x, Rng.from_seed(1)))
    np.testing.assert_array_equal((sampled != x).sum((1, 2, 3)), 5)


@pytest.mark.parametrize("ball", BALLS, ids=str)
def test_beyond_its_eps_a_ball_reaches_as_far_as_rounding_does(ball):
    assert ball.eps * (1 + 1e-6) < ball.reach < ball.eps * (1 + 1e-4)


def test_bad_radii_are_refused():
    with pytest.raises(ConfigError, match="8/255"):
        Linf(8)
    with pytest.raises(ConfigError, match="above 0"):
        L2(-1.0)
    with pytest.raises(ConfigError, match="how many values"):
        L0(0.5)


def test_eps_is_written_as_the_field_does():
    assert format_eps(8 / 255) == "8/255"
    assert format_eps(0.5) == "0.5"
    assert str(Linf(4 / 255)) == "Linf 4/255"
    assert str(L2()) == "L2"


def test_of_equal_changes_the_first_are_kept_whatever_the_other_images_are():
    x = np.zeros((3, 1, 6, 1), np.float32)
    far = np.array([[1, 2, 3, 4, 5, 6], [4, 4, 4, 4, 4, 4], [0, 0, 7, 0, 0, 0]], np.float32).reshape(x.shape) / 10
    kept = np.asarray(L0(2).project(far, x)).reshape(3, 6) * 10
    np.testing.assert_allclose(kept, [[0, 0, 0, 0, 5, 6], [4, 4, 0, 0, 0, 0], [0, 0, 7, 0, 0, 0]], rtol=1e-6)
