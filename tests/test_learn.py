"""What attacks learn from images alone: a cell of its own, shared by all that ask for the same, and made once."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import numpy as np
import pytest

from advrun import registry
from advrun.config import loads
from advrun.runs.keys import learning, learning_label
from advrun.runs.plan import make_plan
from advrun.runs.runner import load_data, run

from .conftest import adding

MEAN = '''
"""Mixes images with the mean of those that it learnt from (Nobody, 2026, arXiv:0000.00000)."""
import numpy as np

from advrun.engine import Rng, ops
from advrun.lesson import Lesson
from advrun.system import Blind
from advrun.types import Count, Fraction, Labels, Tensor


Told = tuple[Tensor, dict[str, Tensor]]


def mean(model: Blind, x: Tensor, y: Labels, fitted: Tensor, *, share: Fraction = 0.5, images: Count = 3) -> Told:
    """Mixes them.

    Args:
        share: of the mean.
        images: that it learns from.
    """
    return (1 - share) * x + share * fitted, {"share_of_the_mean": share + 0 * ops.cast(y, "float32")}


def fit(x: np.ndarray, y: np.ndarray, rng: Rng, lesson: Lesson, *, images: int) -> np.ndarray:
    """The mean."""
    lesson.histories[""] = {"loss": [2.0, 1.0]}
    lesson.pictures[""] = np.full((2, 8, *x.shape[1:]), 7, np.uint8)
    lesson.notes.append(f"learnt from {images}")
    return x[:images].mean(0)
'''


@pytest.fixture
def text(tmp_path, linear):
    """A configuration without attacks, for a folder that holds the attack above."""
    (tmp_path / "own/attacks").mkdir(parents=True)
    (tmp_path / "own/attacks/mean.py").write_text(MEAN)
    linear.model.save(tmp_path / "m.keras")
    x = np.random.default_rng(0).integers(0, 256, (4, *linear.image_shape)).astype(np.uint8)
    np.savez(tmp_path / "x.npz", x_train=x, y_train=np.arange(4) % 3, x_test=x, y_test=linear.predict(x).argmax(-1))
    with adding(tmp_path / "own"):
        yield (
            f"data: {{name: arrays, path: {tmp_path}/x.npz}}\nmodels: [{{name: file, path: {tmp_path}/m.keras}}]\n"
            f"results: {tmp_path}/results\nattacks: "
        )


def learning_cells(text: str):
    experiment = loads(text, name="shared")
    cells = make_plan(experiment, load_data(experiment)).cells
    return [cell for cell in cells if cell.kind == "learn"], [cell for cell in cells if cell.kind == "attack"]


def test_attacks_that_ask_for_the_same_share_it(text):
    shared, attacks = learning_cells(f"{text}[{{name: mean}}, {{name: mean, share: 0.1, label: less}}]")
    assert len(shared) == 1
    assert [attack.learnt and attack.learnt.key for attack in attacks] == [shared[0].key] * 2
    assert shared[0].label == "mean seed 0"
    apart, _ = learning_cells(f"{text}[{{name: mean}}, {{name: mean, images: 2, label: few}}]")
    assert [cell.label for cell in apart] == ["mean seed 0", "mean (images 2) seed 0"]
    assert apart[0].key == shared[0].key


@pytest.mark.slow
def test_it_is_learnt_once_and_told_once(text, tmp_path):
    experiment = loads(f"{text}[{{name: mean}}, {{name: mean, share: 0.1, label: less}}]", name="shared")
    found = run(experiment)
    ((label, shown),) = found.growth.items()
    assert label == "mean"
    assert shown.shape[:2] == (2, 8)
    assert found.histories == {"mean": {"loss": [2.0, 1.0]}}
    assert found.environment["note on mean"] == "learnt from 3"
    said = {name: note for name, note in found.environment.items() if name.startswith("note on file")}
    assert list(said.values()) == [f"share of the mean {share} on average of 4 images" for share in (0.5, 0.1)]
    root = tmp_path / "results/shared"
    for manifest in root.glob("manifests/file-seed-0-mean-*.json"):
        manifest.unlink()
    run(experiment)
    started = [event["kind"] for event in map(json.loads, (root / "log.jsonl").read_text().splitlines()) if "kind" in event]
    assert (started.count("learn"), started.count("attack")) == (1, 3)


def test_what_the_gan_is_made_of_knows_nothing_of_the_search():
    """An edit of the search leaves the GAN as it is: their code lies in different files."""
    plugin = registry.get("attacks", "natural")
    assert plugin.learns_alone
    assert Path(inspect.getfile(plugin.fit)).name == "_generative.py"
    assert not registry.get("attacks", "advgan").learns_alone
    assert not registry.get("attacks", "transfer").learns_alone


def test_the_key_holds_the_settings_that_are_asked_for_and_no_others():
    def entry(**settings):
        return loads(
            f"data: {{name: signs}}\nmodels: [{{name: lnet}}]\nattacks: [{json.dumps({'name': 'natural', **settings})}]", name="n"
        ).attacks[0]

    plain = learning(entry())
    assert learning(entry(search="shrinking", queries=10, step_size=0.1)) == plain
    assert learning(entry(latent=4)) != plain
    assert set(plain[0]) == {"loss", "epochs", "images", "latent", "width", "learning_rate"}
    assert learning_label(entry(latent=4, queries=10)) == "gan (latent 4)"
