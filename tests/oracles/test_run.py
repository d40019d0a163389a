"""A configuration whose model is a service: rows as of any other, a kill repeats nothing, and money is spent after --yes alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from advrun.cli import main
from advrun.results import Result

CONFIG = """
name: asked
data: {{name: arrays, path: {data}}}
models: [{{name: {model}}}]
attacks: {attacks}
results: {results}
compute: {{batch_size: 8}}
"""
IMPULSE = "[{name: impulse, queries: 4, density: 0.8}]"


def few(toy_data) -> tuple[np.ndarray, np.ndarray]:
    """Twelve test images of all classes."""
    step = len(toy_data.x_test) // 12
    return toy_data.x_test[::step][:12], toy_data.y_test[::step][:12]


@pytest.fixture(scope="session")
def toy_file(toy_data, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("asked") / "toy.npz"
    x, y = few(toy_data)
    names = np.array(toy_data.class_names)
    np.savez(path, x_train=toy_data.x_train, y_train=toy_data.y_train, x_test=x, y_test=y, class_names=names)
    return path


@pytest.fixture
def config(toy_file, tmp_path, service):
    def write(model: str, attacks: str = IMPULSE) -> Path:
        path = tmp_path / "asked.yaml"
        path.write_text(CONFIG.format(data=toy_file, model=model, attacks=attacks, results=tmp_path))
        return path

    return write


def advrun(*arguments: object):
    return CliRunner().invoke(main, list(map(str, arguments)))


def rows(folder: Path) -> dict[tuple[str, str], Result]:
    found = [Result.read(path) for path in (folder / "asked/rows").glob("*.json")]
    return {(each.row.attack, each.row.threat): each for each in found}


def test_a_service_is_measured_like_any_model(config, service, served, toy_data, tmp_path):
    path = config(f'tf_serving, url: "{service.url}", limits: {{budget: 500}}')
    run = advrun("run", path)
    assert run.exit_code == 0, run.output
    assert "asks     tf_serving: at most 84 images more; 0 of the budget of 500 are spent" in run.output
    measured = rows(tmp_path)
    clean, attacked = measured["clean", "none"], measured["impulse", "adaptive"]
    x, y = few(toy_data)
    assert clean.row.accuracy == (served.predict(x).argmax(-1) == y).mean()
    assert 0 < attacked.row.queries <= 4
    assert attacked.row.accuracy < clean.row.accuracy
    assert attacked.row.metrics["drift"] == 0
    assert "drifted" not in run.output
    sent = service.requests
    assert "every cell is finished" in advrun("run", path).output
    assert service.requests == sent


@pytest.mark.slow
def test_whatever_is_made_anew_is_asked_from_the_answers_that_are_there(config, service, tmp_path):
    path = config(f'tf_serving, url: "{service.url}", limits: {{budget: 500}}')
    assert advrun("run", path).exit_code == 0
    sent, attacked = service.requests, rows(tmp_path)["impulse", "adaptive"]
    for manifest in (tmp_path / "asked/manifests").iterdir():
        manifest.unlink()
    again = advrun("run", path)
    assert again.exit_code == 0, again.output
    assert service.requests == sent
    remade = rows(tmp_path)["impulse", "adaptive"]
    assert np.array_equal(remade.predictions, attacked.predictions)
    assert remade.row.queries == attacked.row.queries


def test_a_service_that_changes_is_flagged(config, service, tmp_path):
    """Also where the images are still right: what it answers is not what it answered."""
    path = config(f'tf_serving, url: "{service.url}"')
    assert advrun("train", path).exit_code == 0
    service.lies = True  # after the clean images
    run = advrun("run", path)
    assert run.exit_code == 0, run.output
    assert rows(tmp_path)["impulse", "adaptive"].row.metrics["drift"] == 1
    assert "drifted" in (tmp_path / "asked/tables/accuracy.csv").read_text()


def test_labels_of_its_own(config, service, served, toy_data, tmp_path):
    """The first label of a clean image is the true one; nothing is known of the data's classes."""
    path = config(f'google_vision, url: "{service.url}", max_labels: 4')
    run = advrun("run", path)
    assert run.exit_code == 0, run.output
    clean = rows(tmp_path)["clean", "none"]
    assert clean.row.accuracy == 1
    names = sorted(name.lower() for name in service.names)
    first = served.predict(few(toy_data)[0]).argmax(-1)
    assert sorted(names[number] for number in clean.labels) == sorted(service.names[number].lower() for number in first)
    assert rows(tmp_path)["impulse", "adaptive"].row.accuracy < 1


def test_labels_that_are_explained(config, service, tmp_path):
    labels = ", ".join(f'"{name} = {number}"' for number, name in enumerate(service.names))
    paths = "image_at: input.image, labels_at: result.list.*.name, scores_at: result.list.*.p"
    run = advrun("train", config(f'http, url: "{service.url}/classify", {paths}, labels: [{labels}]'))
    assert run.exit_code == 0, run.output
    assert rows(tmp_path)["clean", "none"].row.accuracy > 0.8


