"""A small finished run on toy data, and what can be done to it behind advrun's back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from advrun.config import load
from advrun.data import Dataset
from advrun.files import content_key, digest
from advrun.runs import runner
from advrun.runs.manifest import Manifest
from advrun.runs.store import RECORD
from advrun.system import Classifier
from advrun.system.modelfile import save_model

CONFIG = """
name: toy
data: {{name: arrays, path: {folder}/toy.npz}}
models: [{{name: file, label: net, path: {folder}/net.keras}}]
attacks:
  - {{name: noise, norm: linf, eps: 24/255, examples: 30}}
  - {{name: fmn, norm: l2, steps: 5, examples: 12}}
defenses: {defenses}
results: {folder}/results
compute: {{batch_size: 16}}
"""


def finished(folder: Path, victim: Classifier, data: Dataset, defenses: str = "[]") -> Path:
    """Run it; returns the configuration, beside which lie `toy.npz`, `net.keras` and `results/toy`."""
    np.savez(folder / "toy.npz", x=data.x_test, y=data.y_test, class_names=np.array(data.class_names))
    save_model(victim.model, folder / "net.keras")
    (folder / "toy.yaml").write_text(CONFIG.format(folder=folder, defenses=defenses))
    runner.run(load(folder / "toy.yaml"))
    return folder / "toy.yaml"


def reseal(root: Path) -> None:
    """Every manifest, and the record of the report, as if all that lies there now were what was written."""
    places = {}
    for path in sorted((root / "manifests").glob("*.json")):
        if path != root / RECORD:
            content = {key: value for key, value in json.loads(path.read_text()).items() if key != "seal"}
            content["files"] = {name: digest(root / name) for name in content["files"] if (root / name).is_file()}
            places[path] = Manifest(**content)
    outputs = {manifest.key: manifest.output for manifest in places.values()}
    for path, manifest in places.items():
        inputs = {key: outputs.get(key, output) for key, output in manifest.inputs.items()}
        path.write_text(Manifest(manifest.key, manifest.label, manifest.files, inputs, manifest.info).to_json())
    content = {key: value for key, value in json.loads((root / RECORD).read_text()).items() if key != "seal"}
    content["files"] = {name: digest(root / name) for name in content["files"]}
    content["config"] = content_key((root / "config.yaml").read_text())
    (root / RECORD).write_text(json.dumps({**content, "seal": content_key(content)}, indent=1))
