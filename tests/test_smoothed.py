"""The smoothed classifier as a system: how it votes, what attackers climb, what is certified of it, and when an attack contradicts that."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats

from advrun import Classifier, Linf, attacks, engine, registry
from advrun.cli import main
from advrun.contract import victims
from advrun.contract.defenses import undefended
from advrun.contract.promise import Broken
from advrun.contract.systems import what_is_classified_are_images
from advrun.contradictions import contradictions
from advrun.engine import Rng, keras, ops
from advrun.evaluate import no_majority
from advrun.losses import cross_entropy, margin
from advrun.results import Result
from advrun.system import Chain, Purifier
from advrun.system.check import check_against_keras
from advrun.system.draws import Draws
from advrun.system.modelfile import save_model
from advrun.system.votes import surrogate, voted
from tests._rows import result
from tests.report.test_bounds import certificate

SIGMA = 0.3


def smoothed(model, draws: int = 10, sigma: float = SIGMA) -> Classifier:
    return Classifier(registry.get("defenses", "randomized_smoothing").function(Chain(model), sigma=sigma), draws=draws)


@pytest.fixture(scope="module")
def system(network) -> Classifier:
    return smoothed(network.model, draws=20)


def shares(classifier: Classifier, x: np.ndarray) -> np.ndarray:
    """(n, classes), of the draws that give each class."""
    return np.stack([(classifier.answers(x) == label).mean(1) for label in range(classifier.classes)], 1)


# Answers -------------------------------------------------------------------------------------------------------------


def test_the_answer_is_the_class_that_most_draws_give(system, images):
    """The softmax of the scores are the shares, up to half of a draw, by which the mean softmax breaks ties."""
    said = np.exp(system.predict(images))
    np.testing.assert_allclose(said.sum(1), 1, atol=1e-5)
    assert np.abs(said - shares(system, images)).max() <= 0.5 / 20
    assert np.ptp(shares(system, images), axis=1).min() < 0.9  # not all are of one mind
    most = shares(system, images).max(1)
    assert (np.take_along_axis(shares(system, images), said.argmax(1)[:, None], 1)[:, 0] == most).all()


def test_many_sure_draws_of_one_class_do_not_outvote_more_of_another():
    """Of two classes: one draw in three is very sure of class 1. The mean logit says 1, and the votes 0."""
    outputs = iter(np.float32([[[1.0, 0.0]], [[1.0, 0.0]], [[0.0, 50.0]]]))

    class Given(Draws):
        """Three draws that are given."""

        def joined(self, ask, join, rows=None):
            total = ask()
            for _ in range(2):
                total = tuple(join(a, b) for a, b in zip(total, ask(), strict=True))
            return total

    draws = Given(3, np.array([1, 2], np.int32))
    assert np.asarray(voted(draws, lambda: ops.convert_to_tensor(next(outputs)))).argmax() == 0
    logits = np.float32([[1.0, 0.0], [1.0, 0.0], [0.0, 50.0]])
    outputs = iter(logits[:, None])
    mean = np.asarray(surrogate(draws, lambda: ops.convert_to_tensor(next(outputs))))
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(np.exp(mean[0]), probabilities.mean(0), atol=1e-6)
    assert logits.mean(0).argmax() == 1


def test_it_is_checked_against_keras_without_a_vote(system, images):
    """At one draw, always the same, it gives the network's own logits."""
    check_against_keras(system, system.chain, images)
    plain = system.chain.network.predict_on_batch(np.asarray(system.chain.purify(images)))
    np.testing.assert_allclose(system.plainly().predict(images), plain, atol=1e-5)


def test_noise_is_not_clipped_for_the_network_and_is_for_the_eye(system):
    white = np.ones((1, *victims.IMAGE_SHAPE), np.float32)
    shown = np.asarray(system.chain.purify(white))
    assert shown.std() == pytest.approx(SIGMA, rel=0.3)
    assert shown.max() > 1.2
    assert system.purify(white).max() <= 1


# What attackers climb ------------------------------------------------------------------------------------------------


