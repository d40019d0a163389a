"""Loops, gradients and random numbers: compiled and eager agree."""

from __future__ import annotations

import numpy as np
import pytest

from advrun import engine
from advrun.engine import Rng, ops, repeat, value_and_gradient


def both(function, *arguments):
    eager = function(*arguments)
    compiled = engine.compiled(function)(*arguments)
    return np.asarray(eager), np.asarray(compiled)


def test_repeat_counts_and_stops():
    def total(x):
        return repeat(lambda i, state: state + ops.cast(i, "float32"), 5, x)

    def stopped(x):
        return repeat(lambda i, state: state + 1, 100, x, until=lambda state: state[0] >= 3)

    for result in both(total, np.zeros(1, np.float32)):
        assert result == [10]
    for result in both(stopped, np.zeros(1, np.float32)):
        assert result == [3]


def test_gradient_of_each_value_for_its_own_image():
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    values, extra, gradient = value_and_gradient(lambda x: (ops.sum(x**3, axis=1), "extra"), x)
    np.testing.assert_allclose(gradient, 3 * x**2, rtol=1e-5)
    np.testing.assert_allclose(values, (x**3).sum(1), rtol=1e-4)
    assert extra == "extra"


def test_gradient_that_does_not_exist_is_zero():
    x = np.ones((2, 3), np.float32)
    assert not np.asarray(value_and_gradient(lambda x: (ops.sum(ops.round(x), axis=1), None), x)[2]).any()


def test_random_numbers_are_functions_of_the_key():
    def draw(key):
        rng = Rng(key)
        return ops.stack([rng.uniform((3,)), rng.uniform((3,)), rng.fold(1).uniform((3,)), rng.fold(2).uniform((3,))])

    key = Rng.from_seed(1, 2).key
    eager, compiled = both(draw, key)
    np.testing.assert_array_equal(eager, compiled)
    assert len({tuple(row) for row in eager.tolist()}) == 4
    assert (Rng.from_seed(1, 3).key != key).any()


def test_random_numbers_in_a_loop_differ_between_iterations():
    def draw(key):
        rng = Rng(key)
        return repeat(lambda i, seen: ops.concatenate([seen[1:], rng.fold(i).uniform((1,))]), 4, ops.zeros(4))

    eager, compiled = both(draw, Rng.from_seed(0).key)
    np.testing.assert_array_equal(eager, compiled)
    assert len(set(eager.tolist())) == 4


def test_distributions():
    rng = Rng.from_seed(9)
    uniform, normal, whole = (
        np.asarray(draw) for draw in (rng.uniform((20000,), -1, 3), rng.normal((20000,)), rng.integers((20000,), 2, 5))
    )
    assert uniform.mean() == pytest.approx(1, abs=0.05)
    assert normal.std() == pytest.approx(1, abs=0.05)
    assert set(whole.tolist()) == {2, 3, 4}


def test_counter_counts_each_image_inside_compiled_loops():
    counter = engine.Counter("a", "b")
    counter.start(3)

    def step(i, x):
        counter.add("b", x > 1)
        counter.add("a", ops.ones((6,)))  # two variants of three images
        return x + 1

    engine.compiled(lambda x: repeat(step, 4, x))(np.array([0.0, 1.0, 5.0], np.float32))
    counts = counter.read()
    assert counts["b"].tolist() == [2, 3, 4]
    assert counts["a"].tolist() == [8, 8, 8]
    counter.start(3)
    counter.add("a", ops.ones((4,)), rows=np.array([2, 0], np.int32))  # two variants of two of the images
    assert counter.read()["a"].tolist() == [2, 0, 2]


def test_jacobian_is_the_weights_of_a_linear_map():
    weights = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    x = np.random.default_rng(1).normal(size=(3, 6)).astype(np.float32)
    rows = np.array([[0, 1, 2], [3, 3, 0]], np.int32)
    for call in (
        engine.jacobian,
        lambda *given: engine.compiled(lambda x, rows: engine.jacobian(lambda x: x @ weights, x, rows))(*given[1:]),
    ):
        outputs, gradients = call(lambda x: x @ weights, engine.tf.constant(x), engine.tf.constant(rows))
        np.testing.assert_allclose(outputs, x @ weights, rtol=1e-5)
        np.testing.assert_allclose(gradients, weights.T[rows], rtol=1e-5)


