"""Detectors beside a network: thresholds, what attacks see of them, what counts as right, and what is kept on disk."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner

from advrun import Classifier, Linf, attacks, defend, engine
from advrun.checkpoints import Checkpoints
from advrun.cli import main
from advrun.config import loads
from advrun.contract.systems import fit_on
from advrun.craft import choose_targets
from advrun.defenses._features import penultimate
from advrun.defenses.mahalanobis import tied
from advrun.engine import keras, ops
from advrun.errors import ConfigError, ModelError
from advrun.geometry import L2
from advrun.metrics import Outcome, columns
from advrun.roc import Scored
from advrun.samples import Samples
from advrun.system import Chain, Detector, Purifier
from advrun.system.detectors import Thresholded, calibrated, floored, folded
from advrun.system.modelfile import save_model

EPS = 0.08
"""Of images of 16 pixels, 12 of which class 1 wants bright, and 4 dark."""
SIGNS = np.r_[np.ones(12), -np.ones(4)].astype(np.float32)
BRIGHT = Detector(lambda x, logits: ops.abs(ops.mean(x, axis=(1, 2, 3)) - 0.5))
"""Its score is how far the mean of an image is from 1/2, of clean images 0."""


def toy(threshold: float = EPS / 8) -> Classifier:
    """Logits -s, s and -20 with s = <signs, x - 1/2>, and the detector beside it."""
    weights = np.stack([-SIGNS, SIGNS, 0 * SIGNS], axis=-1)
    bias = np.array([SIGNS.sum() / 2, -SIGNS.sum() / 2, -20.0], np.float32)
    inputs = keras.Input((4, 4, 1))
    dense = keras.layers.Dense(3)
    network = keras.Model(inputs, dense(keras.layers.Flatten()(inputs)))
    dense.set_weights([weights, bias])
    return Classifier(Chain(network, detectors=(Thresholded(BRIGHT, threshold, EPS / 8, 0),)))


@pytest.fixture(scope="module")
def guarded() -> Classifier:
    return toy()


@pytest.fixture(scope="module")
def grey() -> tuple[np.ndarray, np.ndarray]:
    """Images of class 0 whose mean is 1/2 exactly, where s = -6 eps; an attack may add up to 16 eps to s, unseen up to 10 eps."""
    x = np.full((8, 16), 0.5, np.float32)
    x[:, :12] -= np.float32(EPS * 6 / 24)
    x[:, 12:] += np.float32(EPS * 18 / 24)
    return x.reshape(8, 4, 4, 1), np.zeros(8, np.int32)


def test_who_does_not_know_the_detector_is_rejected_and_who_knows_gets_past(guarded, grey):
    """The steepest change makes the mean eps / 2 larger, four times the threshold; there are others, unseen, that suffice."""
    x, y = grey
    plain = Classifier(Chain(guarded.model))
    static = attacks.pgd(plain, x, y, Linf(EPS), steps=20)
    assert plain.accuracy(static, y) == 0
    assert guarded.rejects(static).all()
    assert not guarded.rejects(x).any()
    adaptive = attacks.pgd(guarded, x, y, Linf(EPS), steps=40)
    assert (guarded.predict(adaptive).argmax(-1) == 1).all()
    assert np.abs(adaptive.mean((1, 2, 3)) - 0.5).max() <= EPS / 8 + 1e-6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("apgd", {"loss": "ce"}),
        ("apgd", {"loss": "dlr"}),
        ("apgd", {"loss": "targeted_dlr", "targets": 1, "targets_by": "malt"}),
        ("square", {"queries": 2000}),
        ("mifgsm", {"steps": 40}),
    ],
)
def test_so_do_other_attacks_inside_a_ball(guarded, grey, name, settings):
    """By cross-entropy, by the difference of logits, and by scores alone."""
    x, y = grey
    adaptive = getattr(attacks, name)(guarded, x, y, Linf(EPS), **settings)
    assert (guarded.predict(adaptive).argmax(-1) == 1).all()


SLOWLY = [("cw", {"steps": 200}), ("ddn", {}), ("fmn", {}), ("boundary", {"queries": 400}), ("hopskipjump", {"queries": 400})]


@pytest.mark.parametrize(
    ("name", "given"), [("deepfool", {}), ("fab", {"steps": 30}), *(pytest.param(*each, marks=pytest.mark.slow) for each in SLOWLY)]
)
def test_the_nearest_example_is_one_that_is_not_rejected(guarded, grey, name, given):
    """Also where an attack asks for gradients of single logits, or sees answers alone."""
    x, y = grey
    adaptive = getattr(attacks, name)(guarded, x, y, L2(), **given)
    answers = guarded.predict(adaptive).argmax(-1)
    moved = np.abs(adaptive - x).max((1, 2, 3)) > 0
    assert moved.any()
    assert (answers[moved] == 1).all()


def test_a_targeted_attack_must_get_past_it_too(guarded, grey):
    x, y = grey
    adaptive = attacks.pgd(guarded, x, y, Linf(EPS), steps=40, target=1)
    assert (guarded.predict(adaptive).argmax(-1) == 1).all()


def test_rejected_is_the_class_to_get_away_from():
    """Over the classes 0, 1, 2 and rejected: the lead is that of the best wrong class over the true one and rejected."""
    outputs = np.array([[3.0, 1.0, 0.0, 2.0], [1.0, 3.0, 0.0, 4.0], [1.0, 3.0, 0.0, 2.0]], np.float32)
    y = np.zeros(3, np.int32)
    away = np.asarray(folded(outputs, y, targeted=False))
    np.testing.assert_array_equal(away, [[3, 1, 0], [4, 3, 0], [2, 3, 0]])
    toward = np.asarray(folded(outputs, y + 1, targeted=True))  # rejected is as good as the strongest class but the target
    np.testing.assert_array_equal(toward, [[3, 1, 0], [4, 3, 0], [2, 3, 0]])
    np.testing.assert_array_equal(np.asarray(floored(outputs)), [[3, 2, 2], [4, 4, 4], [2, 3, 2]])


def test_without_corners_a_success_is_one_and_both_boundaries_are_felt():
    """What the true class and rejected are folded into is never below the larger, and above it by no more than the distance allows."""
    rng = np.random.default_rng(0)
    outputs, y = rng.normal(size=(200, 4)).astype(np.float32), rng.integers(0, 3, 200).astype(np.int32)
    for targeted in (False, True):
        hard, soft = (np.asarray(folded(outputs, y, targeted, smoothly)) for smoothly in (False, True))
        assert (soft >= hard - 1e-6).all()
        assert ((soft > hard + 1e-3).sum(-1) <= 1).all()
        assert (soft > hard + 1e-3).any(-1).mean() > 0.9
    corner = np.array([[1.0, 1.0, -9.0, 1.0]], np.float32)
    np.testing.assert_allclose(folded(corner, np.zeros(1, np.int32), False, True), [[1, 1, -9]], atol=1e-5)


def test_fab_comes_near_to_the_corner_where_two_boundaries_meet(guarded, grey):
    """The nearest image of class 1 that is not rejected is sqrt(7 / 3) eps away: both <signs, d> = 6 eps and <1, d> = 2 eps."""
    x, y = grey
    found = attacks.fab(guarded, x, y, L2(), steps=30)
    assert (guarded.predict(found).argmax(-1) == 1).all()
    distance = np.sqrt(np.square(found - x).sum((1, 2, 3)))
    assert ((distance > EPS * (7 / 3) ** 0.5 - 1e-5) & (distance < 1.15 * EPS * (7 / 3) ** 0.5)).all()


def test_every_view_takes_a_rejected_image_for_none_that_succeeds(guarded, grey):
    """With and without knowing which images are attacked: `succeeds`, `lead`, and the label of an image under attack."""
    x, y = grey
    bright = x + np.float32(0.3)  # class 1, and rejected
    assert (guarded.predict(bright)[:, :3].argmax(-1) == 1).all()
    assert guarded.rejects(bright).all()
    views = (guarded, guarded.around(x, None, y), guarded.around(x, None, y).part(np.array([3, 1], np.int32)))
    for view, some in zip(views, (bright, bright, bright[[3, 1]]), strict=True):
        assert not np.asarray(view.succeeds(some, y[: len(some)])).any()
        assert not np.asarray(view.toward().succeeds(some, y[: len(some)] + 1)).any()
    assert not np.asarray(guarded.toward().around(x, None, y + 1).succeeds(bright, y + 1)).any()
    assert (np.asarray(guarded.around(x, None, y).labels(bright)) == 0).all()
    assert (np.asarray(guarded.toward().around(x, None, y + 1).labels(bright)) != 1).all()
    assert (np.asarray(guarded.labels(bright)) == 1).all()  # to an attack that learns: what the network says


@pytest.mark.parametrize("share", [0.01, 0.05, 0.2])
def test_the_threshold_rejects_the_stated_share_of_validation_images(toy_data, tmp_path, share):
    """Of the images that are held out, as nearly as their number allows; the others have no part in it."""
    fit = fit_on(toy_data, Checkpoints(tmp_path), 1)
    detector = Detector(lambda x, logits: ops.mean(x, axis=(1, 2, 3)))
    engine.start(0)
    system = Chain(keras.Sequential([keras.Input(toy_data.image_shape), keras.layers.Flatten(), keras.layers.Dense(4)]))
    guarded = Classifier(system.beside(detector, fit, share))
    held_out = toy_data.validation_split(0.2, 0)[1]
    assert guarded.rejects(toy_data.x_train[held_out]).sum() == int(share * len(held_out))


def test_a_threshold_of_scores():
    scores = np.arange(100, dtype=np.float32)
    assert calibrated(scores, 0.05) == (94.0, 94.0 - 49.5)
    threshold, scale = calibrated(np.zeros(10), 0.1)
    assert threshold == 0
    assert scale > 0
    with pytest.raises(ConfigError, match=r"make data\.validation larger than 0"):
        calibrated(np.empty(0), 0.05)
    with pytest.raises(ModelError, match="score of 1 of 2 clean images is no number"):
        calibrated(np.array([np.nan, 1.0]), 0.05)


@pytest.mark.parametrize("name", ["feature_squeezing", "mahalanobis", "binary_detector", "magnet_detector"])
@pytest.mark.parametrize("share", [0, 0.51, 1])
def test_who_rejects_most_clean_images_is_refused(name, share):
    said = rf"defenses\[0\]\.false_positives: got {share}; expected a number"
    with pytest.raises(ConfigError, match=said):
        loads(f"defenses: [{{name: {name}, false_positives: {share}}}]\n")
    loads(f"defenses: [{{name: {name}, false_positives: 0.5}}]\n")


def test_what_counts_as_right(guarded, grey):
    """Clean: right and not rejected. Attacked: that, and right or rejected under the attack."""
    x, y = grey
    n = guarded.classes
    outputs = {0: [2.0, 1, 0, 1], 1: [1.0, 2, 0, 1], n: [1.0, 1.5, 0, 2]}
    pairs = [(0, 0), (0, 1), (0, n), (1, 1), (1, n), (n, n), (n, 1), (n, 0)]
    before, after = (np.array([outputs[pair[i]] for pair in pairs], np.float32) for i in (0, 1))
    attacked = Outcome(guarded, x, x, y, before, after)
    assert (attacked.answers == y).tolist() == [True, False, True, False, False, False, False, False]
    assert attacked.answers.tolist() == [0, 1, 0, 1, n, n, 1, n]
    assert attacked.fooled.tolist() == [False, True, False, False, False, False, False, False]
    clean = Outcome(guarded, x, None, y, before, before)
    assert clean.answers.tolist() == [0, 0, 0, 1, 1, n, n, n]
    said = columns("detection", attacked)
    assert (said["rejected_share"], said["false_positive_share"]) == (3 / 8, 3 / 8)
    assert columns("detection", Outcome(Classifier(Chain(guarded.model)), x, x, y, before[:, :3], after[:, :3])) == {}


def test_targets_are_classes(guarded, grey):
    """Never *rejected*, though it may be the least likely output."""
    x, y = grey
    logits = guarded.predict(x)
    assert set(choose_targets("random", logits[:, :3], x, y, 0).tolist()) <= {1, 2}
    assert not (attacks.pgd(guarded, x, y, Linf(EPS), steps=1, target="least_likely") == 0).all()


def test_area_under_the_curve_is_that_of_the_curve():
    """The rank statistic equals the trapezoids under the curve, with ties; half for scores that know nothing."""
    rng = np.random.default_rng(0)
    scored = Scored(rng.integers(0, 9, 200).astype(np.float32), rng.integers(3, 12, 90).astype(np.float32))
    false, true = scored.curve()
    assert scored.auroc == pytest.approx(np.trapezoid(true, false))
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert Scored(np.zeros(5, np.float32), np.zeros(3, np.float32)).auroc == 0.5
    assert Scored(np.zeros(5, np.float32), np.empty(0, np.float32)).auroc is None


def test_a_detector_judges_in_front_of_the_purifiers_that_were_there(guarded):
    """Those that are put in front later change what it sees."""
    darken = Purifier(lambda x, rng: x / 2)
    x = np.full((2, 4, 4, 1), 0.5, np.float32)
    assert not guarded.rejects(x).any()
    assert Classifier(guarded.chain.behind(darken)).rejects(x).all()
    behind = Chain(guarded.model, (darken,), (Thresholded(BRIGHT, 0.01, 1.0, 1),))
    assert not Classifier(behind).rejects(x).any()
    assert Classifier(behind).purify(x).max() == 0.25


def test_scores_of_the_wrong_shape_are_refused(guarded):
    chain = Chain(guarded.model, detectors=(Thresholded(Detector(lambda x, logits: logits), 0.0, 1.0, 0),))
    with pytest.raises(ModelError, match=r"gives scores of shape \(8, 3\); expected one for each image"):
        Classifier(chain).predict(np.zeros((8, 4, 4, 1), np.float32))
    with pytest.raises(ModelError, match="backward is 'identity'; expected 'exact', or a function"):
        Detector(lambda x, logits: logits, backward="identity")


def test_gaussians_are_those_of_the_formula():
    """Whitened squares are the distances of Mahalanobis, by the inverse of the tied covariance."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 300)
    features = rng.normal(size=(300, 5)) @ rng.normal(size=(5, 5)) + 3 * y[:, None]
    found = tied(features, y)
    means = np.stack([features[y == label].mean(0) for label in range(3)])
    rest = features - means[y]
    expected = np.stack([np.einsum("ni,ij,nj->n", features - m, np.linalg.inv(rest.T @ rest / 300), features - m) for m in means])
    white = (features - found["centre"]) @ found["whitening"]
    np.testing.assert_allclose(np.square(white[None] - found["means"][:, None]).sum(-1), expected, rtol=1e-3)


