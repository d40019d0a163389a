"""The images that the page carries: what a script paints from them is what was attacked."""

from __future__ import annotations

import base64
import zlib
from dataclasses import replace

import numpy as np
import pytest

from advrun.report.album import FELL, PACKED, STOOD, WRONG, album, levels
from advrun.report.summary import summarise
from tests.report._large import large
from tests.report._sample import gallery, result

KIND = {"eps": 8 / 255, "norm": "linf"}


def unpacked(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text.removeprefix(PACKED)))


def painted(made, row: int, at: int) -> tuple[np.ndarray, np.ndarray]:
    """Original and attacked image, in grey levels, as page.js makes them."""
    columns = made.rows[row]
    differences = np.frombuffer(unpacked(made.originals[columns["original"][at]]), np.uint8).reshape(-1, made.shape[-1])
    x = np.cumsum(differences, axis=0, dtype=np.uint8).reshape(made.shape)
    change = np.frombuffer(unpacked(columns["change"][at]), np.int8).reshape(made.shape)
    return x, np.clip(x + 255 * columns["step"][at] * change, 0, 255)


def kept(**fields):
    found = result("none", "pgd", "adaptive", accuracy=0.5, n=50, **KIND)
    return gallery("none", "pgd", purified=False, **KIND) if not fields else replace(
        gallery("none", "pgd", purified=False, **KIND), **fields
    ), found


@pytest.mark.parametrize("size", [0.5 / 255, 8 / 255, 0.9])
def test_images_come_back_to_a_grey_level(size):
    rng = np.random.default_rng(0)
    x = np.rint(rng.uniform(0, 255, (6, 32, 32, 3))) / np.float32(255)
    x_adv = np.clip(x + rng.uniform(-size, size, x.shape), 0, 1).astype(np.float32)
    made = album({3: kept(x=x.astype(np.float32), x_adv=x_adv)}, 10**6)
    order = [0, 3, 5, 2, 1, 4]  # first and last in turn, wrong before at the end; see `rank` there: 0, 4, 2, 3, -1, 1
    order = [int(np.flatnonzero(kept()[0].rank == rank)[0]) for rank in (0, 4, 1, 3, 2, -1)]
    assert made.rows[3]["rank"] == [0, 4, 1, 3, 2, -1]
    for at, index in enumerate(order):
        before, after = painted(made, 3, at)
        np.testing.assert_array_equal(before, np.rint(255 * x[index]))
        assert np.abs(after - 255 * x_adv[index]).max() <= 0.92  # half a step: at most 1.5 grey levels, but 2 where 127 of them are too few


def test_a_small_change_keeps_its_shape():
    change = np.array([[[0.1], [-0.05], [0.0]]]) / 255
    counts, step = levels(change)
    assert counts.ravel().tolist() == [7, -4, 0]
    assert step == pytest.approx(0.1 / 255 / 7)
    assert levels(np.zeros((2, 2, 1)))[1] == 1.0


def test_what_became_of_an_image_is_what_the_row_counts():
    one, found = kept()
    made = album({0: (one, found)}, 10**6)
    fates = dict(zip(made.rows[0]["place"], made.rows[0]["fate"], strict=True))
    assert fates == {place: WRONG if one.rank[place] < 0 else STOOD if found.correct[place] else FELL for place in range(6)}


@pytest.mark.parametrize(("channels", "shown"), [(1, 1), (2, 1), (4, 3)])
def test_any_number_of_channels_can_be_painted(channels, shown):
    x = np.full((6, 200, 100, channels), 0.4, np.float32)
    made = album({0: kept(x=x, x_adv=x + 0.1)}, 10**6)
    assert made.shape == (67, 34, shown)
    before, after = painted(made, 0, 0)
    assert (before == 102).all()
    np.testing.assert_allclose(after, 127.5, atol=0.8)


def test_every_row_has_as_many_images_as_fit():
    found = large(models=1, defenses=2, attacks=5)
    results = [each for each in summarise(found.results).results if each.row.threat == "adaptive"]
    rows = dict(enumerate(zip(found.galleries, results, strict=False)))
    sizes = {}
    for budget in (0, 30_000, 200_000, 10**7):
        made = album(rows, budget)
        counts = {len(each["rank"]) for each in made.rows.values()}
        spent = sum(map(len, made.originals)) + sum(len(text) for each in made.rows.values() for text in each["change"])
        assert len(counts) <= 1
        assert spent <= budget
        sizes[budget] = next(iter(counts), 0)
    assert sizes[0] == 0 < sizes[30_000] < sizes[200_000] < sizes[10**7] == 24
    assert len(album(rows, 10**7).originals) < 20 * 24  # one of each for all rows