def explicit(view: Classifier, count: int):
    """The mean softmax over the draws that the view is about to take, as a function of images."""
    rng = view.draws._rng()

    def mean(x):
        total = 0.0
        for i in range(count):
            with engine.drawing(rng.fold(i)):
                total = total + ops.softmax(view._outputs(x))
        return total / count

    return mean


@pytest.mark.parametrize("targeted", [False, True])
def test_the_loss_is_that_of_the_mean_softmax_and_so_is_its_gradient(system, images, targeted):
    """SmoothAdv, equation 6: -log of the mean probability; not the mean of -log, which is larger (Jensen)."""
    x, y = ops.convert_to_tensor(images), victims.labels()
    for loss in (cross_entropy, margin):
        view = (system.toward() if targeted else system).drawing(5, Rng.from_seed(3))
        value, logits, gradient = view.value_and_gradient(loss, x, y)
        mean = explicit(view, 5)
        expected, _, slope = engine.value_and_gradient(
            lambda x, mean=mean, view=view, loss=loss: (view.value(loss, ops.log(mean(x)), y), ()), x
        )
        np.testing.assert_allclose(value, expected, atol=1e-5)
        np.testing.assert_allclose(gradient, slope, atol=2e-6)
        np.testing.assert_allclose(np.exp(logits), mean(x), atol=1e-6)


def test_the_jacobian_is_that_of_the_mean_softmax(system, images):
    x = ops.convert_to_tensor(images)
    classes = np.stack([victims.labels(), (victims.labels() + 1) % 5]).astype(np.int32)
    view = system.drawing(4, Rng.from_seed(1))
    logits, slopes = view.jacobian(x, classes)
    mean = explicit(view, 4)
    expected = engine.jacobian(lambda x: ops.log(mean(x)), x, classes)
    np.testing.assert_allclose(logits, expected[0], atol=1e-5)
    np.testing.assert_allclose(slopes, expected[1], atol=2e-6)


def test_a_network_that_is_very_sure_has_gradients_still(network, images):
    """Probabilities that float32 does not know are no division by zero."""
    sure = keras.models.clone_model(network.model)
    sure.set_weights([*network.model.get_weights()[:-2], *(1e4 * weight for weight in network.model.get_weights()[-2:])])
    view = smoothed(sure).drawing(3, Rng.from_seed(0))
    gradient = np.asarray(view.gradient(cross_entropy, ops.convert_to_tensor(images), victims.labels()))
    assert np.isfinite(gradient).all()
    assert np.asarray(view.jacobian(ops.convert_to_tensor(images), victims.labels()[None].astype(np.int32))[1]).any()


def test_each_draw_counts_once(system, images):
    """The draws are gone through twice, forward the second time as well: what is counted are gradients."""
    x, y = ops.convert_to_tensor(images), victims.labels()
    system.counter.start(len(images))
    system.drawing(5, Rng.from_seed(0)).gradient(cross_entropy, x, y)
    assert (system.counter.read()["gradients"][: len(images)] == 5).all()


def test_compiled_is_eager_and_an_attack_works(system, images):
    x, y = ops.convert_to_tensor(images), victims.labels()
    eager = system.drawing(3, Rng.from_seed(2)).gradient(cross_entropy, x, y)
    compiled = engine.compiled(lambda x: system.drawing(3, Rng.from_seed(2)).gradient(cross_entropy, x, y))(x)
    np.testing.assert_allclose(compiled, eager, atol=1e-6)
    few = smoothed(system.chain.network, draws=4)
    answers = few.predict(images).argmax(-1).astype(np.int32)
    assert few.accuracy(attacks.pgd(few, images, answers, Linf(0.3), steps=3), answers) < 0.5


# What is measured, and what contradicts ---------------------------------------------------------------------------------


def test_the_chance_of_so_few_votes_is_the_binomial_test():
    answers = np.array([[0] * 10, [0] * 5 + [1] * 5, [1] * 10])
    found = no_majority(answers, np.zeros(3, int))
    np.testing.assert_allclose(found, [1, stats.binomtest(5, 10, alternative="less").pvalue, 0.5**10], rtol=1e-5)


