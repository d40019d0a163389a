"""Defences that are applied one after the other, and at several strengths: as a file says it, as cells, and on disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from advrun import Classifier, defend
from advrun.cli import main
from advrun.config import loads
from advrun.engine import keras
from advrun.errors import ConfigError, ModelError
from advrun.npz import pack, unpack
from advrun.runs.needs import learns
from advrun.runs.plan import make_plan
from advrun.system import Chain, Purifier
from advrun.system.modelfile import save_model

BOTH = """
models: [{name: cnn, width: 4, blocks: 1}]
defenses:
  - {name: gaussian_blur, sigma: [0.5, 1, 8/255]}
  - [{name: adversarial_training, label: at}, {name: percentile, size: [3, 5]}]
  - {name: adversarial_training, label: at}
  - [{name: gaussian_blur}, {name: adversarial_training, label: at}]
"""


def labels(text: str) -> list[str]:
    return [entry.label for entry in loads(text).defended]


def test_a_chain_is_a_system_and_so_is_each_value_of_a_sweep():
    experiment = loads(BOTH)
    assert labels(BOTH) == [
        *("gaussian_blur sigma=0.5", "gaussian_blur sigma=1.0", "gaussian_blur sigma=8/255"),
        *("at+percentile size=3", "at+percentile size=5", "at", "gaussian_blur+at"),
    ]
    assert [[part.name for part in entry.chain] for entry in experiment.defended][3] == ["adversarial_training", "percentile"]
    assert [entry.settings["size"] for entry in experiment.defended[3:5]] == [3, 5]
    blur, size = experiment.sweeps
    assert (blur.defense, blur.setting, [value for value, _ in blur.points]) == ("gaussian_blur", "sigma", [0.5, 1.0, 8 / 255])
    assert (size.defense, size.setting, size.points) == (
        "at+percentile",
        "size",
        ((3, "at+percentile size=3"), (5, "at+percentile size=5")),
    )
    assert loads(experiment.to_yaml()) == experiment


def test_what_stands_alone_is_what_it_was():
    """A list of one value is that value, a chain of one entry that entry; what trains nothing has no training."""
    alone = loads("defenses: [{name: gaussian_blur, sigma: 2}]").defenses
    assert loads("defenses: [[{name: gaussian_blur, sigma: [2.0]}]]").defenses == alone
    assert (alone[0].settings, alone[0].train) == ({"sigma": 2.0}, None)


@pytest.mark.parametrize(
    ("defenses", "said"),
    [
        ("[{name: gaussian_blur, sigma: [1, -1]}]", "1:45: defenses[0].sigma[1]: got -1; expected a number > 0"),
        ("[{name: gaussian_blur, sigma: [1, 1.0]}]", "1:45: defenses[0].sigma[1]: 1 is listed twice"),
        ("[{name: gaussian_blur, sigma: []}]", "defenses[0].sigma: got an empty list; expected a number > 0, or a list of them"),
        ("[{name: gaussian_blur, sigma: wide}]", "defenses[0].sigma: got 'wide'; expected a number > 0"),
        (
            "[{name: percentile, size: [3, 5], percentile: [25, 50]}]",
            "1:57: defenses[0].percentile: size is a list already; sweep one setting at a time, each in an entry of its own",
        ),
        (
            "[[{name: gaussian_blur, sigma: [1, 2]}, {name: percentile, size: [3, 5]}]]",
            "1:76: defenses[0][1].size: sigma is a list already",
        ),
        ("[[]]", "defenses[0]: got an empty list; expected defences, the first applied first"),
        ("[[{name: gaussian_blur}, {name: blur}]]", "defenses[0][1].name: no defense named 'blur'"),
        ("[[{name: gaussian_blur, sigma: 0}, 7]]", "defenses[0][1]: got 7; expected a defence, such as {name: autoencoder}"),
        ("[{name: gaussian_blur, train: {epochs: 3}}]", "1:34: defenses[0].train: defense 'gaussian_blur' trains nothing"),
        (
            "[{name: percentile, size: [3, 5]}, {name: gaussian_blur, label: percentile}, {name: percentile, size: [5, 7]}]",
            "defenses[2].label: 'percentile size=5' is taken by defenses[0]; give this entry another label",
        ),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_told_in_one_line(defenses, said):
    with pytest.raises(ConfigError) as refused:
        loads(f"defenses: {defenses}", source="my.yaml")
    assert any(said in line for line in str(refused.value).splitlines()), refused.value


def test_only_numbers_are_swept():
    with pytest.raises(ConfigError, match="got a list; expected text"):
        loads("models: [{name: lnet, activation: [tanh, relu]}]")
    with pytest.raises(ConfigError, match=r"attack: got a list; expected an attack"):
        loads("defenses: [{name: adversarial_training, attack: [{name: fgsm, eps: 0.1}]}]")
    (ratio,) = loads("defenses: [{name: adversarial_training, ratio: [0.25, 0.5]}]").sweeps
    assert [label for _, label in ratio.points] == ["adversarial_training ratio=0.25", "adversarial_training ratio=0.5"]


def test_chains_share_their_beginning(toy_data):
    """What trains is trained once for all chains that begin with it, and for itself; a filter depends on no training image."""
    plan = make_plan(loads(BOTH), toy_data)
    trained = [cell for cell in plan.cells if cell.kind == "train"]
    assert len({cell.key for cell in plan.cells}) == len(plan.cells)
    assert [cell.defense_label for cell in trained] == [
        *("none", "gaussian_blur sigma=0.5", "gaussian_blur sigma=1.0", "gaussian_blur sigma=8/255", "at"),
        *("at+percentile size=3", "at+percentile size=5", "gaussian_blur", "gaussian_blur+at"),
    ]
    needs = {cell.defense_label: [needed.defense_label for needed in cell.needs] for cell in trained}
    assert needs["at+percentile size=3"] == needs["at+percentile size=5"] == ["at"]
    measured = {cell.defense_label for cell in plan.cells if cell.kind == "measure"}
    assert "gaussian_blur" not in measured  # it is only what another one stands on


def test_a_filter_needs_no_training(tmp_path, toy_data):
    (tmp_path / "given.keras").write_bytes(b"weights")
    given = f"models: [{{name: file, path: {tmp_path}/given.keras}}]\n"
    assert not learns(loads(given + "defenses: [{name: gaussian_blur}, [{name: percentile}, {name: gaussian_blur, label: twice}]]"))
    assert learns(loads(given + "defenses: [[{name: percentile}, {name: autoencoder}]]"))
    text = given + "defenses: [{name: gaussian_blur}]"
    first, other = (make_plan(loads(text + more), toy_data) for more in ("", "\ntrain: {epochs: 3}"))
    assert [cell.key for cell in first.cells] == [cell.key for cell in other.cells]


# Run and read again --------------------------------------------------------------------------------------------------

CONFIG = """
name: chains
data: {{name: arrays, path: {data}, validation: 0.2}}
models: [{{name: cnn, width: 4, blocks: 2}}]
train: {{epochs: 3, batch_size: 32, learning_rate: 1e-2}}
attacks: [{{name: fgsm, eps: 16/255}}]
defenses:
  - {{name: gaussian_blur, sigma: [0.5, 1.0]}}
  - [{{name: percentile, size: 2}}, {{name: adversarial_training, label: at, attack: {{name: fgsm, eps: 16/255}}}}]
