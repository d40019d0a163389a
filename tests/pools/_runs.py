"""Small runs, in this process and in others."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
MANY = SMALL | {"attacks": "[{name: pgd, eps: 24/255, steps: 20000, examples: 48}]", "batch": 2}
"""An attack of 24 batches, each of which takes longer than two checkpoints are apart: some are left when a second worker is ready."""


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


def together(*arguments: object) -> list[str]:
    """The same command, in whose run workers join each other at once, where anything is left."""
    code = "from advrun.runs import crew\nfrom advrun.cli import main\n\ncrew.WORTH = 1e-9\nmain()"
    return [sys.executable, "-c", code, *map(str, arguments)]


def events(folder: Path, kind: str) -> list[dict]:
    found = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines() if line.endswith("}")]
    return [event for event in found if event["event"] == kind]


def makers(folder: Path) -> set[int]:
    """The workers that have made a batch of a cell that several do together."""
    return {each["worker"] for each in events(folder, "batch")} if (folder / "log.jsonl").exists() else set()


def children(of: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        found += [int(stat.parent.name)] if parent == of else []
    return found


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(what: Callable[[], Any], run: subprocess.Popen, seconds: float = 240) -> Any:
    ends = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < ends
        assert run.poll() is None, run.returncode
        time.sleep(0.02)
    return found


def checkpoints(folder: Path, key: str = "*") -> dict[str, bytes]:
    """By cell and batch. Each says how many seconds its batch took, so no two are ever the same."""
    found = {}
    for file in folder.glob(f"partial/{key}/[0-9]*.npz"):
        try:
            found[f"{file.parent.name}/{file.name}"] = file.read_bytes()
        except FileNotFoundError:  # the cell is done by now
            continue
    return found
