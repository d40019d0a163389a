"""The contract notices what it is there for: units that break one promise each, and what the command says of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from advrun import registry
from advrun.cli import main
from advrun.contract import Broken, Inapplicable, examine
from advrun.contract import attacks as attack_contract
from advrun.contract import defenses as defense_contract
from advrun.contract import metrics as metric_contract
from advrun.contract import models as model_contract
from advrun.contract import threats as threat_contract
from advrun.contract.datasets import Drawn
from advrun.contract.distances import true_distance

from .conftest import adding

HEAD = '''"""A unit (A. Nobody, 2026, arXiv:0000.00000)."""
from advrun.engine import Rng, keras, ops, tf
from advrun.geometry import *
from advrun.losses import *
from advrun.system import *
from advrun.types import *
'''
ATTACKS = {
    "leaves_its_ball": ("x + 2 * ball.steepest(model.gradient(margin, x, y))", "box_ball_and_numbers", "are farther than"),
    "gives_nan": ("x * float('nan')", "box_ball_and_numbers", "NaN"),
    "does_nothing": ("ball.project(x + 0 * model.gradient(margin, x, y), x)", "it_fools_the_model", "no image"),
    "draws_elsewhere": (
        "ball.project(x + ball.steepest(model.gradient(margin, x + 1e-6, y)) * tf.random.uniform(x.shape), x)",
        "the_same_seed_gives_the_same_images",
        "draws random numbers (RandomUniform) past `rng`",
    ),
    "asks_twice": (
        "ball.project(x + ball.steepest(model.gradient(margin, x, y) + model.gradient(margin, x, y)), x)",
        "what_it_asks_is_counted_and_announced",
        "asked up to 2 gradients",
    ),
    "goes_half_way": (
        "ball.project(x + 0.5 * ball.steepest(model.gradient(margin, x, y)), x)",
        "true_distance",
        "was not fooled in a ball",
    ),
    "looks_at_others": (
        "ball.project(x + ball.steepest(model.gradient(margin, ops.roll(x, 1, axis=0), y)), x)",
        "an_image_costs_the_same_whatever_the_others_cost",
        "what they do alone",
    ),
}
DEFENSES = {
    "trains_the_original": (
        "model.layers[-1].set_weights([weight * 1.5 for weight in model.layers[-1].get_weights()]) or model",
        "the_given_classifier_is_left_as_it_is",
        "train a `fresh_copy`",
    ),
    "forgets_all": ("keras.models.clone_model(model)", "clean_images_stay_right", "of the clean images are right"),
    "ends_in_a_softmax": (
        "keras.Sequential([keras.Input(model.input_shape[1:]), model, keras.layers.Softmax()])",
        "it_maps_images_to_logits",
        "return logits",
    ),
    "rounds": (
        "keras.Model((i := keras.Input(model.input_shape[1:])), model(ops.round(i * 15) / 15))",
        "gradients_pass_through_it",
        "the gradient of 100% of the images",
    ),
    "rounds_in_a_stage": (
        "Chain(model).behind(Purifier(lambda x, rng: ops.round(x * 15) / 15))",
        "gradients_pass_through_it",
        "the gradient of 100% of the images",
    ),
    "leaves_the_box": (
        "Chain(model).behind(Purifier(lambda x, rng: 1.5 * x))",
        "what_is_classified_are_images",
        "clip them to [0, 1]",
    ),
    "draws_in_a_stage": (
        "Chain(model).behind(Purifier(lambda x, rng: x + rng.normal(x.shape)))",
        "an_image_is_answered_alike_alone_and_in_a_batch",
        "does not say that it draws; write Purifier(..., random=True)",
    ),
    "returns_none": ("None", "the_given_classifier_is_left_as_it_is", "returns nothing"),
}
METRICS = {
    "numpy_number": ("{'c': outcome.y.mean()}", "its_columns_are_numbers_or_none", "expected float"),
    "nan": ("{'c': float('nan')}", "its_columns_are_numbers_or_none", "column 'c' is nan"),
    "sometimes": ("{'c': 1.0} if outcome.attacked is None else {'d': 1.0}", "its_columns_are_the_same_for_every_row", "its columns are c"),
    "taken": ("{'success': 1.0}", "its_columns_have_names_of_their_own", "that of metric 'success'"),
    "changes": ("{'c': float(outcome.after.sort() or 1)}", "what_it_measures_is_left_as_it_is", "changes after"),
}
THREATS = {
    "says_a_word": ("source, target", "'yes'", "it_says_yes_or_no", "says 'yes' of"),
    "meets_nothing": ("source, target", "source.model == target.model + target.defense", "something_meets_something", "no examples meet"),
    "knows_a_name": ("source, target", "source.model == 'a'", "names_mean_nothing_to_it", "under other names"),
    "counts_calls": ("source, target", "next(CALLS) < 100", "it_says_the_same_twice", "says something else"),
    "asks_for_no_target": ("source", "True", "it_asks_for_the_target", "the system that is attacked is `target`"),
    "sees_everything": ("source, target", "True", "what_the_attacker_sees_is_a_known_word", "access() says 'everything'"),
}
DATASETS = {
    "random": ("rng = np.random.default_rng(); n = 20", "it_is_the_same_each_time", "np.random.default_rng(seed)"),
    "train_is_test": ("rng = np.random.default_rng(0); n = 40", "what_is_tested_was_not_trained_on", "are training images"),
}


def code(kind: str, name: str) -> str:
    """The whole file of a unit that breaks a promise."""
    if kind == "attacks":
        handed = "model: Gradients, x: Tensor, y: Labels, ball: Linf, rng: Rng"
        body = f"{HEAD}def {name}({handed}) -> Tensor:\n    'What.'\n    return {ATTACKS[name][0]}\n"
        return body + "def cost() -> Cost:\n    return Cost(gradients=1)\n"
    if kind == "defenses":
        return f"{HEAD}def {name}(model, fit):\n    'What.'\n    return {DEFENSES[name][0]}\n"
    if kind == "metrics":
        return f"def {name}(outcome):\n    'What.'\n    return {METRICS[name][0]}\n"
    if kind == "threats":
        head = "from itertools import count\nCALLS = count()\n" + "def access(attack):\n    return 'everything'\n" * (
            name == "sees_everything"
        )
        return f"{head}def {name}({THREATS[name][0]}):\n    'What.'\n    return {THREATS[name][1]}\n"
    if kind == "datasets":
        draw = "x = rng.integers(0, 256, (40, 4, 4, 1)).astype('uint8'); y = np.arange(40, dtype='int32') % 2"
        made = "Dataset('d', x[:n], y[:n], x[-20:], y[-20:], ('a', 'b'))"
        body = f"    'What.'\n    {DATASETS[name][0]}; {draw}\n    return {made}\n"
        return f"import numpy as np\nfrom advrun.data import Dataset\ndef {name}():\n{body}"
    built = "keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(classes)])"
    return f"{HEAD}def {name}(image_shape, classes):\n    'What.'\n    return {built}\n"


@pytest.fixture(scope="module")
def broken(tmp_path_factory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("broken")
    units = {
        "attacks": ATTACKS,
        "defenses": DEFENSES,
        "metrics": METRICS,
        "threats": THREATS,
        "datasets": DATASETS,
        "models": ["of_one_size"],
    }
    for kind, names in units.items():
        (folder / kind).mkdir()
        for name in names:
            (folder / kind / f"{name}.py").write_text(code(kind, name))
    with adding(folder):
        yield folder


def breaks(promise, case, said: str) -> None:
    with pytest.raises((Broken, Exception), match=re.escape(said)) as found:
        promise(case)
    assert not isinstance(found.value, Inapplicable)


UNITS = [
    ("models", "mlp"),
    *(pytest.param("models", name, marks=pytest.mark.slow) for name in ("lnet", "cnn", "resnet", "capsnet", "keras_application")),
    *(("datasets", name) for name in ("signs",)),
    *(("metrics", name) for name in registry.names("metrics")),
    *(("threats", name) for name in registry.names("threats")),
    *(pytest.param("bounds", name, marks=[pytest.mark.slow] * (name == "clever")) for name in registry.names("bounds")),
]
"""Attacks and defences have test files of their own; `file`, `arrays`, `folder` and `gtsrb` need files, which their own tests have."""


@pytest.mark.parametrize(("kind", "name"), UNITS)
def test_ours_keep_it(kind, name):
    given = {"train": 430, "test": 86} if name == "signs" else {}
    findings = list(examine(kind, name, given))
    assert len(findings) >= 6
    assert not [str(finding) for finding in findings if finding.fate == "broken"]


@pytest.mark.usefixtures("broken")
class TestBroken:
    """One promise each."""

    @pytest.mark.parametrize("name", ATTACKS)
    def test_attacks(self, name):
        _, promise, said = ATTACKS[name]
        attack = attack_contract.bound(registry.get("attacks", name), "linf")
        breaks(true_distance if promise == "true_distance" else getattr(attack_contract, promise), attack, said)

    @pytest.mark.parametrize("name", DEFENSES)
    def test_defenses(self, name):
        _, promise, said = DEFENSES[name]
        (found,) = [each for each in defense_contract.PROMISES if each.__name__ == promise]
        defense_contract.undefended.cache_clear()
        defense_contract._weights.cache_clear()
        breaks(found, defense_contract.Defended(registry.get("defenses", name)), said)
        defense_contract.undefended.cache_clear()
        defense_contract._weights.cache_clear()

    @pytest.mark.parametrize("name", METRICS)
    def test_metrics(self, name):
        _, promise, said = METRICS[name]
        breaks(getattr(metric_contract, promise), metric_contract.Measured(registry.get("metrics", name)), said)

    @pytest.mark.parametrize("name", THREATS)
    def test_threats(self, name):
        _, _, promise, said = THREATS[name]
        breaks(getattr(threat_contract, promise), threat_contract.Decided(registry.get("threats", name)), said)

    @pytest.mark.parametrize("name", DATASETS)
    def test_datasets(self, name):
        _, promise, said = DATASETS[name]
        from advrun.contract import datasets as contract

        breaks(getattr(contract, promise), Drawn(registry.get("datasets", name)), said)

    def test_models(self):
        trial = model_contract.Built(registry.get("models", "of_one_size"))
        breaks(model_contract.it_is_built_for_images_of_any_size, trial, "it was built for")

    def test_the_command_says_which_promise_and_where(self, broken):
        checked = CliRunner().invoke(main, ["check", "--contract", "datasets/random"])
        assert checked.exit_code == 10
        assert "broken  it is the same each time: asked twice, it returns other images" in checked.output
        assert f"{broken.resolve()}/datasets/random.py: 1 of 7 promises are broken" in checked.output