results: {results}
compute: {{batch_size: 40}}
"""


def advrun(*arguments: object):
    return CliRunner().invoke(main, list(map(str, arguments)))


@pytest.fixture(scope="module")
def finished(tmp_path_factory, toy_data) -> Path:
    folder = tmp_path_factory.mktemp("chains")
    arrays = {name: getattr(toy_data, name) for name in ("x_train", "y_train", "x_test", "y_test")}
    np.savez(folder / "toy.npz", group_train=toy_data.group, class_names=np.array(toy_data.class_names), **arrays)
    (folder / "chains.yaml").write_text(CONFIG.format(data=folder / "toy.npz", results=folder))
    run = advrun("run", folder / "chains.yaml")
    assert run.exit_code == 0, run.output
    return folder


@pytest.mark.slow
def test_a_run_measures_and_reports_them(finished):
    rows = json.loads((finished / "chains/tables/accuracy.json").read_text())
    seen = {(row["defense"], row["threat"]) for row in rows}
    assert {(label, threat) for label in ("gaussian_blur sigma=1.0", "percentile+at") for threat in ("none", "static", "adaptive")} <= seen
    assert not any(defense == "percentile" for defense, _ in seen)
    assert (finished / "chains/figures/strength-cnn-gaussian_blur-sigma-linf.png").stat().st_size > 10_000
    best = (finished / "chains/tables/strengths.csv").read_text().splitlines()
    assert best[1].startswith('cnn,gaussian_blur,sigma,"fgsm, L∞",16/255,')
    assert "Strength of a defence" in (finished / "chains/report.html").read_text()
    again = advrun("run", finished / "chains.yaml")
    assert "every cell is finished" in again.output


@pytest.mark.slow
def test_a_chain_is_read_again_from_what_was_fitted(finished, toy_data):
    """Behind a filter, weights that a defence trained: the same answers as were measured, though the network is made anew."""
    (path,) = (finished / "chains/models").glob("*percentile-at*.npz")
    x, y = toy_data.x_test, toy_data.y_test
    rows = json.loads((finished / "chains/tables/accuracy.json").read_text())
    (clean,) = [row["accuracy"] for row in rows if (row["defense"], row["attack"]) == ("percentile+at", "clean")]
    system = Classifier(defend.load(path))
    assert system.accuracy(x, y) == pytest.approx(clean)
    assert system.purify(x) is not None


@pytest.fixture
def blur(network, tmp_path) -> Path:
    """The file of a filter before a network."""
    save_model(network.model, tmp_path / "network.keras")
    path = tmp_path / "blur.npz"
    path.write_bytes(defend.packed("gaussian_blur", {"sigma": 1.0}, "network.keras", []))
    return path


def test_a_filter_is_read_again(blur, network, images):
    system = Classifier(defend.load(blur))
    np.testing.assert_allclose(system.predict(images), network.predict(system.purify(images)), atol=1e-5)


def test_a_filter_is_a_file_of_words(blur):
    arrays = unpack(blur)
    content = json.loads(str(arrays.pop("system")))
    assert content["defense"] == {"name": "gaussian_blur", "sigma": 1.0}
    assert (content["fits"], arrays) == (0, {})
    assert content["base"] == "network.keras"


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"base": "../secret.keras"}, Exception, "leads out of the folder"),
        ({"base": "{own}"}, ModelError, "more than 20 defences, one upon the other"),
        ({"defense": {"name": "os.system"}}, ConfigError, "no defense named 'os.system'"),
        ({"defense": {"name": "gaussian_blur", "sigma": -1}}, ConfigError, "sigma: got -1"),
        ({"fits": 3}, ModelError, "holds the weights of 3 networks, and its defence fits 0"),
        ({"defense": 7}, ModelError, "no defended system"),
    ],
)
def test_a_file_that_was_tampered_with_is_refused(blur, change, error, said):
    own = blur.with_name("tampered.npz")
    content = json.loads(str(unpack(blur)["system"])) | {key: own.name if value == "{own}" else value for key, value in change.items()}
    own.write_bytes(pack({"system": np.array(json.dumps(content))}))
    with pytest.raises(error, match=said):
        defend.load(own)
    own.unlink()


def test_weights_of_another_network_are_refused(network):
    weights = network.model.get_weights()
    with pytest.raises(ModelError, match="the weights of its network 1 are not those that its defence fits"):
        defend.Fitted([[weights[0][..., :1], *weights[1:]]])(network.model, None)
    with pytest.raises(ModelError, match=r"its defence asks for fit\.data when it is read again"):
        defend.Fitted([]).data  # noqa: B018


def test_what_is_learnt_beside_fit_is_noticed(network):
    """A network that is made and never fitted has other weights when the defence is called again."""

    def system() -> Chain:
        inputs = keras.Input(network.image_shape)
        fresh = keras.Model(inputs, keras.layers.Dense(5)(keras.layers.Flatten()(inputs)))
        return Chain(fresh, (Purifier(lambda x, rng: x),))

    with pytest.raises(ModelError, match="gives other outputs when it is read again"):
        defend.check_read_again(system(), system())
