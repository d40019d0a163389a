"""The comparison of envelopes, without the peers: whose example counts, who is behind, and what an attack adds."""

from __future__ import annotations

import time

import numpy as np
import pytest

from advrun import L0, L2, attacks

from . import compare, envelope

INF = float("inf")
FACTS = {"date": "", "environment": "", "budget": 1000}


@pytest.mark.parametrize(
    ("theirs", "ratio", "behind"),
    [
        ([2.0, 2.0], "1.000", 0),  # each image has its own closest attack: 1 and 3
        ([1.0, 2.97], "1.008", 0),
        ([1.0, 2.9], "1.026", 1),
        ([INF, 3.0], "1.000", 0),  # on the images that both fooled
    ],
)
def test_the_closest_example_of_each_image_counts(theirs, ratio, behind):
    found = {"a, advrun": [1.0, 5.0], "b, advrun": [9.0, 3.0], "a, peer": theirs}
    text, lines = envelope.report({"victim": {"L2": found}}, FACTS)
    assert f"| {ratio} ± " in text
    assert len(lines) == behind


def test_the_standard_error_is_that_of_a_ratio_over_many_images():
    """Beside the spread of the ratio itself, over many draws of images."""
    draw = np.random.default_rng(0)
    theirs = 1.0 + draw.integers(0, 6, (4000, 60))
    ours = theirs + draw.integers(-1, 3, theirs.shape)
    ratios = [envelope.ratio_of_means(*pair) for pair in zip(ours, theirs, strict=True)]
    told = [envelope.standard_error(*pair) for pair in zip(ours, theirs, strict=True)]
    np.testing.assert_allclose(np.mean(told), np.std(ratios), rtol=0.05)
    assert envelope.standard_error(np.array([1.0, INF, 4.0]), np.array([2.0, 1.0, 8.0])) == 0  # on the images that both fooled


def test_an_image_that_only_peers_fool_puts_us_behind():
    assert envelope.report({"victim": {"L2": {"a, advrun": [1.0, INF], "a, peer": [5.0, 5.0]}}}, FACTS)[1]


def test_what_an_attack_adds():
    """Ours: what the others would lack; a peer's: what all of ours lack."""
    mine = {"a, advrun": [1.0, 4.0], "b, advrun": [2.0, 3.0]}
    table = {row[0]: row[2:] for row in envelope.rows(mine, {**mine, "c, peer": [1.0, 1.0], "d, peer": [4.0, 4.0]})}
    assert table == {"a, advrun": ["1", "25.0 %"], "b, advrun": ["0", "25.0 %"], "c, peer": ["2", "100.0 %"], "d, peer": ["0", "0.0 %"]}


def test_an_attack_keeps_to_the_budget(network, images, monkeypatch):
    """On the victim's own images, and on those alone that it gets right; block by block, as with all of them at once."""
    y = network.predict(images).argmax(-1)
    y[0] += 1
    victim = envelope.right(compare.Victim("network", network.model, images, y)).first(4)
    np.testing.assert_array_equal(victim.x, images[1:5])
    monkeypatch.setattr(envelope, "BUDGET", 20)
    monkeypatch.setattr(envelope, "BLOCK", 2)
    attack = envelope.ours("ddn", L2(), {"steps": 20})
    first, found = envelope.distances(victim, L2(), attack, [])
    expected = L2.distance(attacks.ddn(network, victim.x, victim.y, L2(), steps=20), victim.x)
    np.testing.assert_allclose(found, np.where(np.asarray(expected) > 0, expected, INF), rtol=1e-5)
    assert list(envelope.distances(victim, L2(), attack, first)) == [found]  # the second block alone
    assert list(envelope.distances(victim, L2(), attack, found)) == []
    with pytest.raises(RuntimeError, match="ddn took 21 gradients; the budget is 20"):
        next(envelope.distances(victim, L2(), envelope.ours("ddn", L2(), {"steps": 21}), []))


def test_what_takes_too_long_is_not_waited_for(network, images, monkeypatch):
    """It is said in words, and judged by nobody."""
    victim = compare.Victim("network", network.model, images[:4], network.predict(images[:4]).argmax(-1))
    monkeypatch.setattr(envelope, "BLOCK", 2)
    monkeypatch.setattr(envelope, "MINUTES", 0.05 / 60)
    asked = []

    def slow(block):
        asked.append(block)
        time.sleep(0 if len(asked) == 1 else 60)
        return block.x

    *_, far = envelope.distances(victim, L2(), slow, [])
    assert far[:2] == [INF, INF]
    assert np.isnan(far[2:]).all()
    (far,) = envelope.distances(victim, L2(), slow, far[:3])
    assert np.isnan(far[3])
    assert len(asked) == 2  # the rest is not tried
    found = {"a, advrun": [1.0, 5.0], "b, peer": [9.0, 3.0], "c, peer": [0.5, np.nan]}
    text = envelope.report({"victim": {"L2": found}}, FACTS)[0]
    assert text.endswith("images: c, peer, in L2.\n")
    assert "| c, peer" not in text
    assert "| L2 | 2 | 3 |" in text


def test_more_images_begin_where_the_last_run_ended():
    """An attack that was run on fewer than are asked for has no row, and one that was run on more has the first of them."""
    assert envelope.complete({"a": [1.0, 2.0], "b": [3.0, 4.0, 5.0], "c": [6.0]}, 2) == {"a": [1.0, 2.0], "b": [3.0, 4.0]}


def test_every_norm_has_attacks_of_both():
    for norm in envelope.NORMS:
        assert len(envelope.attacks_of_ours(norm)) >= 3
        assert len(envelope.attacks_of_peers(norm, 10)) >= 5
    assert envelope.NORMS[0] == L0()
