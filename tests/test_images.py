"""Images that need not fit into memory: the same numbers as of arrays, read ahead but not far, and never all at once."""

from __future__ import annotations

import resource
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from advrun import Linf, registry
from advrun.attack import Attack
from advrun.config.entries import settings_of
from advrun.contract.victims import Elsewhere
from advrun.craft import craft
from advrun.data import Dataset
from advrun.errors import WriteError
from advrun.images import AHEAD, Canvas, Images, blocks, by_blocks, changed, painted
from advrun.runs.examples import read_examples, write_examples

ARRAY = np.random.default_rng(5).integers(0, 256, (23, 6, 6, 3), dtype=np.uint8)


class Watched(Elsewhere):
    """Says which images were read."""

    def __init__(self, array: np.ndarray) -> None:
        super().__init__(array)
        self.seen: list[int] = []

    def read(self, rows: np.ndarray) -> np.ndarray:
        self.seen += rows.tolist()
        return super().read(rows)


@contextmanager
def no_file_above(size: int):
    """The kernel refuses to make files larger, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_they_are_taken_apart_as_arrays_are() -> None:
    watched = Watched(ARRAY)
    mask = ARRAY[:, 0, 0, 0] > 100
    for rows in (slice(3, 20, 4), np.array([5, 5, 2]), mask, slice(0, 0), slice(None, None, -1)):
        part = watched[rows]
        assert not watched.seen, "looked at before anybody asked"
        assert (part.shape, part.dtype, len(part), part.nbytes) == (ARRAY[rows].shape, np.uint8, len(ARRAY[rows]), ARRAY[rows].nbytes)
    order = np.random.default_rng(0).permutation(len(ARRAY))
    assert np.array_equal(np.asarray(watched[order][4:9][::-1]), ARRAY[order][4:9][::-1])
    assert set(watched.seen) == set(order[4:9].tolist())
    assert np.array_equal(watched[-2], ARRAY[-2])
    assert np.array_equal(np.stack(list(watched)), ARRAY)
    half = changed(watched, lambda x: x / np.float32(510), np.float32)
    assert half.dtype == np.float32
    assert np.array_equal(np.asarray(half[mask]), (ARRAY / np.float32(510))[mask])


def test_blocks_are_read_ahead_but_not_far() -> None:
    watched, began = Watched(ARRAY), threading.Event()
    given = blocks(watched, 2)
    first = next(given)
    for _ in range(200):
        if len(watched.seen) == 2 * (AHEAD + 1):
            break
        began.wait(0.01)
    assert np.array_equal(first, ARRAY[:2])
    assert len(watched.seen) == 2 * (AHEAD + 1)
    assert np.array_equal(np.concatenate([first, *given]), ARRAY)
    given = blocks(watched, 2)
    next(given)
    given.close()
    stopped = len(watched.seen)
    began.wait(0.05)
    assert len(watched.seen) == stopped


def test_what_cannot_be_read_is_raised_where_it_is_looked_at() -> None:
    class Broken(Elsewhere):
        def read(self, rows: np.ndarray) -> np.ndarray:
            if 7 in rows:
                raise WriteError("image 7")
            return super().read(rows)

    given = blocks(Broken(ARRAY), 3)
    assert len(next(given)) == len(next(given)) == 3
    with pytest.raises(WriteError, match="image 7"):
        next(given)


def test_values_by_blocks_are_those_of_the_whole() -> None:
    def spread(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.abs(a.astype(int) - b).max((1, 2, 3))

    assert np.array_equal(by_blocks(spread, Elsewhere(ARRAY), Elsewhere(ARRAY[::-1])), spread(ARRAY, ARRAY[::-1]))


def test_the_fingerprint_is_of_the_images_and_of_their_order() -> None:
    def marked(images: Images) -> str:
        y = np.zeros(len(images), np.int32)
        return Dataset("d", images[:0], y[:0], images, y, ("a", "b")).test_fingerprint

    other = ARRAY.copy()
    other[11, 2, 2, 1] ^= 1
    assert marked(Elsewhere(ARRAY)) == marked(Elsewhere(ARRAY.copy()))
    assert marked(Elsewhere(ARRAY)[::-1]) == marked(Elsewhere(ARRAY[::-1]))
    assert len({marked(Elsewhere(each)) for each in (ARRAY, other, ARRAY[::-1], ARRAY[:-1])}) == 4


def test_a_canvas_is_painted_over_where_it_is_told(tmp_path) -> None:
    base = Elsewhere(ARRAY / np.float32(255))
    canvas = Canvas(base, tmp_path / "new")
    rows = np.array([4, 0, 22])
    canvas[rows] = np.stack([np.full((6, 6, 3), value, np.float32) for value in (0.1, 0.2, 0.3)])
    expected = ARRAY / np.float32(255)
    expected[rows] = np.array([0.1, 0.2, 0.3], np.float32)[:, None, None, None]
    assert np.array_equal(np.asarray(canvas), expected)
    assert not list((tmp_path / "new").iterdir()), "a file that a kill would leave behind"
    mask = np.arange(23) % 3 == 0
    assert painted(canvas, Elsewhere(1 - expected), mask) is canvas
    assert np.array_equal(np.asarray(canvas), np.where(mask[:, None, None, None], 1 - expected, expected))
    with no_file_above(1000), pytest.raises(WriteError, match=r"images cannot be kept there .*; make room"):
        canvas[np.array([21])] = expected[21:22]


@pytest.mark.parametrize(
    ("name", "settings", "target"),
    [
        ("pgd", {"steps": 3}, None),
        pytest.param("pgd", {"steps": 3}, "all", marks=pytest.mark.slow),
        ("boundary", {"queries": 60}, None),  # it starts from other images
        pytest.param("universal", {}, None, marks=pytest.mark.slow),  # it learns from other images
        pytest.param("autoattack", {}, None, marks=pytest.mark.slow),  # a cascade
    ],
)
def test_attacks_make_the_same_of_them(name, settings, target, network, images, tmp_path) -> None:
    plugin = registry.get("attacks", name)
    eps = 0.1 if plugin.needs_eps else None
    attack = Attack(plugin, Linf(eps) if eps else Linf(), settings_of(plugin, settings))
    x = np.concatenate([images, images[::-1]])
    y = network.predict(x).argmax(-1)
    y[3] = (y[3] + 1) % 5
    whole, apart = (craft(network, attack, each, y, batch_size=8, target=target) for each in (x, Elsewhere(x)))
    assert isinstance(apart.x_adv, Canvas)
    assert np.array_equal(np.asarray(apart.x_adv), whole.x_adv)
    for field in ("attacked", "gradients", "queries"):
        assert np.array_equal(getattr(apart, field), getattr(whole, field))


def test_examples_are_written_and_read_in_parts(tmp_path) -> None:
    rng = np.random.default_rng(1)
    x_adv = rng.uniform(0, 1, (23, 6, 6, 3)).astype(np.float32)
    rows = {"attacked": np.arange(23) % 2 == 0, "row": rng.permutation(23), "gradients": np.arange(23), "queries": np.arange(23)}
    for name in ("first.h5", "second.h5"):
        write_examples({"x_adv": Elsewhere(x_adv), **rows}, "label", tmp_path / name)
    assert (tmp_path / "first.h5").read_bytes() == (tmp_path / "second.h5").read_bytes()
    found = read_examples(tmp_path / "first.h5", (23, 6, 6, 3), whole=False)
    assert isinstance(found["x_adv"], Images)
    assert np.array_equal(np.asarray(found["x_adv"]), x_adv)
    some = np.array([9, 2, 2, 22, 0])
    assert np.array_equal(np.asarray(found["x_adv"][some]), x_adv[some])
    assert np.array_equal(np.asarray(found["x_adv"][3:9]), x_adv[3:9])
    assert all(np.array_equal(found[name], array) for name, array in rows.items())
    assert np.array_equal(read_examples(tmp_path / "first.h5", (23, 6, 6, 3))["x_adv"], x_adv)


def test_a_full_disk_is_an_error_and_not_the_end_of_the_process(tmp_path) -> None:
    x_adv = np.random.default_rng(1).uniform(0, 1, (40, 16, 16, 3)).astype(np.float32)
    with no_file_above(50_000), pytest.raises(OSError, match="large"):
        write_examples({"x_adv": Elsewhere(x_adv), "row": np.arange(40)}, "label", tmp_path / "full.h5")


GROWS = """
import numpy as np
from advrun.engine import keras
from advrun.images import Images
from advrun.system import Classifier
from tests.test_memory import resident_bytes

class Grey(Images):
    def read(self, rows):
        return np.full((len(rows), *self.shape[1:]), rows[0] % 200, np.uint8)

classifier = Classifier(keras.Sequential([keras.Input((224, 224, 3)), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(4)]))
photographs = Grey((1_800, 224, 224, 3))
classifier.predict(photographs[:64], 32)
before = highest = resident_bytes()
for start in range(0, len(photographs), 300):
    classifier.predict(photographs[start : start + 600], 32)
    highest = max(highest, resident_bytes())
print(highest - before)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's account of the process")
@pytest.mark.slow
def test_a_set_of_270_mb_grows_the_process_by_less_than_100_mb() -> None:
    """In a process of its own: what other tests have left free in one would count too."""
    run = subprocess.run([sys.executable, "-c", GROWS], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 100e6