def test_an_example_that_may_be_chance_contradicts_nothing(tmp_path):
    """Both are given another class within the radius that is certified; only of the second it is sure."""
    row = replace(result("pgd", "000", eps=0.1, distances=[0.1] * 3), chance=np.float32([0.2, 1e-6, 0.4]))
    (found,) = contradictions([certificate([0.5, 0.5, 0.0])], [row])
    assert found.images.tolist() == [1]
    again = Result.from_json(row.to_json())
    np.testing.assert_array_equal(again.chance, row.chance)
    assert "chance" not in replace(row, chance=None).to_json()
    (tmp_path / "row.json").write_text(row.to_json().replace('"chance":[', '"chance":[0.1,'))
    with pytest.raises(ValueError, match="do not belong"):
        Result.read(tmp_path / "row.json")


CONFIG = """
name: smoothed
data: {{name: arrays, path: {folder}/toy.npz, validation: 0.2}}
models: [{{name: file, path: {folder}/net.keras}}]
attacks: [{{name: pgd, norm: l2, eps: [0.2, 0.4, 4.0], steps: 5, draws: 4, examples: 48}}]
defenses: [{{name: randomized_smoothing, sigma: 0.25}}]
bounds: [{{name: smoothing, sigma: 0.25, n: 300, examples: 48}}, {{name: ibp}}]
results: {folder}
draws: 50
"""


@pytest.mark.slow
def test_a_run_has_the_sandwich_of_the_smoothed_classifier(tmp_path, toy_data):
    """The certified share is at most what attacks leave, image by image; and what is fooled far away is fooled for sure."""
    arrays = {name: getattr(toy_data, name) for name in ("x_train", "y_train", "x_test", "y_test")}
    np.savez(tmp_path / "toy.npz", group_train=toy_data.group, class_names=np.array(toy_data.class_names), **arrays)
    save_model(undefended(), tmp_path / "net.keras")
    (tmp_path / "smoothed.yaml").write_text(CONFIG.format(folder=tmp_path))
    run = CliRunner().invoke(main, ["run", str(tmp_path / "smoothed.yaml")])
    assert run.exit_code == 0, run.output
    with (tmp_path / "smoothed/tables/bounds.csv").open() as file:
        lines = [line for line in csv.DictReader(file) if line["bound"] == "smoothing"]
    own = [line for line in lines if line["defense"] == "randomized_smoothing"]
    assert {line["kind"] for line in own} == {"certified"}
    assert {line["kind"] for line in lines if line["defense"] == "none"} == {"certified, the smoothed classifier"}
    assert all(float(line["beyond_share"]) <= float(line["left_share"]) for line in own)
    assert float(own[0]["beyond_share"]) > 0.5
    assert float(own[-1]["left_share"]) < 0.5
    assert {line["nearer"] for line in own} == {"0"}
    rows = [json.loads(path.read_text()) for path in (tmp_path / "smoothed/rows").glob("*.json")]
    voted = [row for row in rows if row["row"]["defense"] == "randomized_smoothing"]
    assert all(("chance" in row) == (row in voted) for row in rows)
    far = next(row for row in voted if row["row"]["eps"] == 4.0 and row["row"]["threat"] == "adaptive")
    assert np.median(far["chance"]) < 1e-6


def test_the_contract_lets_noise_be_noise_and_nothing_else(network):
    """Its promise that purifiers make images is about what a person is shown; others still have to clip."""
    data = victims.toy_data()
    net = registry.get("models", "mlp").function((8, 8, 3), 4, width=4, depth=1)
    what_is_classified_are_images(SimpleNamespace(system=smoothed(net).chain, data=data))
    with pytest.raises(Broken, match=r"clip them to \[0, 1\]"):
        what_is_classified_are_images(SimpleNamespace(system=Chain(net).behind(Purifier(lambda x, rng: 1.5 * x)), data=data))