def test_money_is_spent_after_yes_alone(config, service):
    path = config(f'tf_serving, url: "{service.url}", limits: {{price: 2.0}}')
    refused = advrun("run", path)
    assert refused.exit_code == 3
    assert "up to 0.17 dollars, at 2 per 1,000; nothing was sent: give --yes to spend it" in refused.output
    assert not service.answered
    assert advrun("train", path, "--yes").exit_code == 0
    assert service.answered


@pytest.mark.slow
def test_a_budget_that_does_not_last(config, service):
    path = config(f'tf_serving, url: "{service.url}", limits: {{budget: 15}}')
    for _ in range(2):
        run = advrun("run", path)
        assert run.exit_code == 5
        assert "the budget of 15 images is spent" in run.output
    assert sum(service.answered.values()) <= 15
    assert advrun("run", path, "--set", "models.0.limits.budget=200").exit_code == 0  # a budget is in no key: all goes on
    assert max(service.answered.values()) <= 2  # once, and once more for drift


@pytest.mark.parametrize(
    ("attacks", "more", "text"),
    [
        ("[{name: pgd, eps: 8/255}]", (), "attack 'pgd' needs gradients, and model 'tf_serving' gives scores and no gradients"),
        (IMPULSE, ("--set", "defenses=[{name: autoencoder}]"), "defenses[0]: it needs a network, and model 'tf_serving' can only be"),
    ],
)
def test_what_needs_more_is_refused_before_anything_is_sent(attacks, more, text, config, service):
    path = config(f'tf_serving, url: "{service.url}"', attacks)
    for command in ("run", "check"):
        refused = advrun(command, path, *more)
        assert (refused.exit_code, text in refused.output) == (3, True), refused.output
        assert "\n" not in refused.output.strip()
    assert service.requests == 0


def test_check_says_what_is_there(config, service):
    away = advrun("check", config('tf_serving, url: "http://127.0.0.1:9"'))
    assert away.exit_code == 0
    assert "not reached  http://127.0.0.1:9/v1/models/model/metadata: the connection was refused" in away.output
    shown = advrun("check", config(f'tf_serving, url: "{service.url}"'))
    assert shown.exit_code == 0, shown.output
    for words in ("8 x 8 x 3, 8-bit pixels", "classes      4", "gives        scores", f"{service.url}/v1/models/model", "1,000 images"):
        assert words in shown.output
    assert service.requests == 0


@pytest.mark.slow
def test_killed_in_the_middle_of_a_run_nothing_is_asked_twice(config, service, tmp_path):
    path = config(f'tf_serving, url: "{service.url}", limits: {{budget: 5000}}', "[{name: square, eps: 8/255, queries: 60}]")
    service.pause = 0.05
    command = [sys.executable, "-m", "advrun", "run", str(path)]
    for answered in (20, 60):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while sum(service.answered.values()) < answered and process.poll() is None:
                time.sleep(0.05)
            os.kill(process.pid, signal.SIGKILL)
    service.pause = 0.0
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    drift = 12  # asked a second time on purpose
    twice = sum(count - 1 for count in service.answered.values())
    assert twice - drift <= 2 * 8  # at most the request that was under way at each kill, whose answers never came
    events = [json.loads(line)["event"] for line in (tmp_path / "asked/log.jsonl").read_text().splitlines()]
    assert events.count("run") == 3


@pytest.mark.slow
def test_examples_of_a_network_meet_a_service(config, service, victim, toy_data, tmp_path):
    """Attacks that need gradients are crafted on the network beside it alone, and the service is shown what they made."""
    victim.model.save(tmp_path / "own.keras")
    path = config(f'tf_serving, url: "{service.url}", limits: {{budget: 500}}', "[{name: fgsm, eps: 8/255}]")
    beside = ("--set", f"models=[{{name: tf_serving, url: '{service.url}'}}, {{name: file, label: own, path: {tmp_path / 'own.keras'}}}]")
    refused = advrun("check", path, *beside)
    assert refused.exit_code == 3
    assert "or craft it on a model of your own, by threats: [none, adaptive, transfer]" in refused.output
    run = advrun("run", path, *beside, "--set", "threats=[none, adaptive, transfer]")
    assert run.exit_code == 0, run.output
    assert "asks     tf_serving: at most 24 images more" in run.output
    found = [Result.read(each) for each in (tmp_path / "asked/rows").glob("*.json")]
    seen = {(each.row.model, each.row.attack, each.row.threat): each for each in found}
    assert ("tf_serving", "fgsm", "adaptive") not in seen
    own, crossed = seen["own", "fgsm", "adaptive"], seen["tf_serving", "fgsm", "transfer"]
    assert (crossed.row.source, crossed.row.access) == ("own", "blind")
    assert np.array_equal(crossed.predictions, own.predictions)  # the service is the same network, and FGSM stays on the grid of 8 bits
    assert service.requests