@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
def test_work_on_the_undecided_alone_changes_nothing(mode, monkeypatch):
    """Every image gets its own number of steps; smaller and smaller batches see only those that still need some."""
    monkeypatch.setattr(engine.backend, "_xla", "on" if mode == "xla" else "off")
    goals = np.random.default_rng(2).integers(0, 40, 100).astype(np.int32)
    traced, rows_asked = [], engine.Counter("rows")
    rows_asked.start(len(goals))

    def step(i, rows, state):
        value, goal = state
        traced.append(value.shape[0])
        rows_asked.add("rows", ops.ones((ops.shape(value)[0],)), rows)
        return ops.where(value < goal, value + 1, value), goal

    def run(goals):
        return engine.repeat_undecided(step, 30, (ops.zeros_like(goals), goals), decided=lambda state: state[0] >= state[1])

    value, _ = (run if mode == "eager" else engine.compiled(run))(engine.tf.constant(goals))
    np.testing.assert_array_equal(value, np.minimum(goals, 30))
    worked = rows_asked.read()["rows"]
    assert (worked >= np.minimum(goals, 30)).all()
    needed = np.minimum(goals, 30).sum()
    assert worked.sum() <= {"eager": 1.2, "graph": 1.2, "xla": 1.5}[mode] * needed, "batches that shrink too late"
    if mode == "graph":
        assert set(traced) == {None}, "one graph for all numbers of images"
    if mode == "xla":
        assert set(traced) == {100, 50, 25, 13}


def test_loops_over_undecided_images_that_none_need():
    """All decided from the start, no iterations, one image."""

    def step(i, rows, state):
        value, goal = state
        return ops.where(value < goal, value + 1, value), goal

    def run(goals, times):
        return engine.repeat_undecided(step, times, (ops.zeros_like(goals), goals), decided=lambda state: state[0] >= state[1])[0]

    for goals, times, wanted in (([0, 0, 0], 9, [0, 0, 0]), ([2, 1], 0, [0, 0]), ([3], 2, [2])):
        goals = engine.tf.constant(goals, "int32")
        for call in (run, engine.compiled(run)):
            np.testing.assert_array_equal(call(goals, times), wanted)


def test_sizes_of_batches_fall_to_a_few_images(monkeypatch):
    assert engine.loops.sizes_from(1) == [1]
    for smallest in (1, 2, 16):
        monkeypatch.setattr(engine.loops, "SMALLEST_BATCH", smallest)
        sizes = engine.loops.sizes_from(100)
        assert sizes[0] == 100
        assert sizes == sorted(set(sizes), reverse=True)
        assert 1 <= sizes[-1] <= smallest


def test_fused_arithmetic_is_the_same_arithmetic():
    """With tensors of the outside, nested structures, and loops within and around it."""
    x = engine.tf.constant(np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32))

    def run(y):
        def step(state, scale):
            left, right = state
            return engine.repeat(lambda _, z: z * scale + x, 3, left), right - x

        return engine.repeat(lambda i, state: engine.fused(step)(state, 0.5), 4, (y, y))

    for eager, compiled in zip(run(x), engine.compiled(run)(x), strict=True):
        np.testing.assert_allclose(eager, compiled, rtol=1e-5)


def test_fused_arithmetic_within_fused_arithmetic():
    """One kernel, and the total of each image the same inside (a product of matrices) and outside (a sum)."""
    x = np.random.default_rng(0).uniform(0, 1, size=(3, 40, 40, 3)).astype(np.float32)
    inner = engine.fused(lambda x: engine.total(x) / 2)
    outer = engine.fused(lambda x: engine.total(x) + inner(x))
    for call in (outer, engine.compiled(outer), engine.compiled(lambda x: engine.total(x) * 1.5)):
        np.testing.assert_allclose(call(x), 1.5 * x.sum((1, 2, 3), dtype=np.float64), rtol=1e-5)
    graph = engine.compiled(outer).get_concrete_function(engine.tf.TensorSpec(x.shape)).graph.as_graph_def()
    assert sum(function.attr["_XlaMustCompile"].b for function in graph.library.function if "_XlaMustCompile" in function.attr) == 1
    inside = [node.op for function in graph.library.function for node in function.node_def]
    assert inside.count("MatMul") == 2
    assert "Sum" not in inside


