"""A results folder of as many rows as one likes, through the real plan and the real store; what is in the files is made up."""

from __future__ import annotations

import json
import os
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from advrun.config import loads
from advrun.metrics import softmax
from advrun.report import Gallery
from advrun.results import Result, Row, binomial_interval
from advrun.runs import index, runner
from advrun.runs.columns import aim, row
from advrun.runs.examples import write_examples
from advrun.runs.plan import Cell, Plan, make_plan
from advrun.runs.store import Store

IMAGES = 20
CONFIG = """
name: large
data: {{name: arrays, path: {data}}}
models: [{models}]
defenses: [{{name: gaussian_blur}}, {{name: median}}, {{name: jpeg}}, {{name: bit_depth}}]
attacks: [{attacks}]
seeds: [{seeds}]
train: {{batch_size: 16}}
results: {results}
"""
EPS = "[2/255, 4/255, 8/255, 12/255, 16/255]"


def write_config(folder: Path, models: int = 4, attacks: int = 11, seeds: int = 5) -> Path:
    """A configuration of `seeds * models * 9 * 5 * attacks` rows and a few clean ones: by default of 10,000."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (2 * IMAGES, 8, 8, 3), dtype=np.uint8), (np.arange(2 * IMAGES) % 4).astype(np.int32)
    np.savez(folder / "data.npz", x_train=x[:IMAGES], y_train=y[:IMAGES], x_test=x[IMAGES:], y_test=y[IMAGES:])
    text = CONFIG.format(
        data=folder / "data.npz",
        models=", ".join(f"{{name: mlp, label: mlp-{number}, width: {8 + number}}}" for number in range(models)),
        attacks=", ".join(f"{{name: pgd, label: pgd-{number}, eps: {EPS}, steps: {number + 1}}}" for number in range(attacks)),
        seeds=", ".join(map(str, range(seeds))),
        results=folder / "results",
    )
    (folder / "large.yaml").write_text(text)
    return folder / "large.yaml"


@contextmanager
def unsynchronised():
    """Without waiting for the disk."""
    sync, os.fsync = os.fsync, lambda descriptor: None
    try:
        yield
    finally:
        os.fsync = sync


def fill(config: Path, *, indexed: bool = True) -> int:
    """Finish every cell of the configuration, as a run does; returns how many rows there are."""
    experiment = loads(config.read_text(), name="large")
    plan, store = make_plan(experiment, runner.load_data(experiment)), runner.folder(experiment)
    with unsynchronised(), store.locked():
        if indexed:
            store.recall()
        for cell in plan.cells:
            store.finish(cell, *MAKE[cell.kind](plan, store, cell))
            store.adopt(cell)
        time.sleep(2 * index.SETTLED / 1e9)
        store.keep()
    return sum(cell.kind == "measure" for cell in plan.cells)


def _train(plan: Plan, store: Store, cell: Cell):
    curve = json.dumps({"loss": [1.0, 0.5], "val_accuracy": [0.6, 0.8]} if cell.defense is None else {})
    files = {f"models/{cell.stem}.keras": b"weights " + cell.key.encode(), f"models/{cell.stem}.json": curve.encode()}
    return _written(files), {"python": "3.11", "device": "CPU"}


def _attack(plan: Plan, store: Store, cell: Cell):
    x = np.asarray(plan.data.x_test[plan.data.evaluation_order()], np.float32) / 255
    arrays = {"x_adv": x, "attacked": np.ones(IMAGES, bool), "row": plan.data.evaluation_order()}
    info = {"gradients": 1.0 + plan.experiment.attacks.index(cell.attack), "queries": 1.0, "seconds": 0.5, "attacked": 1.0}
    return {f"examples/{cell.stem}.h5": partial(write_examples, arrays, cell.label)}, {**info, "zero_gradients": 0.0, "said": []}


def _measure(plan: Plan, store: Store, cell: Cell):
    """The larger eps, the more images are wrong; a few more or fewer by chance."""
    order, seed = plan.data.evaluation_order(), int(cell.key[:8], 16)
    rng = np.random.default_rng(seed)
    labels = plan.data.y_test[order]
    hard = np.random.default_rng(0).random(IMAGES) < 0.1 + 12 * (cell.eps or 0.0)
    predictions = np.where(hard ^ (rng.random(IMAGES) < 0.03), (labels + 1) % 4, labels).astype(np.int32)
    cost = {"gradients": 0.0, "queries": 0.0, "seconds": 0.0} | (dict(store.finished(cell.images).info) if cell.images else {})
    right = int((labels == predictions).sum())
    content = Row(n=IMAGES, accuracy=right / IMAGES, interval=binomial_interval(right, IMAGES), **row(cell, cost))
    result = Result(content, labels, predictions, np.full(IMAGES, cell.eps or 0.0, np.float32))
    files = {f"rows/{cell.stem}.json": result.to_json().encode()}
    if cell.images is None:
        return _written(files), {}
    return {**_written(files), f"rows/{cell.stem}.npz": _gallery(plan, cell, order, labels, predictions).write}, {}


def _gallery(plan: Plan, cell: Cell, order: np.ndarray, labels: np.ndarray, predictions: np.ndarray) -> Gallery:
    x = np.asarray(plan.data.x_test[order[:6]], np.float32) / 255
    sure = softmax(np.eye(4, dtype=np.float32)[:6].repeat(2, 0)[:6]).max(-1)
    ranks = np.arange(6), np.full(6, cell.eps or 0.0, np.float32), np.argsort(np.argsort(labels[:6] == predictions[:6], kind="stable"))
    return Gallery(
        *(cell.model.label, cell.defense_label, cell.attack_label, cell.threat, cell.seed, cell.eps, cell.norm, aim(cell)),
        *(x, np.clip(x + cell.eps, 0, 1), None, labels[:6], labels[:6], predictions[:6], sure, sure, *ranks),
    )


def _metric(plan: Plan, store: Store, cell: Cell):
    norms = ("linf", "l2", "l1", "l0")
    columns = {cell.metric: 0.5}
    if cell.metric == "distance":
        columns = {"fooled": 12.0, **dict.fromkeys((*norms, *(f"{norm}_median" for norm in norms)), 0.25)}
    elif cell.kind == "probe" or "noise" in cell.metric:
        columns = {}
    return _written({f"metrics/{cell.stem}.json": json.dumps(columns).encode()}), {}


def _written(files: dict[str, bytes]):
    return {name: partial(Path.write_bytes, data=content) for name, content in files.items()}


MAKE = {"train": _train, "attack": _attack, "measure": _measure, "metric": _metric, "probe": _metric}
