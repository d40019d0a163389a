"""The unit test of an evaluation: examples are surely there, attacks that can see find them, those that cannot do not."""

from __future__ import annotations

from dataclasses import replace

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
from advrun.system import Chain, Detector, Purifier
from advrun.system.binarised import Binarised
from advrun.system.detectors import Thresholded, excess_of
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


# Beside a detector ---------------------------------------------------------------------------------------------------


def roughness(x, logits):
    """The mean difference of neighbours, (n,)."""
    across, down = x[:, 1:] - x[:, :-1], x[:, :, 1:] - x[:, :, :-1]
    return ops.mean(ops.abs(across), axis=(1, 2, 3)) + ops.mean(ops.abs(down), axis=(1, 2, 3))


def beside_it(network, score, threshold: float) -> Classifier:
    return Classifier(Chain(network.model, detectors=(Thresholded(Detector(score), threshold, 0.03, 0),)))


def smooth(n: int) -> np.ndarray:
    """Images whose roughness is 0.04."""
    level = np.random.default_rng(5).uniform(0.3, 0.7, (n, 1, 1, 1))
    return (level + np.linspace(-0.1, 0.1, IMAGE_SHAPE[0])[:, None, None] + np.zeros(IMAGE_SHAPE)).astype(np.float32)


@pytest.fixture(scope="module")
def guarded(network):
    """Where what is rough is rejected, as pixels that change one by one are."""
    x = smooth(12)
    return plant(beside_it(network, roughness, 0.1), x, network.predict(x).argmax(-1), BALL, batch_size=252)


def test_what_is_planted_beside_a_detector_is_accepted(guarded, network):
    assert len(guarded.x) + guarded.left_out == 12
    assert len(guarded.x) >= 6
    assert guarded.classifier.predict(guarded.x).argmax(-1).tolist() == [0] * len(guarded.x)
    assert guarded.classifier.predict(guarded.example).argmax(-1).tolist() == [1] * len(guarded.x)
    assert np.asarray(roughness(guarded.example, None)).max() <= 0.1
    assert (np.abs(guarded.example - guarded.x).max((1, 2, 3)) <= BALL.reach).all()
    assert guarded.random.mean() < 0.6


def test_a_point_of_the_other_class_that_is_rejected_is_no_example(guarded):
    """Noise is rejected, whatever class the altered network gives it; without the detector it has one of the two."""
    rng = np.random.default_rng(1)
    noisy = np.concatenate([np.clip(guarded.x + rng.choice([-0.1, 0.1], guarded.x.shape), 0, 1) for _ in range(8)]).astype(np.float32)
    assert (guarded.classifier.predict(noisy).argmax(-1) == 2).all()
    assert set(guarded.classifier.unguarded().predict(noisy).argmax(-1)) <= {0, 1}


def test_where_no_candidate_is_accepted_nothing_is_planted(network):
    """Accepted are images of eighths alone, which the clean ones are."""
    x = np.round(images(4) * 8) / np.float32(8)
    system = beside_it(network, lambda x, logits: ops.mean(ops.abs(x * 8 - ops.round(x * 8)), axis=(1, 2, 3)), 1e-3)
    assert not system.rejects(x).any()
    assert plant(system, x, network.predict(x).argmax(-1), BALL) is None


def test_the_detector_judges_what_the_network_says_and_not_its_new_layer(network):
    """Its score is a logit of the network's own; the altered one has two others."""
    system, cut, x = beside_it(network, lambda x, logits: logits[:, 3], 0.5), readout(network.model), images(5)
    altered = Binarised(system, cut, x, np.random.default_rng(2).normal(size=(5, len(cut.kernel))), np.zeros(5))
    np.testing.assert_allclose(excess_of(altered.predict(x)), (network.predict(x)[:, 3] - 0.5) / 0.03, rtol=1e-3, atol=1e-3)
    assert altered.predict(x).shape == (5, 3)
    view = altered.around(x[::-1], BALL, np.zeros(5, np.int32))
    rejected = altered.predict(x)[::-1].argmax(-1) == 2
    lead = np.asarray(view.lead(view.forward(x[::-1]), np.zeros(5, np.int32)))
    assert (lead[rejected] <= 0).all()  # *rejected* is folded in


@pytest.mark.slow
def test_who_does_not_know_the_detector_finds_less_than_who_does(guarded):
    """What pgd makes on the network alone is rough; the same attack on the whole system gets past the detector, with enough steps."""
    for steps, least in ((40, 0.95), (1, 0.0)):
        pgd = attack("pgd", steps=steps, restarts=2)
        knowing, ignoring = (found(guarded, pgd, unguarded=each).sum() for each in (False, True))
        proof = Proof("m", "d", "pgd", 0, "linf", 0.1, n=len(guarded.x), found=int(knowing), unguarded=int(ignoring))
        assert proof.share >= least
        assert replace(proof, found=proof.unguarded).is_enough is False
        assert not proof.needs_no_guard


def test_the_table_says_what_the_detector_was_worth():
    proof = Proof("m", "squeezed", "pgd", 0, "linf", 0.1, n=100, found=97, unguarded=96)
    other = Proof("m", "none", "pgd", 0, "linf", 0.1, n=100, found=97)
    findings = Findings("n", "t", "", "", {}, (), [], proofs=[other, proof, replace(proof, attack="lazy", found=40, unguarded=3)])
    header, plain, first, _ = proofs.lines(findings)
    place = header.index("not knowing the detector, %")
    assert [plain[place], first[place]] == ["", "96.0"]
    sentence = "Who does not know the detector finds enough too of m / squeezed: there the test is one of the network alone."
    assert sentence in proofs.said(findings)
    needed = replace(findings, proofs=[other, replace(proof, unguarded=50)])
    assert sentence not in proofs.said(needed)
    assert len(proofs.lines(replace(findings, proofs=[other]))[0]) == len(header) - 1
