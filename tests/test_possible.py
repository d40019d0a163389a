"""What cannot be is refused before anything is trained: by `advrun check`, and at the start of a run, in one line with the remedy."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner

from advrun.cli import main
from advrun.config import Experiment, loads
from advrun.errors import ConfigError
from advrun.runs.keys import says
from advrun.runs.possible import check_chains, check_validation

AT = "{name: adversarial_training}"
LEARNS = "{name: universal, eps: 8/255, norm: linf}"

CHAINS = [
    (
        f"defenses: [{AT}, [{{name: mahalanobis}}, {{name: jpeg}}, {AT}]]",
        "<text>:1:78: defenses[1][2]: adversarial_training makes a network, and the detector that mahalanobis has set "
        "beside the one before it would be lost; put adversarial_training before mahalanobis",
    ),
    (
        "defenses: [{name: trades, label: my, attack: {name: autoattack, eps: 8/255}}]",
        "<text>:1:46: defenses[0].attack: autoattack is more than one function of a batch, as a training needs; take one of its stages",
    ),
    (
        f"defenses: [[{{name: jpeg}}, {{name: trades, attack: {LEARNS}}}]]",
        "<text>:1:50: defenses[0][1].attack: universal learns before it attacks, and trades gives it no time to",
    ),
    (
        "defenses: [{name: defense_gan, train: {monitor: robust_accuracy}}]",
        "<text>:1:39: defenses[0].train: the networks of defense_gan play against one another, without monitor: robust_accuracy",
    ),
    ("defenses: [{name: defense_gan, train: {ema: 0.5}}]", "without ema: 0.5; take it out of its train section"),
]


@pytest.mark.parametrize(("text", "said"), CHAINS)
def test_a_chain_that_cannot_be_is_refused_with_the_remedy(text, said):
    with pytest.raises(ConfigError) as refused:
        check_chains(loads(text))
    assert said in str(refused.value)


@pytest.mark.parametrize(
    "defenses",
    [
        f"[[{AT}, {{name: mahalanobis}}], [{{name: mahalanobis}}, {{name: jpeg}}, {{name: magnet_detector}}]]",
        f"[{{name: adversarial_training, attack: {LEARNS}}}, {{name: unet, attacks: [{LEARNS}]}}, {{name: defense_gan}}]",
        "[[{name: jpeg}, {name: trades}]]",
    ],
)
def test_what_can_be_is_not(defenses):
    check_chains(loads(f"defenses: {defenses}"))


def test_it_is_the_unit_that_says_what_it_does(added):
    """A defence of one's own, from the README of the folder, like those of the library."""
    assert {name for name in ("bit_depth", "mahalanobis", "median", "feature_squeezing") if says(name, call="beside")} == {
        "mahalanobis",
        "feature_squeezing",
    }
    own = [path.stem for path in (added / "defenses").glob("*.py") if says(path.stem, call="beside")]
    for name in own:
        with pytest.raises(ConfigError, match=f"put adversarial_training before {name}"):
            check_chains(loads(f"defenses: [[{{name: {name}}}, {AT}]]"))
    assert own


