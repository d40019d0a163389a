"""Small runs, in this process and in others."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from click.testing import CliRunner

from advrun.cli import main

CONFIG = """
name: toy
data: {{name: arrays, path: {data}, validation: 0.2}}
models: [{model}]
train: {{epochs: {epochs}, batch_size: 32, learning_rate: 1e-2}}
attacks: {attacks}
defenses: {defenses}
threats: {threats}
results: {results}
compute: {{batch_size: {batch}}}
"""
SMALL = {
    "model": "{name: mlp, width: 16, depth: 1}",
    "epochs": 1,
    "attacks": "[]",
    "defenses": "[]",
    "threats": "[none, adaptive]",
    "batch": 16,
}
LARGER = {
    "model": "{name: cnn, width: 4, blocks: 1}",
    "epochs": 2,
    "attacks": "[{name: fgsm, eps: [8/255, 24/255]}, {name: pgd, eps: 24/255, steps: 3, examples: 40}]",
    "defenses": "[{name: adversarial_training, attack: {name: fgsm, eps: 24/255}}]",
    "threats": "[none, static, adaptive]",
    "batch": 16,
}


def config(data: Path, results: str, settings: dict) -> Path:
    file = data.parent / f"{results}.yaml"
    file.write_text(CONFIG.format(data=data, results=data.parent / results, **settings))
    return file


def here(*arguments: object) -> str:
    run = CliRunner().invoke(main, list(map(str, arguments)))
    assert run.exit_code == 0, run.output
    return run.output


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "advrun", *map(str, arguments)]


def events(folder: Path, kind: str) -> list[dict]:
    found = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines() if line.endswith("}")]
    return [event for event in found if event["event"] == kind]
