"""The images of a row that figures show: the same ones for every system, few enough for the disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from advrun.config import loads
from advrun.metrics import Outcome
from advrun.report import Gallery
from advrun.runs.gallery import FEWEST, MOST, gallery, stored
from advrun.runs.plan import Cell
from tests.conftest import CLASSES, linear_classifier

CONFIG = "data: {name: signs}\nmodels: [{name: cnn}]\nattacks: [{name: pgd, eps: 8/255, target: 2}]\n"


def cell(defense: str = "") -> Cell:
    experiment = loads(CONFIG + (f"defenses: [{{name: {defense}}}]\n" if defense else ""))
    chosen = experiment.defenses[0] if defense else None
    model, attack = experiment.models[0], experiment.attacks[0]
    return Cell("measure", "attack", "row", "0" * 64, (), model, chosen, 0, attack=attack, eps=8 / 255, threat="adaptive")


def outcome(seed: int, shape: tuple[int, ...] = (6, 6, 3), count: int = 40) -> Outcome:
    """The same images, met by a linear classifier of that seed: it is right for some of them."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, *shape)).astype(np.uint8)
    x_adv = np.clip(images / 255 + rng.uniform(-8 / 255, 8 / 255, images.shape), 0, 1).astype(np.float32)
    labels = rng.integers(0, CLASSES, count).astype(np.int32)
    system = linear_classifier(CLASSES, seed, shape)
    return Outcome(system, images, x_adv, labels, system.predict(images), system.predict(x_adv))


def test_all_systems_show_the_first_images_right_or_not() -> None:
    first, second = (outcome(seed) for seed in (1, 2))
    galleries = [gallery(one, one.x_adv, cell(defense)) for one, defense in ((first, ""), (second, "autoencoder"))]
    for kept, met in zip(galleries, (first, second), strict=True):
        np.testing.assert_array_equal(kept.x, met.x[:MOST])
        np.testing.assert_array_equal(kept.x_adv, met.x_adv[:MOST])
        np.testing.assert_array_equal(kept.right, met.right[:MOST])
        np.testing.assert_array_equal(kept.predicted_adv, met.after[:MOST].argmax(-1))
        assert 0 < kept.right.sum() < MOST
    assert [kept.defense for kept in galleries] == ["none", "autoencoder"]
    assert {(kept.target, kept.eps, kept.threat) for kept in galleries} == {("2", 8 / 255, "adaptive")}
    assert np.any(galleries[0].predicted != galleries[1].predicted)


@pytest.mark.parametrize(
    ("shape", "count", "most"),
    [((32, 32, 3), MOST, 200_000), ((224, 224, 3), FEWEST, 3_000_000), ((600, 1000, 3), FEWEST, 3_500_000), ((28, 28, 1), MOST, 50_000)],
)
def test_rows_stay_small_whatever_the_images(tmp_path: Path, shape: tuple[int, ...], count: int, most: int) -> None:
    assert stored(shape) == count
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, (count, *shape)).astype(np.float32)
    met = outcome(1, count=count)
    kept = gallery(replace(met, images=x), x, cell())
    replace(kept, defended=kept.x).write(tmp_path / "row.npz")  # noise, which no compression makes smaller
    assert (tmp_path / "row.npz").stat().st_size < most
    assert max(Gallery.read(tmp_path / "row.npz").x.shape[1:3]) <= 256


def test_large_images_are_thinned_out_not_averaged() -> None:
    x = np.zeros((FEWEST, 512, 300, 1), np.float32)
    x[:, ::2, ::2] = 1  # an average would be grey
    kept = gallery(replace(outcome(1, count=FEWEST), images=x), 1 - x, cell())
    assert kept.x.shape == (FEWEST, 256, 150, 1)
    assert kept.x.min() == 1
    assert kept.x_adv.max() == 0


def test_fewer_images_than_are_shown() -> None:
    met = outcome(1, count=2)
    assert len(gallery(met, met.x_adv, cell()).x) == 2
