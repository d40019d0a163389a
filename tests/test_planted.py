"""The unit test of an evaluation: examples are surely there, attacks that can see find them, those that cannot do not."""

from __future__ import annotations

import numpy as np
import pytest

from advrun import Classifier, Linf, registry
from advrun.attack import Attack
from advrun.config.entries import settings_of
from advrun.engine import keras, ops
from advrun.errors import ModelError
from advrun.planted import _whitened, found, plant
from advrun.proof import Proof, beside
from advrun.report import proofs
from advrun.report.findings import Findings
from advrun.system import Chain, Purifier
from advrun.system.readout import readout
from tests._rows import result

from .conftest import CLASSES, IMAGE_SHAPE

BALL = Linf(0.1)


def attack(name: str, ball=BALL, **settings) -> Attack:
    plugin = registry.get("attacks", name)
    return Attack(plugin, ball, settings_of(plugin, settings))


def images(n: int = 24) -> np.ndarray:
    return np.random.default_rng(5).uniform(0.3, 0.7, (n, *IMAGE_SHAPE)).astype(np.float32)


@pytest.fixture(scope="module")
def planted(network):
    x = images()
    return plant(network, x, network.predict(x).argmax(-1), BALL, batch_size=256)


def test_every_image_has_an_example_within_the_ball(planted):
    assert len(planted.x) + planted.left_out == 24
    assert len(planted.x) >= 12  # sixteen features do not tell every point apart
    assert (planted.classifier.predict(planted.x).argmax(-1) == 0).all()
    assert (planted.classifier.predict(planted.example).argmax(-1) == 1).all()
    assert (np.abs(planted.example - planted.x).max((1, 2, 3)) <= BALL.reach).all()
    assert planted.random.mean() < 0.6


def test_the_clean_image_is_as_sure_as_it_was(planted, network):
    """Else a system that is too sure would be altered into one that is not."""
    before = np.sort(network.predict(planted.x), axis=-1)
    after = planted.classifier.predict(planted.x)
    np.testing.assert_allclose(after[:, 0] - after[:, 1], before[:, -1] - before[:, -2], rtol=1e-3)


def test_an_attack_finds_what_is_there_and_a_blinded_one_does_not(planted, network):
    assert found(planted, attack("pgd", steps=40, restarts=2)).mean() >= 0.95
    blind = Chain(network.model, (Purifier(lambda x, rng: x + 0 * ops.round(x), "exact"), Purifier(lambda x, rng: ops.stop_gradient(x))))
    x = images()
    hidden = plant(Classifier(blind), x, network.predict(x).argmax(-1), BALL, batch_size=256)
    assert Proof("m", "d", "a", 0, "linf", 0.1, n=len(hidden.x), found=int(found(hidden, attack("pgd", steps=20)).sum())).is_enough is False


def test_each_image_meets_its_own_last_layer_wherever_it_stands(planted):
    """In another order, as a part of a batch, and as several variants."""
    classifier, x = planted.classifier, planted.example
    whole = classifier.predict(x)
    order = np.random.default_rng(1).permutation(len(x))
    view = classifier.around(planted.x[order], BALL, np.zeros(len(order), np.int32))
    np.testing.assert_allclose(view.forward(x[order]), whole[order], rtol=1e-4, atol=1e-4)
    part = np.array([3, 1, 7])
    np.testing.assert_allclose(view.part(part).forward(x[order][part]), whole[order][part], rtol=1e-4, atol=1e-4)
    both = np.concatenate([x, planted.x])
    np.testing.assert_allclose(classifier.predict(both, 7), np.concatenate([whole, classifier.predict(planted.x)]), rtol=1e-4, atol=1e-4)


def test_what_stands_behind_the_last_layer_stays(network):
    inputs = keras.Input(IMAGE_SHAPE)
    scaled = keras.Model(inputs, 100.0 * network.model(inputs))
    cut = readout(scaled)
    x = images(4)
    features = np.asarray(cut.features(x))
    np.testing.assert_allclose(cut.logits(ops.convert_to_tensor(cut.scores(features))), scaled(x), rtol=1e-3, atol=1e-2)
    assert np.asarray(cut.logits(ops.convert_to_tensor([[1.0, 2.0]]))).tolist() == [[100.0, 200.0]]