def test_features_are_those_before_the_last_dense_layer():
    inner = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(7), keras.layers.Dense(3)])
    inputs = keras.Input((4, 4, 1))
    outer = keras.Model(inputs, inner(keras.layers.Rescaling(2.0)(inputs)))
    x = np.random.default_rng(0).uniform(size=(2, 4, 4, 1)).astype(np.float32)
    np.testing.assert_allclose(penultimate(outer)(x), penultimate(inner)(2 * x), rtol=1e-5)
    assert penultimate(outer)(x).shape == (2, 7)
    with pytest.raises(ModelError, match="does not end in a Dense layer"):
        penultimate(keras.Sequential([keras.Input((4, 4, 1)), keras.layers.GlobalMaxPooling2D()]))


def test_samples_are_looked_at_in_order():
    x = np.arange(700, dtype=np.uint8).repeat(4).reshape(700, 2, 2, 1)
    rows = np.random.default_rng(0).permutation(700)[:600]
    samples = Samples(x, np.arange(700), rows)
    np.testing.assert_allclose(samples.over(lambda images: ops.mean(images, axis=(1, 2, 3))), x[rows, 0, 0, 0] / 255, rtol=1e-6)
    assert samples.y.tolist() == rows.tolist()


# A run -----------------------------------------------------------------------------------------------------------------

