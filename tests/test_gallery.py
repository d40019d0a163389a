"""The images of a row that figures show: the same ones for every system, few enough for the disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from advrun.config import loads
from advrun.metrics import Outcome
from advrun.report import Gallery
from advrun.runs.gallery import FEWEST, MOST, falling, gallery, stored
from advrun.runs.plan import Cell
from tests.conftest import CLASSES, linear_classifier

CONFIG = "data: {name: signs}\nmodels: [{name: cnn}]\nattacks: [{name: pgd, eps: 8/255, target: 2}]\n"


def cell(defense: str = "") -> Cell:
    experiment = loads(CONFIG + (f"defenses: [{{name: {defense}}}]\n" if defense else ""))
    chosen = experiment.defenses[0] if defense else None
    model, attack = experiment.models[0], experiment.attacks[0]
    return Cell("measure", "attack", "row", "0" * 64, (), model, chosen, 0, attack=attack, eps=8 / 255, threat="adaptive")


def outcome(seed: int, shape: tuple[int, ...] = (6, 6, 3), count: int = 40, reach: float = 8 / 255) -> Outcome:
    """The same images, met by a linear classifier of that seed: it is right for some of them."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, *shape)).astype(np.uint8)
    x_adv = np.clip(images / 255 + rng.uniform(-reach, reach, images.shape), 0, 1).astype(np.float32)
    labels = rng.integers(0, CLASSES, count).astype(np.int32)
    system = linear_classifier(CLASSES, seed, shape)
    return Outcome(system, images, x_adv, labels, system.predict(images), system.predict(x_adv))


def distances(met: Outcome) -> np.ndarray:
    return np.abs(met.x_adv - met.x).max(axis=(1, 2, 3))


def test_all_systems_show_the_first_images_right_or_not() -> None:
    first, second = (outcome(seed) for seed in (1, 2))
    galleries = [gallery(one, one.x_adv, distances(one), cell(defense)) for one, defense in ((first, ""), (second, "autoencoder"))]
    for kept, met in zip(galleries, (first, second), strict=True):
        assert MOST <= kept.common < len(kept.x)
        np.testing.assert_array_equal(kept.place[:MOST], np.arange(MOST))
        np.testing.assert_array_equal(kept.x, met.x[kept.place])
        np.testing.assert_array_equal(kept.x_adv, met.x_adv[kept.place])
        np.testing.assert_array_equal(kept.right, met.right[kept.place])
        np.testing.assert_array_equal(kept.predicted_adv, met.after[kept.place].argmax(-1))
        assert 0 < kept.right[:MOST].sum() < MOST
    assert [kept.defense for kept in galleries] == ["none", "autoencoder"]
    assert {(kept.target, kept.eps, kept.threat) for kept in galleries} == {("2", 8 / 255, "adaptive")}
    assert np.any(galleries[0].predicted != galleries[1].predicted)


def test_those_that_fell_first_and_stood_last_are_kept() -> None:
    met = outcome(1, count=400, reach=0.5)
    kept = gallery(met, met.x_adv, np.full(400, 8 / 255, np.float32), cell())
    fell, stood = np.flatnonzero(met.fooled), np.flatnonzero(met.right & ~met.fooled)
    assert min(len(fell), len(stood)) > 8
    place = {int(rank): int(at) for rank, at in zip(kept.rank, kept.place, strict=True) if rank >= 0}
    true, best = met.after[np.arange(400), met.y], np.sort(met.after, axis=1)
    margin = np.where(met.after.argmax(-1) == met.y, best[:, -1] - best[:, -2], true - best[:, -1])
    assert [place[n] for n in range(4)] == sorted(fell, key=lambda n: margin[n])[:4]  # all as far as eps
    last = len(fell) + len(stood) - 1
    assert [place[n] for n in range(last - 3, last + 1)] == sorted(stood, key=lambda n: margin[n])[-4:]
    assert len(kept.x) <= MOST + 8
    assert {int(at) for at in kept.place[kept.rank < 0]} <= set(np.flatnonzero(~met.right))


def test_the_nearest_fell_first_where_there_is_no_eps() -> None:
    met = outcome(1, count=200, reach=0.5)
    far = np.random.default_rng(3).permutation(200).astype(np.float32)
    order = falling(met, far, None)
    count = int(met.fooled.sum())
    np.testing.assert_array_equal(order[:count], sorted(np.flatnonzero(met.fooled), key=lambda n: far[n]))
    assert set(order[count:]) == set(np.flatnonzero(met.right & ~met.fooled))
    near = falling(met, np.where(far < 100, 0.0204, 0.0205).astype(np.float32), 8 / 255)  # the same to 1 % of eps: the answer decides
    np.testing.assert_array_equal(near[:count], falling(met, np.full(200, 0.02, np.float32), 8 / 255)[:count])


@pytest.mark.parametrize(
    ("shape", "count", "most"),
    [((32, 32, 3), MOST, 250_000), ((224, 224, 3), FEWEST, 4_000_000), ((600, 1000, 3), FEWEST, 4_500_000), ((28, 28, 1), MOST, 65_000)],
)
def test_rows_stay_small_whatever_the_images(tmp_path: Path, shape: tuple[int, ...], count: int, most: int) -> None:
    assert stored(shape) == count
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, (count, *shape)).astype(np.float32)
    met = outcome(1, count=count)
    kept = gallery(replace(met, images=x), x, np.zeros(count, np.float32), cell())
    replace(kept, defended=kept.x).write(tmp_path / "row.npz")  # noise, which no compression makes smaller
    assert (tmp_path / "row.npz").stat().st_size < most
    assert max(Gallery.read(tmp_path / "row.npz").x.shape[1:3]) <= 256


def test_large_images_are_thinned_out_not_averaged() -> None:
    x = np.zeros((FEWEST, 512, 300, 1), np.float32)
    x[:, ::2, ::2] = 1  # an average would be grey
    kept = gallery(replace(outcome(1, count=FEWEST), images=x), 1 - x, np.zeros(FEWEST, np.float32), cell())
    assert kept.x.shape == (FEWEST, 256, 150, 1)
    assert kept.x.min() == 1
    assert kept.x_adv.max() == 0


def test_fewer_images_than_are_shown() -> None:
    met = outcome(1, count=2)
    assert len(gallery(met, met.x_adv, distances(met), cell()).x) == 2
