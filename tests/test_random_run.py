"""Random systems in a run: keys, rows, warnings, and work that is killed and goes on."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pytest
from click.testing import CliRunner

from advrun import Classifier, Linf, defend, engine, registry
from advrun.attack import Attack
from advrun.checkpoints import Checkpoints
from advrun.cli import main
from advrun.config import loads
from advrun.config.entries import settings_of
from advrun.contract import defenses as contract
from advrun.contract import systems
from advrun.craft import craft
from advrun.errors import ConfigError
from advrun.runs.plan import make_plan
from advrun.system import Chain
from advrun.system.modelfile import save_model

from .conftest import adding

CONFIG = """
name: random
data: {{name: arrays, path: {folder}/toy.npz, validation: 0.2}}
models: [{{name: file, path: {folder}/net.keras}}]
attacks: [{{name: pgd, eps: 16/255, steps: 3, examples: 24, draws: 2}}, {{name: noise, eps: 16/255, queries: 5, examples: 24}}]
defenses: [{{name: random_resize_pad}}, {{name: blunt}}]
results: {folder}
draws: 4
compute: {{batch_size: 16}}
"""
BLUNT = '''"""Rounding whose gradient is zero (Xu, Evans and Qi, 2018, arXiv:1704.01155)."""

from advrun.engine import ops
from advrun.system import Chain, Purifier


def blunt(system: Chain) -> Chain:
    """Round every image to eight grey levels, and forget that nothing passes backward."""
    return system.behind(Purifier(lambda x, rng: ops.round(x * 7) / 7))
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory, toy_data):
    folder = tmp_path_factory.mktemp("random")
    arrays = {name: getattr(toy_data, name) for name in ("x_train", "y_train", "x_test", "y_test")}
    np.savez(folder / "toy.npz", group_train=toy_data.group, class_names=np.array(toy_data.class_names), **arrays)
    save_model(contract.undefended(), folder / "net.keras")
    (folder / "own/defenses").mkdir(parents=True)
    (folder / "own/defenses/blunt.py").write_text(BLUNT)
    return folder


@pytest.mark.slow
def test_a_run_says_what_it_averaged_and_what_is_blind(folder):
    (folder / "random.yaml").write_text(CONFIG.format(folder=folder))
    with adding(folder / "own"):
        run = CliRunner().invoke(main, ["run", str(folder / "random.yaml")])
    assert run.exit_code == 0, run.output
    assert "defence 'blunt': behind it the loss gradient of 100 % of the images is zero" in " ".join(run.output.split())
    rows = json.loads((folder / "random/tables/accuracy.json").read_text())
    rows = rows["rows"] if isinstance(rows, dict) else rows
    found = {(row["defense"], row["attack"], row["threat"]): row for row in rows}
    adaptive = found["random_resize_pad", "pgd", "adaptive"]
    assert adaptive["gradients"] == 3 * 2
    assert "gradients and answers of 2 draws" in adaptive["budget"]
    assert found["random_resize_pad", "noise", "adaptive"]["queries"] <= 5
    assert "draws" not in found["blunt", "pgd", "adaptive"]["budget"]
    for threat in ("static", "adaptive"):
        row = found["random_resize_pad", "pgd", threat]
        assert row["accuracy_one_draw"] == pytest.approx(row["accuracy"], abs=0.3)
        assert row["disagree_share"] > 0
    assert found["none", "clean", "none"]["accuracy_one_draw"] is None
    assert "zero-gradients" in found["blunt", "pgd", "adaptive"]["flags"]
    assert "random (random_resize_pad)" in (folder / "random/report.html").read_text()


@pytest.mark.slow
def test_a_system_that_its_file_does_not_call_random_is_refused(folder):
    """The key would not hold the draws: `random` must be said by name, where the purifier is made."""
    (folder / "mine/defenses").mkdir(parents=True)
    lines = BLUNT.replace("blunt", "sly").replace("Purifier(lambda", "Purifier(**OPTIONS, forward=lambda")
    (folder / "mine/defenses/sly.py").write_text(lines.replace("\n\ndef", '\nOPTIONS = {"random": True}\n\n\ndef', 1))
    text = (
        CONFIG.format(folder=folder)
        .replace("[{name: random_resize_pad}, {name: blunt}]", "[{name: sly}]")
        .replace("name: random", "name: sly", 1)
    )
    (folder / "sly.yaml").write_text(text)
    with adding(folder / "mine"):
        run = CliRunner().invoke(main, ["run", str(folder / "sly.yaml")])
    assert run.exit_code == 8
    assert "write random=True where its file makes it" in " ".join(run.output.split())


# Keys ----------------------------------------------------------------------------------------------------------------


def keys_of(folder, **changed: str) -> dict[str, str]:
    text = CONFIG.format(folder=folder).replace(
        "[{name: random_resize_pad}, {name: blunt}]", "[{name: random_resize_pad}, {name: bit_depth}]"
    )
    for old, new in changed.values():
        assert old in text
        text = text.replace(old, new)
    experiment = loads(text)
    data = registry.get("datasets", "arrays").function(**experiment.data.settings)
    return {cell.label: cell.key for cell in make_plan(experiment, data).cells}


def changed(folder, old: str, new: str) -> set[str]:
    before, after = keys_of(folder), keys_of(folder, one=(old, new))
    return {label for label in before if before[label] != after[label]}


def test_draws_are_in_the_keys_of_random_systems_alone(folder):
    of_all, of_pgd = changed(folder, "draws: 4", "draws: 5"), changed(folder, "draws: 2", "draws: 3")
    assert of_all
    assert all("random_resize_pad" in label for label in of_all | of_pgd)
    assert {label for label in keys_of(folder) if "random_resize_pad seed 0 clean" in label} <= of_all
    assert of_pgd < of_all
    assert all("pgd" in label for label in of_pgd)


def test_an_attack_without_gradients_has_no_draws():
    with pytest.raises(ConfigError, match="sees no gradients: a random system answers each of its questions by one draw"):
        loads("attacks: [{name: square, eps: 8/255, draws: 3}]")


# Killed, and gone on with ---------------------------------------------------------------------------------------------


class _Killed(BaseException):
    pass


class _Once(Checkpoints):
    """Dies after the first batch is on the disk."""

    def put(self, name, arrays):
        super().put(name, arrays)
        self.flush()
        raise _Killed


@pytest.mark.slow
def test_an_attack_that_was_killed_ends_with_the_same_bytes(tmp_path, victim, toy_data):
    chain = registry.get("defenses", "random_resize_pad").function(Chain(victim.model))
    plugin = registry.get("attacks", "pgd")
    attack, x, y = Attack(plugin, Linf(0.1), settings_of(plugin, {"steps": 3}), draws=2), toy_data.x_test[:24], toy_data.y_test[:24]
    whole = craft(Classifier(chain), attack, x, y, seed=3, batch_size=8)
    with pytest.raises(_Killed):
        craft(Classifier(chain), attack, x, y, seed=3, batch_size=8, checkpoints=_Once(tmp_path))
    resumed = craft(Classifier(chain), attack, x, y, seed=3, batch_size=8, checkpoints=Checkpoints(tmp_path))
    np.testing.assert_array_equal(whole.x_adv, resumed.x_adv)
    np.testing.assert_array_equal(whole.gradients, resumed.gradients)


@dataclass
class Behind(contract.Defended):
    """Adversarial training behind a random stage."""

    def again(self, checkpoints):
        contract._weights()
        engine.start(0)
        fit = systems.fit_on(self.data, checkpoints, 3)
        base = registry.get("defenses", "random_resize_pad").function(Chain(contract.undefended()))
        system = defend.applied(self.plugin, base, fit, self.settings)
        self.fitted = fit.fitted
        return system


@pytest.mark.slow
def test_training_behind_a_random_stage_resumes_and_stays_random():
    trial = Behind(registry.get("defenses", "adversarial_training"))
    assert Classifier(trial.system).random
    systems.killed_and_resumed_it_ends_the_same(trial)