CONFIG = """
name: watched
data: {{name: arrays, path: {data}, validation: 0.2}}
models: [{{name: cnn, width: 4, blocks: 2}}]
train: {{epochs: 4, batch_size: 32, learning_rate: 1e-2}}
attacks: [{{name: pgd, eps: 24/255, steps: 10}}]
defenses:
  - {{name: mahalanobis, false_positives: 0.1}}
  - [{{name: magnet, width: 4}}, {{name: feature_squeezing, false_positives: 0.1}}]
results: {results}
compute: {{batch_size: 40}}
"""


@pytest.mark.slow
def test_a_run_reports_what_detectors_see(tmp_path, toy_data):
    """Table, figure, page and sentence; the numbers of the rows are those of the table; again, nothing is to be done."""
    arrays = {name: getattr(toy_data, name) for name in ("x_train", "y_train", "x_test", "y_test")}
    np.savez(tmp_path / "toy.npz", group_train=toy_data.group, class_names=np.array(toy_data.class_names), **arrays)
    (tmp_path / "watched.yaml").write_text(CONFIG.format(data=tmp_path / "toy.npz", results=tmp_path))
    run = CliRunner().invoke(main, ["run", str(tmp_path / "watched.yaml")])
    assert run.exit_code == 0, run.output
    folder = tmp_path / "watched"
    rows = json.loads((folder / "tables/accuracy.json").read_text())
    with (folder / "tables/detection.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [(line["defense"], line["threat"]) for line in lines] == [
        *(("mahalanobis", threat) for threat in ("static", "adaptive")),
        *(("magnet+feature_squeezing", threat) for threat in ("static", "adaptive")),
    ]
    for line in lines:
        place = line["defense"], line["attack"], line["threat"]
        (row,) = [row for row in rows if (row["defense"], row["attack"], row["threat"]) == place]
        if row["network_fooled"]:
            assert float(line["detected_share"]) == row["detected_share"]
            assert float(line["detected_low"]) <= row["detected_share"] <= float(line["detected_high"])
        else:  # the reformer undid them all
            assert (line["detected_share"], line["auroc"]) == ("", "")
        assert 0 <= row["accuracy"] <= 1 - row["false_positive_share"]
    assert float(lines[0]["auroc"]) > 0.9
    assert "cnn / mahalanobis finds" in (folder / "tables/detection.md").read_text()
    assert "What detectors find" in (folder / "report.html").read_text()
    assert (folder / "figures/detection-cnn-pgd-linf.png").stat().st_size > 10_000
    assert not any("auroc" in row and row["auroc"] is not None for row in rows if row["defense"] == "none")
    again = CliRunner().invoke(main, ["run", str(tmp_path / "watched.yaml")])
    assert "every cell is finished" in again.output