def test_fused_arithmetic_is_compiled_by_xla():
    graph = engine.tf.function(lambda x: engine.fused(lambda x: x + 1)(x), autograph=False).get_concrete_function(engine.tf.TensorSpec([2]))
    functions = graph.graph.as_graph_def().library.function
    assert any("_XlaMustCompile" in function.attr and function.attr["_XlaMustCompile"].b for function in functions)


def test_the_reason_of_a_tensorflow_error_is_not_its_stack_trace():
    @engine.compiled
    def outside(index):
        return engine.tf.gather(engine.tf.zeros((4,)), index)

    with pytest.raises(engine.tf.errors.InvalidArgumentError) as error:
        outside(engine.tf.constant([7]))
    assert engine.reason(error.value) == "InvalidArgumentError: indices[0] = 7 is not in [0, 4)"
    assert engine.reason(ValueError("one\ntwo")) == "ValueError: one"
    assert engine.reason(MemoryError()) == "MemoryError: no message"


@pytest.mark.parametrize(
    "use",
    [
        lambda x: ops.zeros((x.shape[0], 2)),
        lambda x: ops.reshape(x, x.shape),
        lambda x: ops.broadcast_to(1.0, x.shape),
        lambda x: x * x.shape[0],
        lambda x: Rng.from_seed(0).normal(x.shape),
    ],
)
def test_a_shape_of_an_unknown_number_of_images_says_what_to_write(use):
    def step(i, rows, x):
        return x + 0 * use(x)

    run = engine.compiled(lambda x: engine.repeat_undecided(step, 3, x, decided=lambda x: x[:, 0] > 0))
    with pytest.raises((TypeError, ValueError)) as error:
        run(engine.tf.zeros((4, 2)))
    reason = engine.reason(error.value)
    assert reason.count("inside `repeat_undecided` write ops.shape(x) for x.shape") == 1
    assert len(reason.splitlines()) == 1


@pytest.mark.parametrize(("mode", "message"), [("graph", "a bad setting"), ("eager", "None is no class")])
def test_the_remedy_for_unknown_sizes_is_not_given_for_other_errors(mode, message):
    def step(i, rows, x):
        raise ValueError(message)

    def run(x):
        return engine.repeat_undecided(step, 3, x, decided=lambda x: x[:, 0] > 0)

    with pytest.raises(ValueError, match=message) as error:
        (engine.compiled(run) if mode == "graph" else run)(engine.tf.zeros((4, 2)))
    assert engine.reason(error.value) == f"ValueError: {message}"


def test_the_remedy_for_unknown_sizes_is_not_given_outside_a_loop():
    with pytest.raises(ValueError, match="None") as error:
        engine.keras.Sequential([engine.keras.Input((6, 6, 3)), engine.keras.layers.Conv2D(2, 9)])
    assert "repeat_undecided" not in engine.reason(error.value)


def test_loops_over_undecided_images_within_each_other():
    """The inner one keeps the images that the outer one gave it, each until it is decided."""

    def inner(x):
        return engine.repeat_undecided(lambda i, rows, x: ops.where(x < 3, x + 1, x), 9, x, decided=lambda x: x >= 3)

    def step(i, rows, state):
        value, goal = state
        return ops.where(value < goal, inner(value - 2), value), goal

    def run(goals):
        return engine.repeat_undecided(step, 50, (ops.zeros_like(goals), goals), decided=lambda state: state[0] >= state[1])[0]

    goals = engine.tf.constant(np.arange(40, dtype=np.int32) % 5)
    wanted = np.where(goals > 0, 3, 0)
    for call in (run, engine.compiled(run)):
        np.testing.assert_array_equal(call(goals), wanted)
