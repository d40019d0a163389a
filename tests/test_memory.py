"""A long run must not grow: measured on the process itself."""

from __future__ import annotations

import gc
import os
import weakref
from pathlib import Path

import numpy as np
import pytest

from advrun import Linf, registry
from advrun.attack import Attack
from advrun.config.entries import settings_of
from advrun.craft import craft
from advrun.system import classifier

from .conftest import CLASSES, linear_classifier


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's account of the process")
@pytest.mark.slow
@pytest.mark.parametrize("name", ["pgd", "square"])
def test_a_thousand_batches_grow_the_process_by_less_than_50_mb(name, network, images):
    plugin = registry.get("attacks", name)
    few = {"steps": 3} if name == "pgd" else {"queries": 10}
    attack = Attack(plugin, Linf(0.05), settings_of(plugin, few))
    x = np.tile(images, (400, 1, 1, 1))
    y = network.predict(x).argmax(-1)
    craft(network, attack, x[:400], y[:400], batch_size=4)
    before = resident_bytes()
    craft(network, attack, x, y, batch_size=4)
    assert resident_bytes() - before < 50e6


@pytest.mark.slow
def test_graphs_of_settings_that_are_no_longer_used_are_let_go(images, monkeypatch):
    """A sweep over a setting makes a graph for each of its values; the last few are kept."""
    monkeypatch.setattr(classifier, "KEPT_GRAPHS", 3)
    network = linear_classifier(CLASSES, seed=1)
    plugin = registry.get("attacks", "pgd")
    y = network.predict(images).argmax(-1)
    first = None
    for steps in range(1, 6):
        craft(network, Attack(plugin, Linf(0.05), settings_of(plugin, {"steps": steps})), images, y)
        first = first or weakref.ref(next(reversed(network._runs.values())))
    gc.collect()
    assert first() is None
    assert len(network._runs) == 3
