"""A results folder that somebody else wrote, a model file that is damaged, a disk that is full: one line, and the run goes on."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from advrun.cli import main
from advrun.engine import keras
from advrun.files import content_key, digest
from advrun.models.cnn import cnn
from advrun.runs.examples import read_examples, write_examples

CONFIG = """
name: toy
data: {{name: arrays, path: {folder}/toy.npz}}
models: [{{name: file, path: {folder}/model.keras}}]
attacks: [{{name: fgsm, eps: 8/255, examples: 30}}]
results: {folder}/results
"""


def advrun(*arguments: object):
    return CliRunner().invoke(main, list(map(str, arguments)))


WRONG = ("{}", "[]", '{"key": 1, "files": [1]}', '{"files": {}}')
DAMAGES = ("null", "{}", "accuracy", "norm", "interval")
"""More of the same, for when there is time."""


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, toy_data) -> Path:
    """Data, a trained model, a configuration, and the results of a run."""
    folder = tmp_path_factory.mktemp("hostile")
    np.savez(folder / "toy.npz", x=toy_data.x_test, y=toy_data.y_test)
    keras.utils.set_random_seed(0)
    model = cnn((8, 8, 3), 4, width=4, blocks=1)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(toy_data.x_train / np.float32(255), toy_data.y_train, epochs=10, verbose=0)
    model.save(folder / "model.keras")
    (folder / "toy.yaml").write_text(CONFIG.format(folder=folder))
    run = advrun("run", folder / "toy.yaml")
    assert run.exit_code == 0, run.output
    return folder


@pytest.fixture
def results(workplace) -> Path:
    """The results folder; it is put back as it was."""
    folder, kept = workplace / "results/toy", workplace / "kept"
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(folder, kept)
    yield folder
    shutil.rmtree(folder)
    shutil.move(kept, folder)


def sealed(manifest: Path, name: str, results: Path) -> None:
    """Make a manifest agree with a file that was changed."""
    content = json.loads(manifest.read_text())
    del content["seal"]
    content["files"][name] = digest(results / name)
    manifest.write_text(json.dumps({**content, "seal": content_key(content)}))


def one(results: Path, pattern: str) -> Path:
    return next(results.glob(pattern))


def test_the_record_of_a_report_cannot_have_other_files_deleted(workplace, results):
    outside = workplace / "outside.txt"
    outside.write_text("mine")
    model = one(results, "models/*.keras")
    (results / "tables/link").symlink_to(workplace)
    (results / "figures/of-before.png").write_text("old")
    names = [
        str(outside),
        "../../outside.txt",
        f"models/{model.name}",
        "tables/link/outside.txt",
        "tables/../../../outside.txt",
        "log.jsonl",
        "",
    ]
    record = {"key": "of another report", "files": dict.fromkeys([*names, "figures/of-before.png"], "0")}
    (results / "manifests/report.json").write_text(json.dumps(record))
    run = advrun("report", workplace / "toy.yaml")
    assert run.exit_code == 0, run.output
    assert outside.read_text() == "mine"
    assert model.is_file()
    assert (results / "log.jsonl").is_file()
    assert not (results / "figures/of-before.png").exists()


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"key": 1, "files": {"a": 1}}', *(pytest.param(text, marks=pytest.mark.slow) for text in WRONG)]
)
def test_a_record_that_is_none_is_written_anew(workplace, results, text):
    record = results / "manifests/report.json"
    good = record.read_bytes()
    record.write_text(text)
    run = advrun("report", workplace / "toy.yaml")
    assert run.exit_code == 0, run.output
    assert record.read_bytes() == good


@pytest.mark.parametrize("damage", ["[" * 100_000, "labels", *(pytest.param(damage, marks=pytest.mark.slow) for damage in DAMAGES)])
def test_a_row_of_wrong_types_is_measured_again(workplace, results, damage):
    row = one(results, "rows/*fgsm*.json")
    good = row.read_bytes()
    content = json.loads(good)
    if damage == "labels":
        content["labels"] = ["a"] * 30
    elif damage in content["row"]:
        content["row"][damage] = {"accuracy": "high", "norm": "l7", "interval": None}[damage]
    row.write_text(json.dumps(content) if damage.isalpha() and damage != "null" else damage)
    sealed(results / "manifests" / row.name, f"rows/{row.name}", results)
    run = advrun("run", workplace / "toy.yaml")
    assert run.exit_code == 0, run.output
    assert "cannot be used" in run.output
    assert row.read_bytes() == good


def test_examples_of_other_images_are_made_again(workplace, results):
    file = one(results, "examples/*.h5")
    good = file.read_bytes()
    arrays = read_examples(file, (80, 8, 8, 3))
    write_examples({**arrays, "row": arrays["row"] + 1000}, "label", file)
    sealed(results / "manifests" / f"{file.stem}.json", f"examples/{file.name}", results)
    run = advrun("run", workplace / "toy.yaml")
    assert run.exit_code == 8
    assert "not to this data set" in run.output
    run = advrun("run", workplace / "toy.yaml")
    assert run.exit_code == 0, run.output
    assert file.read_bytes() == good


@pytest.mark.parametrize("name", ["tables", "figures", "rows", "partial"])
def test_a_folder_that_leads_elsewhere_is_refused_in_one_line(workplace, results, name):
    shutil.rmtree(results / name, ignore_errors=True)
    (results / name).symlink_to(workplace)
    before = sorted(path.name for path in workplace.iterdir())
    run = advrun("run", workplace / "toy.yaml")
    assert run.exit_code == 1
    assert run.output.splitlines()[-1].startswith(f"advrun: {results / name} is a link")
    assert sorted(path.name for path in workplace.iterdir()) == before
    (results / name).unlink()


def test_a_damaged_model_file_is_named_once_with_its_own_exit_code(workplace, tmp_path):
    content = (workplace / "model.keras").read_bytes()
    damaged = tmp_path / "damaged.keras"
    damaged.write_bytes(content[:-100])
    changes = [f"models=[{{name: file, path: {damaged}}}]", "seeds=[0, 1]", f"results={tmp_path}"]
    run = advrun("run", workplace / "toy.yaml", *(part for change in changes for part in ("--set", change)))
    assert run.exit_code == 5, run.output
    assert run.output.splitlines()[-1].startswith(f"advrun: --set models: models[0]: {damaged}: ")
    assert sum(str(damaged) in line for line in run.output.splitlines()) <= 2  # when it happens, and at the end
    assert "Traceback" not in run.output


FULL = """
import resource, signal, sys
from advrun.cli import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # what is too large is an error, as on a full disk
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("room", [4000, 16_000])
def test_a_run_on_a_full_disk_is_one_line_and_goes_on_when_there_is_room(workplace, tmp_path, room):
    """At first the model does not fit, then the examples."""
    command = ["run", str(workplace / "toy.yaml"), "--set", f"results={tmp_path}"]
    run = subprocess.run([sys.executable, "-c", FULL, str(room), *command], capture_output=True, text=True, check=False)
    assert run.returncode == 8, run.stderr
    assert "cannot be written (File too large)" in run.stderr.splitlines()[-1]
    assert "Traceback" not in run.stderr
    assert advrun(*command).exit_code == 0
    for name in ("examples/*.h5", "models/*.keras"):
        assert one(tmp_path / "toy", name).read_bytes() == one(workplace / "results/toy", name).read_bytes()
