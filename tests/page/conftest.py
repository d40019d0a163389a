"""A results folder for one picture: a trained network, two finished defences, and one that nobody built."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from advrun.config import load
from advrun.console import Console
from advrun.picture.bench import Bench, open_bench
from advrun.runs.opened import open_models
from advrun.runs.plan import make_plan
from advrun.runs.runner import folder, load_data
from advrun.runs.schedule import execute

CONFIG = """
name: toy
data: {{name: arrays, path: {folder}/toy.npz}}
models: [{{name: file, path: {folder}/victim.keras, label: victim}}]
attacks:
  - {{name: pgd, eps: [4/255, 32/255], steps: 10}}
  - {{name: ddn, steps: 20}}
  - {{name: boundary, queries: 1000}}
  - {{name: universal, eps: 8/255}}
defenses:
  - {{name: gaussian_blur, sigma: 0.6}}
  - {{name: adversarial_training, train: {{epochs: 1}}}}
results: {folder}/results
"""


@pytest.fixture(scope="session")
def toy_config(tmp_path_factory, toy_data, victim) -> Path:
    """A configuration whose systems are finished, but for adversarial training."""
    root = tmp_path_factory.mktemp("picture")
    arrays = {name: getattr(toy_data, name) for name in ("x_train", "y_train", "x_test", "y_test")}
    np.savez(
        root / "toy.npz",
        class_names=np.array(["top left", "Top right", "below left", "below on the right, in the very corner of a picture"]),
        **arrays,
    )
    victim.model.save(root / "victim.keras")
    config = root / "toy.yaml"
    config.write_text(CONFIG.format(folder=root))
    experiment = load(config)
    plan, store, console = make_plan(experiment, load_data(experiment)), folder(experiment), Console(quiet=True)
    cells = tuple(cell for cell in plan.cells if cell.kind == "train" and cell.defense_label != "adversarial_training")
    outcomes = execute(plan, cells, store, console, open_models(plan, store, console))
    assert outcomes.error(len(cells)) is None
    return config


@pytest.fixture(scope="session")
def bench(toy_config) -> Bench:
    return open_bench(load(toy_config), toy_config)


@pytest.fixture(scope="session")
def right_row(bench, toy_data) -> int:
    """A test image that both systems get right."""
    from advrun.picture import study

    systems = (bench.system("victim"), bench.system("victim", "gaussian_blur"))
    rows = range(len(toy_data.y_test))
    return next(
        row for row in rows if all(study.reply(bench, name, toy_data.x_test[row]).predicted == toy_data.y_test[row] for name in systems)
    )
