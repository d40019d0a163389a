"""A small finished run on toy data: a model that comes trained, a purifier, attacks with and without eps."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from advrun.config import load
from advrun.data import Dataset
from advrun.runs import runner
from advrun.system import Classifier
from advrun.system.modelfile import save_model

CONFIG = """
name: toy
data: {{name: arrays, path: {folder}/toy.npz}}
models: [{{name: file, label: net, path: {folder}/net.keras}}]
attacks:
  - {{name: fgsm, eps: [8/255, 24/255], examples: 30}}
  - {{name: fmn, steps: 5, examples: 12}}
defenses: [{{name: bit_depth, bits: 3}}]
results: {folder}/results
compute: {{batch_size: 16}}
"""


def finished(folder: Path, victim: Classifier, data: Dataset) -> Path:
    """Run it; returns the configuration, beside which lie `toy.npz`, `net.keras` and `results/toy`."""
    np.savez(folder / "toy.npz", x=data.x_test, y=data.y_test, class_names=np.array(data.class_names))
    save_model(victim.model, folder / "net.keras")
    (folder / "toy.yaml").write_text(CONFIG.format(folder=folder))
    runner.run(load(folder / "toy.yaml"))
    return folder / "toy.yaml"
