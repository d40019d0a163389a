"""What a killed run has left of a cell is known from its checkpoints, and neither forecast again nor counted as fast work."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from advrun.config import AttackEntry, loads
from advrun.console import Bar, Console
from advrun.runs import runner
from advrun.runs.expected import LOADING, part
from advrun.runs.forecast import forecast, speeds
from advrun.runs.kept import kept, parts
from advrun.runs.log import events
from advrun.runs.plan import make_plan
from advrun.train import classification
from tests.test_train import Fatal, Killed, make_fit, small


class Stopped(Console):
    """A console at which somebody types Ctrl-C when so many images of an attack are done."""

    def __init__(self, images: int) -> None:
        super().__init__(quiet=True)
        self.images = images

    def show(self, label: str, total: int, **more) -> Bar:
        bar = super().show(label, total, **more)
        advance = bar.advance

        def told(count: int = 1, note: str = "") -> None:
            advance(count, note)
            if label.startswith("attack") and bar.done >= self.images:
                raise KeyboardInterrupt

        bar.advance = told
        return bar


@pytest.mark.slow
def test_an_attack_that_was_interrupted_costs_what_is_left_of_it(toy_run, tmp_path, monkeypatch):
    monkeypatch.setattr("advrun.checkpoints.CHECKPOINT_SECONDS", 0.0)
    text = toy_run.read_text().replace(str(toy_run.parent / "results"), str(tmp_path))
    attack = "attacks=[{name: noise, norm: linf, eps: 24/255}]"
    experiment = loads(text, [attack, "compute.batch_size=8"])
    store, plan = runner.folder(experiment), make_plan(experiment, runner.load_data(experiment))
    cell = next(cell for cell in plan.cells if cell.kind == "attack")
    cells = (*cell.needs, cell)
    with pytest.raises(KeyboardInterrupt):
        runner.computed(plan, cells, store, Stopped(32), fail_fast=False)
    images = len(plan.data.y_test)
    share = kept(cell, plan, store.root)
    assert 24 / images <= share <= 32 / images  # one batch may be lost; those that are wrong without it are no batch
    (whole,), (left,) = [part(cell, plan)], parts([cell], plan, store.root)
    assert left.left == pytest.approx(LOADING + (whole.work - LOADING) * (1 - share))
    seconds = forecast(plan, [cell], store, 1).seconds[cell.key]
    known = speeds(store)[0].measured()
    assert seconds == pytest.approx(left.left * known[0] / known[1])
    assert runner.computed(plan, cells, store, Console(quiet=True), fail_fast=False) is None
    (done,) = [each for each in events(store.root, "done") if each["cell"] == cell.label]
    assert done["work"] == pytest.approx(whole.work * (images - 32) / images, rel=0.1)
    assert 0 < done["timed"] <= done["seconds"]
    assert speeds(store)[0].measured(f"attack noise {cell.model.label} none") == (done["timed"], done["work"])
    assert parts([cell], plan, store.root) == [whole]


def test_a_training_that_was_killed_costs_the_epochs_that_are_left(toy_data, tmp_path, monkeypatch):
    monkeypatch.setattr("advrun.checkpoints.CHECKPOINT_SECONDS", 0.0)
    plan = make_plan(loads("models: [{name: cnn}]\ntrain: {epochs: 6, batch_size: 32}\n"), toy_data)
    cell = plan.cells[0]
    model, fit = small(), make_fit(toy_data, tmp_path / "partial" / cell.key)
    fit.console = Fatal(2 * 4 + 2)
    with pytest.raises(Killed):
        fit(model, classification(model))
    assert kept(cell, plan, tmp_path) == pytest.approx(5 / 6)
    (left,) = parts([cell], plan, tmp_path)
    assert left.model == "cnn"
    assert left.left == pytest.approx(LOADING + (left.work - LOADING) / 6)
    partial = tmp_path / "partial" / cell.key
    (partial / "fit-purifier.npz").write_bytes(b"damaged")
    assert kept(cell, plan, tmp_path) == pytest.approx(5 / 6 / 2)


def test_a_training_between_its_two_stages_is_half_done(toy_data, tmp_path, monkeypatch):
    """Of distillation the teacher is trained, and the student not begun: its checkpoint is of all epochs, and alone."""
    monkeypatch.setattr("advrun.checkpoints.CHECKPOINT_SECONDS", 0.0)
    plan = make_plan(loads("models: [{name: cnn}]\ntrain: {epochs: 6, batch_size: 32}\n"), toy_data)
    cell = plan.cells[0]
    model, fit = small(), make_fit(toy_data, tmp_path / "partial" / cell.key)
    fit(model, classification(model))
    assert (tmp_path / "partial" / cell.key / "fit-model.npz").is_file()
    assert kept(cell, plan, tmp_path) == pytest.approx(1 / 2)


@pytest.mark.parametrize(
    ("names", "attack", "share"),
    [
        (["0-4", "4-4", "4-2", "fit", "fit-critic", "end", "elsewhere"], {"name": "pgd", "norm": "linf"}, 0.8),
        (["stage0-0-10", "stage1-0-4", "stage1-4-2"], {"name": "autoattack", "norm": "linf"}, 0.4),
        (["target0-0-4", "target1-0-6"], {"name": "pgd", "norm": "linf", "target": "all"}, 0.25),
        (["0-999999999"], {"name": "pgd", "norm": "linf"}, 1.0),
        ([], {"name": "pgd", "norm": "linf"}, 0.0),
    ],
)
def test_batches_are_told_by_their_names(tmp_path: Path, toy_data, names, attack, share):
    settings = loads(f"attacks: [{json.dumps({'name': attack['name'], 'eps': 0.1})}]").attacks[0].settings
    entry = AttackEntry(label="a", settings=settings, eps=(0.1,), examples=10, **attack)
    plan = make_plan(loads("models: [{name: cnn}]\n"), toy_data)
    cell = replace(plan.cells[0], kind="attack", attack=entry, eps=0.1)
    for name in names:
        place = tmp_path / "partial" / cell.key / f"{name}.npz"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"")
    assert kept(cell, plan, tmp_path) == pytest.approx(share)
