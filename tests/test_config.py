"""The YAML file as an Experiment: what it means, round trip, JSON Schema, start-up."""

from __future__ import annotations

import dataclasses
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from advrun import registry
from advrun.config import Experiment, load, loads, schema
from advrun.config.entries import InnerAttack, settings_of
from advrun.errors import ConfigError

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no failure
CONFIGS = Path(__file__).parents[1] / "configs"
FULL = """\
description: All sections.
data: {name: gtsrb, root: somewhere, validation: 0.2, train_limit: 500}
models:
  - {name: lnet}
  - {name: cnn, label: wide, width: 64}
train: {epochs: 3, learning_rate: 1e-4}
attacks:
  - {name: fgsm, eps: 8/255}
  - {name: pgd, eps: [2/255, 8/255], steps: 7, target: least_likely, examples: 100}
  - {name: pgd, label: pgd.l2, norm: L2, eps: 2, target: 14}
  - {name: cw, preset: paper, steps: 50}
defenses:
  - {name: adversarial_training, preset: madry, train: {epochs: 9}}
  - {name: hybrid, attack: {name: pgd, eps: 4/255, steps: 3}}
  - {name: autoencoder, attack: {name: cw, preset: fast}}
seeds: [0, 1, 2]
results: elsewhere
compute: {batch_size: 64, deterministic: false, jit: on}
"""


def test_every_section():
    experiment = loads(FULL, name="full")
    assert experiment.name == "full"
    assert experiment.data.name == "gtsrb"
    assert (experiment.data.validation, experiment.data.train_limit, experiment.data.test_limit) == (0.2, 500, None)
    assert experiment.data.settings["root"] == "somewhere"
    assert [model.label for model in experiment.models] == ["lnet", "wide"]
    assert experiment.models[1].settings["width"] == 64
    assert (experiment.train.epochs, experiment.train.batch_size, experiment.train.learning_rate) == (3, 128, 1e-4)
    assert experiment.seeds == (0, 1, 2)
    assert (experiment.compute.jit, experiment.compute.deterministic) == ("on", False)


def test_attacks():
    fgsm, pgd, l2, cw = loads(FULL).attacks
    assert (fgsm.label, fgsm.norm, fgsm.eps, fgsm.target, fgsm.examples) == ("fgsm", "linf", (8 / 255,), None, None)
    assert (pgd.eps, pgd.target, pgd.examples, pgd.settings["steps"]) == ((2 / 255, 8 / 255), "least_likely", 100, 7)
    assert (l2.label, l2.norm, l2.eps, l2.target) == ("pgd.l2", "l2", (2.0,), 14)
    assert isinstance(l2.eps[0], float)
    assert (cw.norm, cw.eps) == ("l2", ())
    assert dict(pgd.settings).keys() == registry.get("attacks", "pgd").settings.keys()


def test_settings_are_defaults_then_preset_then_given():
    cw = registry.get("attacks", "cw")
    assert loads(FULL).attacks[3].settings == settings_of(cw, {"preset": "paper", "steps": 50})
    assert loads("attacks: [{name: cw}]").attacks[0].settings == settings_of(cw, {})


def test_defenses():
    madry, hybrid, autoencoder = loads(FULL).defenses
    inner = madry.settings["attack"]
    assert isinstance(inner, InnerAttack)
    assert (inner.name, inner.norm, inner.eps) == ("pgd", "linf", 8 / 255)
    assert inner.settings == settings_of(registry.get("attacks", "pgd"), {"steps": 7, "step_size": 0.25})
    assert hybrid.settings["attack"].eps == 4 / 255
    assert autoencoder.settings["attack"].eps is None


def test_training_of_a_defense_is_that_of_the_experiment_where_it_says_nothing():
    madry, hybrid, _ = loads(FULL).defenses
    assert (madry.train.epochs, madry.train.learning_rate, madry.train.batch_size) == (9, 1e-4, 128)
    assert hybrid.train == loads(FULL).train


def test_a_file_may_say_almost_nothing(tmp_path):
    path = tmp_path / "almost-nothing_1.yaml"
    path.write_text("description: Only defaults.\n")
    experiment = load(path)
    assert experiment.name == "almost-nothing_1"
    assert (experiment.data.name, [model.name for model in experiment.models], experiment.seeds) == ("signs", ["lnet"], (0,))
    assert (experiment.attacks, experiment.defenses) == ((), ())


def test_nothing_changes_later():
    experiment = loads(FULL)
    with pytest.raises(ValidationError):
        experiment.train.epochs = 3
    with pytest.raises(dataclasses.FrozenInstanceError):
        experiment.attacks[0].eps = (1.0,)


def test_experiments_travel_between_processes():
    assert pickle.loads(pickle.dumps(loads(FULL))) == loads(FULL)