CONFIG = """
name: toy
data: {{name: arrays, path: {folder}/toy.npz, validation: 0.2}}
models: [{{name: cnn, width: 4, blocks: 2}}]
results: {folder}/results
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory, toy_data):
    folder = tmp_path_factory.mktemp("possible")
    arrays = {name: getattr(toy_data, name) for name in ("x_train", "y_train", "x_test", "y_test")}
    np.savez(folder / "toy.npz", group_train=toy_data.group, **arrays)
    (folder / "toy.yaml").write_text(CONFIG.format(folder=folder))
    return folder


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("attacks=[{name: pgd, eps: 0.1, target: 4}]", "attacks[0].target: got 4; arrays has the classes 0 to 3"),
        ("bounds=[{name: clever, target: 7}]", "bounds[0].target: got 7; arrays has the classes 0 to 3"),
        ("attacks=[{name: sticker, target: 1, source_class: 1}]", "attacks[0].source_class: got 1, and target is the same; aim"),
        ("attacks=[{name: sticker, source_class: 9}]", "attacks[0].source_class: got 9, of which arrays has no test image"),
        (f"defenses=[[{{name: mahalanobis}}, {AT}]]", "put adversarial_training before mahalanobis"),
    ],
)
def test_check_and_run_refuse_it_in_the_same_line_and_train_nothing(folder, setting, said):
    for command in ("check", "run"):
        refused = CliRunner().invoke(main, [command, str(folder / "toy.yaml"), "--set", setting])
        assert refused.exit_code == 3, refused.output
        assert said in refused.output
        assert len(refused.output.strip().splitlines()) == 1
    assert not (folder / "results/toy/models").exists()


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ("defenses: [{name: magnet_detector}]", "defenses[0]: the threshold of magnet_detector comes from validation images, and"),
        ("train: {monitor: robust_accuracy}, models: [{name: mlp}]", "models[0].train: robust_accuracy comes from validation images, and"),
        ("defenses: [{name: fast, train: {monitor: robust_accuracy}}]", "defenses[0]: robust_accuracy comes from validation images, and"),
    ],
)
def test_what_validation_images_choose_needs_some(entries, said, toy_data):
    text = "{{data: {{name: signs, validation: {share}}}, {entries}}}"
    check_validation(loads(text.format(share=0.2, entries=entries)), toy_data)
    for share, data, further in (
        (0, None, "is 0; make it larger, such as 0.1"),
        (0.001, toy_data, "is 0.001, which is none of the images"),
    ):
        with pytest.raises(ConfigError) as refused:
            check_validation(loads(text.format(share=share, entries=entries)), data)
        assert f"{said} data.validation {further}" in str(refused.value)


@pytest.mark.parametrize(
    ("setting", "place"),
    [
        ("train.batch_size=4000", "models[0].train.batch_size"),
        ("defenses=[{name: fast, train: {batch_size: 4000}}]", "defenses[0].train.batch_size"),
    ],
)
def test_a_batch_larger_than_all_is_refused_before_anything_is_trained(folder, setting, place):
    refused = CliRunner().invoke(main, ["run", str(folder / "toy.yaml"), "--set", setting])
    assert refused.exit_code == 3, refused.output
    assert f"{place}: got 4000, but there are 192 images to train on; make it smaller" in refused.output
    assert not (folder / "results/toy/models").exists()


def test_missing_data_are_no_fault_of_the_configuration(folder):
    aimed = ["--set", "attacks=[{name: pgd, eps: 0.1, target: 1}]"]
    assert CliRunner().invoke(main, ["check", str(folder / "toy.yaml"), *aimed]).exit_code == 0
    gone = CliRunner().invoke(main, ["check", str(folder / "toy.yaml"), *aimed, "--set", f"data.path={folder}/gone.npz"])
    assert gone.exit_code == 0, gone.output


FILE = """\
name: toy
data: {{name: arrays, path: {folder}/toy.npz, validation: 0.2}}
models: [{{name: cnn, width: 4, blocks: 2}}]
results: {folder}/results
attacks:
  - {{name: fgsm, eps: 0.1}}
  - name: pgd
    eps: 0.1
    target: 2
defenses:
  - {{name: jpeg, quality: [50, 75]}}
  - - {{name: mahalanobis}}
    - name: free
      label: mine
"""


def test_the_line_of_the_file_is_named_and_that_of_an_override(folder):
    path = folder / "lines.yaml"
    path.write_text(FILE.format(folder=folder))
    for overrides, said in (
        ([], f"{path}:13:7: defenses[1][1]: free makes a network, and "),
        (["defenses=[]", "attacks.pgd.target=4"], "--set attacks.pgd.target: attacks[1].target: got 4; arrays has the classes 0 to 3"),
        (["defenses=[]", "threats=[static]"], "--set threats: threats: with [static] no example meets any system"),
        (["defenses=[]", "models=[{name: file, path: no.keras}]"], "--set models: models[0]: file.path: no such file: no.keras"),
    ):
        refused = CliRunner().invoke(main, ["run", str(path), *(word for each in overrides for word in ("--set", each))])
        assert refused.output.startswith(f"advrun: {said}")
        assert len(refused.output.splitlines()) == 1


def test_where_it_is_written_makes_no_experiment_another():
    text = "attacks: [{name: pgd, eps: 8/255}]\n"
    assert loads(text) == loads(f"\n\n{text}", source="other")
    assert loads(text).model_copy(update={"ledger": "x"}).at("attacks", "pgd", "eps") == "<text>:1:28: attacks[0].eps"
    assert Experiment.model_validate({}).at("models", "lnet") == "models[0]"
