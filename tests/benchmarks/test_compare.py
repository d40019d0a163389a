"""The comparison with peers, without the peers: what it keeps, and whom it calls stronger."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from advrun import L2, Linf
from advrun.engine import keras
from advrun.system.modelfile import save_model

from . import compare, report
from .matches import Match


@pytest.fixture
def run(tmp_path, monkeypatch, images, capsys):
    """Compares FGSM on a network; gives the lines that it printed: what was measured anew."""
    monkeypatch.chdir(tmp_path)

    def run(network, x=images) -> list[str]:
        save_model(network.model, tmp_path / "network.keras")
        np.savez(tmp_path / "images.npz", x=x, y=np.arange(len(x)) % network.classes)
        options = ["--victim", "network.keras", "--images", "images.npz", "--only", "fgsm", "--no-peers", "--write", "tables"]
        monkeypatch.setattr(sys, "argv", ["compare", *options])
        assert compare.main() == 0
        return capsys.readouterr().out.splitlines()

    return run


@pytest.mark.slow
def test_results_are_kept_for_one_model_and_its_images(run, network, images):
    assert len(run(network)) == 2  # in Linf and in L2
    assert run(network) == []
    assert len(run(network, images[::-1].copy())) == 2
    *_, last = network.model.layers
    last.set_weights([weights * 2 for weights in last.get_weights()])
    try:
        assert len(run(network)) == 2
    finally:
        last.set_weights([weights / 2 for weights in last.get_weights()])
    assert run(network) == []
    assert len(list(Path("results/compare").iterdir())) == 3
    assert "fgsm Linf 8/255" in Path("tables/PARITY.md").read_text()


def test_another_architecture_of_the_same_weights_is_another_victim(run, network):
    clone = keras.models.clone_model(network.model, clone_function=softer)
    clone.set_weights(network.model.get_weights())
    assert [len(run(network)), len(run(type(network)(clone)))] == [2, 2]


def softer(layer):
    changed = {"activation": "softplus"} if layer.get_config().get("activation") == "relu" else {}
    return layer.__class__.from_config({**layer.get_config(), **changed})


@pytest.mark.parametrize(
    ("ball", "fooled", "distance", "stronger"),
    [
        (Linf(0.1), [1, 1, 1, 0], [0.1] * 4, False),
        (Linf(0.1), [1, 1, 1, 1], [0.1] * 4, True),
        (Linf(0.1), [1, 1, 1, 0], [0.01] * 4, False),  # in a ball the distance does not matter
        (L2(), [1, 1, 1, 0], [0.995] * 4, False),
        (L2(), [1, 1, 1, 0], [0.98] * 4, True),
        (L2(), [1, 1, 1, 0], [0.98, 1.0, 1.0, 0.0], False),  # what was not fooled went nowhere
        (L2(), [1, 0, 0, 0], [0.5, 0.0, 0.0, 0.0], True),  # on the images that both fooled
    ],
)
def test_who_is_stronger(ball, fooled, distance, stronger):
    match = Match("any", ball, "budget")
    own = {"fooled": [1, 1, 1, 0], "distance": [1.0, 1.0, 1.0, 0.0]}
    assert report.is_stronger(match, {"fooled": fooled, "distance": distance}, own) is stronger


@pytest.mark.parametrize(
    ("ahead", "spreads", "stronger"),
    [
        (0.02, (0.02, 0.02), False),
        (0.02, (0.012, 0.012), True),
        (0.02, (None, 0.02), True),
        (0.004, (0.0, 0.0), False),  # below half a point
    ],
)
def test_what_chance_explains_makes_no_peer_stronger(ahead, spreads, stronger):
    """Over four seeds, two standard errors of the difference are the spread times the root of 2."""
    own, peer = (
        {"fooled": [share] * 4, "distance": [0.1] * 4, "spread": spread} for share, spread in zip((0.8, 0.8 + ahead), spreads, strict=True)
    )
    assert report.is_stronger(Match("any", Linf(0.1), "budget", seeds=4), peer, own) is stronger


def test_an_attack_cannot_set_an_image_right(network, images):
    """Accuracy after an attack is that of images which were right before it and after it."""
    classes = network.predict(images).argmax(-1)
    x, y = images[:2], np.array([classes[1], classes[1]], np.int32)
    assert classes[0] != classes[1]
    victim = compare.Victim("network", network.model, x, y)
    fooled, distance, outside = compare.judged(Match("any", Linf(1.0), ""), victim, np.stack([x[1], x[1]]))
    assert fooled.tolist() == [True, False]
    assert distance[0] > 0
    assert outside == 0


def test_the_spread_over_seeds_is_told(network, images):
    """One run fools no image, the other one all."""
    y = network.predict(images).argmax(-1)
    moved = np.stack([images[np.flatnonzero(y != label)[0]] for label in y])
    victim, match = compare.Victim("network", network.model, images, y), Match("any", Linf(1.0), "")
    assert report.entry(match, compare.strength(match, victim, [images, moved])) == "50.00 ± 70.7"
    assert report.entry(match, compare.strength(match, victim, [images])) == "100.00"


@pytest.mark.parametrize(("peers", "verdict"), [({}, ""), ({"ART": {"error": "ValueError: no"}}, ""), ({"ART": None}, "=")])
def test_a_verdict_is_given_where_a_peer_was_measured(peers, verdict):
    own = {"fooled": [0], "distance": [0.0], "outside": 0}
    found = {"advrun": own, **{library: outcome or own for library, outcome in peers.items()}}
    assert report.parity_row(Match("any", L2(), ""), found)[-1] == verdict