def test_a_network_without_such_a_layer_is_refused_in_one_line():
    layers = [keras.Input(IMAGE_SHAPE), keras.layers.Conv2D(CLASSES, 3, name="last"), keras.layers.GlobalAveragePooling2D()]
    with pytest.raises(ModelError, match="cannot be given a new last layer: its last layer with weights is 'last', a Conv2D; a Dense"):
        readout(keras.Sequential(layers))


def test_the_score_is_counted_from_what_random_search_finds():
    proof = Proof("m", "d", "pgd", 0, "linf", 0.1, n=100, found=96, random=20)
    assert proof.share == 0.96
    assert proof.score == pytest.approx(76 / 80)
    assert proof.is_enough
    assert not Proof("m", "d", "pgd", 0, "linf", 0.1, n=100, found=95, random=20).is_enough
    assert Proof("m", "d", "pgd", 0, "linf", 0.1, n=100, found=10, random=20).score == 0
    assert Proof("m", "d", "pgd", 0, "linf", 0.1, n=100, found=100, random=100).is_enough is None
    low, high = proof.interval
    assert low < 0.96 < high


@pytest.mark.parametrize(
    ("n", "found", "verdict"),
    [
        (5, 5, "too few images to tell"),
        (58, 58, "too few images to tell"),
        (59, 59, "strong enough"),
        (59, 57, "strong enough"),
        (5, 4, "TOO WEAK"),
    ],
)
def test_few_images_do_not_make_an_attack_strong_enough(n, found, verdict):
    """From 59 on an attack that finds 95 % of examples misses one of them with 95 %: 1 - 0.95^59."""
    proof = Proof("m", "d", "pgd", 0, "linf", 0.1, n=n, found=found, left_out=n)
    findings = Findings("n", "t", "", "", {}, (), [], proofs=[proof])
    assert proofs.lines(findings)[1][-1] == verdict
    said = " ".join(proofs.said(findings))
    assert ("take --images" in said) == (verdict == "too few images to tell")
    if n == 5 and found == 5:
        assert "(5 of 5: 47.8 to 100.0 %). 95 % can be told from 59 planted examples on: take --images 130." in said


def test_a_proof_is_read_as_it_was_written(tmp_path):
    proof = Proof("m", "d", "pgd", 0, "linf", 0.1, n=100, found=96, random=20)
    (tmp_path / "p.json").write_text(proof.to_json())
    assert Proof.read(tmp_path / "p.json") == proof
    for text in ("{}", "[]", proof.to_json().replace("96", "196")):
        (tmp_path / "p.json").write_text(text)
        with pytest.raises(ValueError, match=r"no proof|counts"):
            Proof.read(tmp_path / "p.json")


def test_it_stands_beside_the_row_that_it_is_about():
    rows = [result("pgd", "10"), result("pgd", "10", "static"), result("cw", "10", eps=None, norm="l2")]
    found = [Proof("m", "d", "pgd", 0, "linf", 0.1, n=10, found=5), Proof("m", "d", "cw", 0, "l2", 0.5, minimal=True, n=10, found=10)]
    beside(rows, found)
    assert [each.row.metrics.get("planted_score") for each in rows] == [0.5, None, 1.0]


def test_planes_are_the_same_whether_points_or_features_are_more():
    """The two forms of the inverse, and the normal equations themselves."""
    rng = np.random.default_rng(0)
    for points, features in ((12, 5), (5, 12)):
        centred, away = rng.normal(size=(points, features)), rng.normal(size=(2, features))
        normals = _whitened(centred, away, 0.3)
        np.testing.assert_allclose(normals @ (centred.T @ centred + 0.3 * np.eye(features)), away, atol=1e-9)
