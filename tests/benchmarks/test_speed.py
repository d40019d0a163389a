"""Speed as ratios within one run: against the floor (gradients x the time of one) and against Foolbox where installed."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from advrun import L2, Linf, engine, registry
from advrun.attack import Attack
from advrun.config.entries import settings_of
from advrun.engine import Rng
from advrun.losses import cross_entropy

pytestmark = pytest.mark.bench


def seconds(function: Callable[[], object], repeats: int = 5) -> float:
    """The shortest of several runs, after one that compiles."""
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        np.asarray(function())
        times.append(time.perf_counter() - start)
    return min(times)


def compiled(classifier, name: str, geometry, **settings):
    plugin = registry.get("attacks", name)
    attack = Attack(plugin, geometry, settings_of(plugin, settings))
    return engine.compiled(lambda x, y: attack(classifier, x, y, Rng.from_seed(0)))


def gradients_of(classifier, images: int, run: Callable[[], object]) -> int:
    classifier.counter.start(images)
    run()
    return int(classifier.counter.read()["gradients"].max())


@pytest.mark.parametrize(("name", "geometry", "limit"), [("fgsm", Linf(8 / 255), 1.6), ("pgd", Linf(8 / 255), 1.10), ("cw", L2(), 1.3)])
def test_an_attack_costs_little_more_than_its_gradients(victim, name, geometry, limit):
    classifier, x, y = victim
    x, y = engine.tf.constant(x), engine.tf.constant(y)
    gradient = engine.compiled(lambda x, y: classifier.gradient(cross_entropy, x, y))
    run = compiled(classifier, name, geometry)
    run(x, y)
    count = gradients_of(classifier, len(x), lambda: run(x, y))

    def bare():
        for _ in range(count):
            result = gradient(x, y)
        return result

    floor, cost = seconds(bare, 3), seconds(lambda: run(x, y), 3)
    print(f"\n{name}: {cost:.2f} s for {count} gradients; {cost / floor:.2f} x the bare gradients")
    assert cost / floor <= limit


def test_cw_against_foolbox(victim):
    foolbox = pytest.importorskip("foolbox")
    classifier, x, y = victim
    x, y = engine.tf.constant(x), engine.tf.constant(y)
    model = foolbox.TensorFlowModel(classifier.model, bounds=(0, 1))
    peer = foolbox.attacks.L2CarliniWagnerAttack(binary_search_steps=5, steps=100, stepsize=0.01, confidence=0)
    start = time.perf_counter()
    theirs = np.asarray(peer(model, x, engine.tf.cast(y, "int64"), epsilons=None)[0])
    slow = time.perf_counter() - start
    run = compiled(classifier, "cw", L2(), preset="fast")
    fast = seconds(lambda: run(x, y), 2)
    ours = np.asarray(run(x, y))

    def distance(images: np.ndarray) -> float:
        fooled = classifier.predict(images).argmax(-1) != y.numpy()
        return float(np.sqrt(np.square(images - x.numpy()).sum((1, 2, 3)))[fooled].mean())

    print(f"\nC&W 5 x 100: Foolbox {slow:.1f} s, mean L2 {distance(theirs):.4f}; advrun {fast:.1f} s, {distance(ours):.4f}")
    assert slow / fast >= 2
    assert distance(ours) <= 1.01 * distance(theirs)


def processor_seconds(function: Callable[[], object]) -> float:
    """What all threads of this process took; other processes have no part in it."""
    start = time.process_time()
    np.asarray(function())
    return time.process_time() - start


@pytest.mark.parametrize(
    ("name", "geometry", "settings"),
    [
        ("pgd", Linf(8 / 255), {"steps": 10}),
        ("square", Linf(1e-4), {"queries": 150}),  # so little that no image is done before the others, by chance
        ("spsa", Linf(1e-4), {"queries": 300}),
        ("hopskipjump", L2(), {"queries": 150}),
    ],
)
def test_numbers_of_each_images_own_cost_no_more_than_numbers_of_the_batch(victim, name, geometry, settings):
    """By turns, with one stream for the batch and with one for each image."""
    classifier, x, y = victim
    plugin = registry.get("attacks", name)
    attack = Attack(plugin, geometry, settings_of(plugin, settings))
    ways = {"batch": lambda key, x: Rng(key), "each": lambda key, x: Rng(key).of(x)}
    runs = {way: engine.compiled(lambda x, y, key, source=source: attack(classifier, x, y, source(key, x))) for way, source in ways.items()}
    given = engine.tf.constant(x[:64]), engine.tf.constant(y[:64]), Rng.from_seed(0).key
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(6):
        for way, run in runs.items():
            times[way].append(processor_seconds(lambda run=run: run(*given)))
    ratio = min(times["each"]) / min(times["batch"])  # the first of each compiles, and is not the shortest
    print(f"\n{name}: {min(times['each']):.3f} s of processor time; {ratio:.3f} x that with one stream for the batch")
    assert ratio <= 1.03
