"""`--set PATH=VALUE`: which value it reaches, and what it says when it reaches none."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from advrun.config import loads
from advrun.errors import ConfigError

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no failure
TEXT = """\
name: full
data: {name: gtsrb}
models: [{name: lnet}, {name: cnn, label: wide}]
train: {epochs: 3}
attacks:
  - {name: fgsm, eps: 8/255}
  - {name: pgd, eps: 8/255}
  - {name: pgd, label: pgd.l2, norm: l2, eps: 2}
  - {name: cw, preset: paper}
defenses:
  - {name: adversarial_training}
  - {name: hybrid, attack: {name: pgd, eps: 4/255}}
  - {name: autoencoder}
seeds: [0, 1, 2]
compute: {jit: on}
"""


def problems(text: str, override: str) -> list[str]:
    with pytest.raises(ConfigError) as error:
        loads(text, [override])
    return str(error.value).splitlines()


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("attacks.0.eps=4/255", lambda e: e.attacks[0].eps == (4 / 255,)),
        ("attacks.fgsm.eps=[1/255, 2/255]", lambda e: e.attacks[0].eps == (1 / 255, 2 / 255)),
        ("attacks.pgd.l2.eps=0.5", lambda e: e.attacks[2].eps == (0.5,)),
        ("attacks.cw.preset=fast", lambda e: e.attacks[3].settings["search_steps"] == 5),
        ("models.wide.width=8", lambda e: e.models[1].settings["width"] == 8),
        ("models.cnn.width=8", lambda e: e.models[1].settings["width"] == 8),
        ("models=[{name: cnn}]", lambda e: [model.label for model in e.models] == ["cnn"]),
        ("defenses.hybrid.attack.eps=0.25", lambda e: e.defenses[1].settings["attack"].eps == 0.25),
        ("defenses.2.train.epochs=1", lambda e: e.defenses[2].train.epochs == 1),
        ("seeds=[4,5]", lambda e: e.seeds == (4, 5)),
        ("seeds.1=7", lambda e: e.seeds == (0, 7, 2)),
        ("data.root=/a=b", lambda e: e.data.settings["root"] == "/a=b"),
        ("name=x", lambda e: e.name == "x"),
        ("train.patience=2", lambda e: e.train.patience == 2 and e.train.epochs == 3),
        ("compute={}", lambda e: e.compute.jit == "auto"),
    ],
)  # fmt: skip
def test_overrides(override, value):
    assert value(loads(TEXT, [override]))


def test_overrides_reach_what_the_file_does_not_mention():
    experiment = loads(
        "description: x", ["data.test_limit=9", "models.lnet.activation=relu", "train.epochs=1", "compute.jit=off", "seeds.0=4"]
    )
    assert (experiment.data.test_limit, experiment.models[0].settings["activation"], experiment.train.epochs) == (9, "relu", 1)
    assert (experiment.compute.jit, experiment.seeds) == ("off", (4,))


def test_later_overrides_win():
    assert loads("train: {epochs: 1}", ["train.epochs=2", "train={epochs: 3}", "train.epochs=4"]).train.epochs == 4


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("attacks.0.epz=1", "--set attacks.0.epz: attacks[0].epz: unknown setting 'epz' of attack 'fgsm'; did you mean 'eps'?"),
        ("atacks.0.eps=1", "--set atacks.0.eps: atacks: unknown setting 'atacks' of the experiment; did you mean 'attacks'?"),
        ("attacks.9.eps=1", "--set attacks.9.eps: attacks has no entry 9; it has 4 entries, counted from 0"),
        ("attacks.fgms.eps=1", "--set attacks.fgms.eps: attacks has no entry fgms; did you mean 'fgsm'?"),
        ("attacks.0.eps=0", "--set attacks.0.eps: attacks[0].eps: got 0; expected a number > 0, such as 8/255"),
        ("train={epochs: 0}", "--set train: train.epochs: got 0; expected a whole number from 1 to 10,000,000"),
        ("name.x=1", "--set name.x: name is 'full', which has no settings"),
        ("seeds=[1", "--set seeds:1:3: not valid YAML: did not find expected ',' or ']' while parsing a flow sequence"),
        ("seeds", "--set seeds: expected PATH=VALUE, such as attacks.0.eps=4/255"),
        ("=3", "--set =3: expected PATH=VALUE, such as attacks.0.eps=4/255"),
    ],
)  # fmt: skip
def test_wrong_overrides(override, line):
    assert problems(TEXT, override) == [line]


def test_an_ambiguous_name_is_refused():
    text = "attacks: [{name: pgd, eps: 0.1, label: a}, {name: pgd, eps: 0.1, label: b}]"
    assert problems(text, "attacks.pgd.steps=3") == [
        "--set attacks.pgd.steps: attacks has 2 entries named pgd; use a label or an index, counted from 0"
    ]
    assert loads(text, ["attacks.b.steps=3"]).attacks[1].settings["steps"] == 3


@UNHURRIED
@given(st.text(max_size=20), st.text(max_size=20))
def test_any_override_is_accepted_or_refused_with_its_place(path, value):
    for override in (f"{path}={value}", f"attacks.{path}={value}", f"train.{path}={value}"):
        try:
            message = f"--set {loads(TEXT, [override]).name}"
        except ConfigError as error:
            message = str(error)
        assert message.startswith("--set ")