def test_the_resolved_file_gives_an_equal_experiment():
    experiment = loads(FULL, name="full")
    text = experiment.to_yaml()
    assert loads(text) == experiment
    assert loads(text).to_yaml() == text
    assert "eps: [2/255, 8/255]" in text
    assert "learning_rate: 0.0001" in text
    assert "preset" not in text


NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,8}", fullmatch=True)
EPS = st.floats(1e-6, 1) | st.integers(1, 255).map(lambda level: level / 255)
ATTACKS = st.fixed_dictionaries(
    {"name": st.sampled_from(["fgsm", "pgd"]), "eps": EPS | st.lists(EPS, min_size=1, max_size=3, unique=True).map(tuple)}
) | (
    st.fixed_dictionaries({"name": st.just("cw")}, optional={"steps": st.integers(1, 10**6), "preset": st.sampled_from(["fast", "paper"])})
)
EXPERIMENTS = st.fixed_dictionaries(
    {},
    optional={
        "name": NAMES,
        "description": st.text(st.characters(codec="utf-8", exclude_categories=["Cs"])),
        "attacks": st.lists(ATTACKS, max_size=3).map(lambda items: tuple({**item, "label": f"a{i}"} for i, item in enumerate(items))),
        "train": st.fixed_dictionaries({}, optional={"learning_rate": st.floats(1e-9, 1e9), "epochs": st.integers(1, 10**7)}),
        "seeds": st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4, unique=True).map(tuple),
        "defenses": st.just(({"name": "hybrid"},)),
    },
)


@UNHURRIED
@given(EXPERIMENTS)
def test_round_trip_of_any_experiment(data):
    experiment = Experiment.model_validate(data)
    assert loads(experiment.to_yaml()) == experiment


KEYS = ["name", "label", "eps", "steps", "attack", "train", "data", "models", "attacks", "defenses", "seeds"]
WORDS = st.sampled_from([*KEYS, "pgd", "cw", "lnet", "signs", "hybrid", "8/255", "0", "-1", "null", "[]", "{}"])
VALUES = st.recursive(WORDS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4), max_leaves=12)


@UNHURRIED
@given(st.text() | VALUES.map(json.dumps) | st.dictionaries(WORDS, VALUES, max_size=4).map(lambda data: json.dumps(data).replace('"', "")))
def test_any_text_is_an_experiment_or_a_config_error(text):
    try:
        message = f"F:{loads(text, source='F').name}"
    except ConfigError as error:
        message = str(error)
    assert all(line.startswith("F:") for line in message.split("\n"))


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    content = schema()
    jsonschema.Draft202012Validator.check_schema(content)
    json.dumps(content)
    return jsonschema.Draft202012Validator(content)


def test_the_schema_accepts_what_editors_see(validator):
    data = yaml.safe_load(FULL)  # as an editor: 8/255 is text
    data["compute"]["jit"] = "on"  # YAML 1.1 reads a boolean
    validator.validate(data)
    validator.validate({"attacks": [{"name": "pgd", "eps": ["1e-3", 0.5, "8/255"]}]})


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_configurations_load_and_fit_the_schema(path, validator):
    experiment = load(path)
    assert experiment.name == path.stem
    assert loads(experiment.to_yaml()) == experiment
    validator.validate(yaml.safe_load(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "data",
    [
        {"atacks": []},
        {"attacks": [{"name": "pgd", "eps": 0.1, "epz": 1}]},
        {"attacks": [{"name": "pgd"}]},
        {"attacks": [{"name": "pgd", "eps": []}]},
        {"attacks": [{"name": "cw", "eps": 1}]},
        {"train": {"epochs": 0}},
        {"train": {"learning_rate": "fast"}},
        {"data": {"name": "sings"}},
        {"defenses": [{"name": "hybrid", "attack": {"name": "pgd"}}]},
        {"seeds": []},
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(validator, data):
    assert not validator.is_valid(data)


def test_every_field_is_described():
    nodes: list[Any] = [schema()]
    while nodes:
        node = nodes.pop()
        for name, field in node.get("properties", {}).items():
            assert field.get("description") or "$ref" in field, name
        nodes += [child for child in node.values() if isinstance(child, dict)]


def test_loading_needs_no_heavy_library(tmp_path):
    path = tmp_path / "full.yaml"
    path.write_text(FULL)
    code = f"import sys; from advrun.config import load; load({str(path)!r}); print(*sys.modules)"
    modules = {name.split(".")[0] for name in subprocess.check_output([sys.executable, "-c", code], text=True).split()}
    assert not modules & {"tensorflow", "keras", "scipy", "matplotlib", "PIL", "h5py", "jinja2", "rich"}