# On disk -------------------------------------------------------------------------------------------------------------


def test_what_was_learnt_is_read_again(toy_data, tmp_path):
    """Thresholds and Gaussians are in the file; without them, or with others, it is refused."""
    engine.start(0)
    layers = [keras.Input(toy_data.image_shape), keras.layers.Flatten(), keras.layers.Dense(6, "relu"), keras.layers.Dense(4)]
    network = keras.Sequential(layers)
    save_model(network, tmp_path / "network.keras")
    fit = fit_on(toy_data, Checkpoints(tmp_path / "checkpoints"), 1)
    system = defend.defended("mahalanobis", Chain(network), fit, {"false_positives": 0.1})
    assert fit.learnt.keys() == {"gaussians", "threshold 1"}
    path = tmp_path / "system.npz"
    path.write_bytes(defend.packed("mahalanobis", {"false_positives": 0.1}, "network.keras", [], fit.learnt))
    again = Classifier(defend.load(path))
    np.testing.assert_array_equal(again.predict(toy_data.x_test), Classifier(system).predict(toy_data.x_test))
    path.write_bytes(defend.packed("mahalanobis", {"false_positives": 0.1}, "network.keras", [], {"gaussians": fit.learnt["gaussians"]}))
    with pytest.raises(ModelError, match="learns statistics 'threshold 1', and the file holds none of this name"):
        defend.load(path)
    path.write_bytes(defend.packed("gaussian_blur", {"sigma": 1.0}, "network.keras", [], fit.learnt))
    with pytest.raises(ModelError, match="holds statistics gaussians, threshold 1 that its defence does not learn"):
        defend.load(path)


def test_a_detector_is_not_lost_on_the_way(guarded, toy_data, tmp_path):
    """A defence that makes a network would drop it."""
    fit = fit_on(toy_data, Checkpoints(tmp_path), 1)
    with pytest.raises(
        ModelError, match="'adversarial_training' makes a network, and the detector beside the one it is given would be lost"
    ):
        defend.defended("adversarial_training", guarded.chain, fit, {})
