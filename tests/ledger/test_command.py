"""`advrun ledger` as a user types it: results folders, files of other tools, and the column that comes of it."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from click.testing import CliRunner

from advrun import Classifier
from advrun.cli import main
from advrun.closest import Closest, Example, unit
from advrun.config import load
from advrun.data import Dataset
from advrun.errors import ModelError
from advrun.identity import key_of
from advrun.ledger.taken import Judge, refuse_random
from advrun.results import Result
from advrun.runs import runner
from advrun.runs.loading import load_data
from advrun.system.modelfile import save_model
from advrun.system.stages import Chain, Purifier
from advrun.verify.whole import verify
from tests._finished import finished, reseal
from tests.ledger.test_folder import tree


def advrun(*arguments):
    return CliRunner().invoke(main, [str(each) for each in arguments])


@pytest.fixture(scope="module")
def filled(toy_run, tmp_path_factory) -> Path:
    """The ledger of the toy run."""
    folder = tmp_path_factory.mktemp("ledger") / "ledger"
    said = advrun("ledger", "add", folder, toy_run.parent / "results/toy", "--json")
    assert said.exit_code == 0, said.output
    counts = json.loads(said.stdout)
    assert counts["kept"] == counts["offered"] > 10
    return folder


@pytest.fixture(scope="module")
def tool(victim: Classifier, toy_data: Dataset, tmp_path_factory) -> Path:
    """A Keras file with a softmax, as somebody else keeps the same classifier, and what a tool of theirs found in 20 images."""
    folder = tmp_path_factory.mktemp("tool")
    network = keras.Model(victim.model.inputs, keras.layers.Softmax()(victim.model.outputs[0]), name="theirs")
    network.save(folder / "theirs.keras")
    x, y = toy_data.x_test[:20], toy_data.y_test[:20]
    x_adv = np.clip(1 - x / 255, 0, 1).astype(np.float32)
    np.savez(folder / "found.npz", x=x / 255, x_adv=x_adv, y=y)
    return folder


def test_it_knows_what_the_run_found(filled, toy_run):
    said = json.loads(advrun("ledger", "show", filled, "--json").stdout)
    results = [Result.read(path) for path in (toy_run.parent / "results/toy/rows").glob("*.json")]
    (entry,) = said  # noise fools nothing
    (row,) = (each for each in results if each.row.norm == "l2")
    moved = row.distances[~row.correct & (row.distances > 0)]
    assert entry["images"] == len(moved) > 5
    assert entry["median"] == pytest.approx(float(np.median(moved)), rel=1e-5)
    assert entry["names"] == ["toy: net seed 0"]
    again = advrun("ledger", "add", filled, toy_run.parent / "results/toy", "--json")
    assert json.loads(again.stdout)["kept"] == 0


def test_a_file_of_another_tool_meets_the_entries_of_the_same_classifier(filled, tool, toy_run, victim, tmp_path):
    """Whose softmax was cut off, and whose layers are called otherwise."""
    folder = shutil.copytree(filled, tmp_path / "ledger")
    kept = next((toy_run.parent / "results/toy/models").glob("*.keras"))
    assert Judge.of_file(tool / "theirs.keras").key == key_of(kept) == Judge.of_file(kept).key == Closest(folder).systems[0]
    before = Closest(folder).places(Closest(folder).systems[0], "l2")
    said = advrun("ledger", "add", folder, tool / "found.npz", "--model", tool / "theirs.keras", "--norm", "L2", "--json")
    counts = json.loads(said.stdout)
    ledger = Closest(folder)
    (system,) = ledger.systems
    after = ledger.places(system, "l2")
    assert said.exit_code == (11 if counts["refused"] else 0)
    assert counts["offered"] == 20 == counts["kept"] + counts["farther"] + counts["needless"] + counts["unsure"] + len(counts["refused"])
    assert len(after) == len(before) + counts["kept"]  # far as they are, they are news of images that the run left standing
    assert all(after[image] == place for image, place in before.items())
    assert ledger.names(system) == ["theirs.keras", "toy: net seed 0"]


def test_what_is_replaced_within_a_command_is_not_kept(tool, tmp_path):
    """Examples of one image in two files: the nearer one stays, whichever comes first."""
    with np.load(tool / "found.npz") as content:
        x, x_adv, y = (content[name] for name in ("x", "x_adv", "y"))
    np.savez(tmp_path / "nearer.npz", x=x, x_adv=x + np.float32(0.95) * (x_adv - x), y=y)
    files = [tool / "found.npz", tmp_path / "nearer.npz"]
    for name, order in (("first", files), ("last", files[::-1])):
        said = advrun("ledger", "add", tmp_path / name, *order, "--model", tool / "theirs.keras", "--norm", "linf", "--json")
        counts = json.loads(said.stdout)
        (shown,) = json.loads(advrun("ledger", "show", tmp_path / name, "--json").stdout)
        assert counts["kept"] == shown["images"] > 5
        assert counts["offered"] == 40 == sum(counts[each] for each in ("kept", "farther", "needless", "unsure")) + len(counts["refused"])


def test_other_weights_are_another_system(victim, tmp_path):
    network = keras.models.clone_model(victim.model)
    save_model(victim.model, tmp_path / "one.keras")
    save_model(network, tmp_path / "other.keras")
    wider = keras.Sequential([keras.Input(victim.image_shape), keras.layers.Flatten(), keras.layers.Dense(4, activation="relu", name="a")])
    save_model(wider, tmp_path / "relu.keras")
    linear = keras.Sequential([keras.Input(victim.image_shape), keras.layers.Flatten(), keras.layers.Dense(4, activation="elu", name="a")])
    linear.set_weights(wider.get_weights())
    save_model(linear, tmp_path / "elu.keras")
    assert len({key_of(tmp_path / f"{name}.keras") for name in ("one", "other", "relu", "elu")}) == 4


def false_ones(tool: Path, place: Path) -> dict[str, str]:
    """A file in which five examples of other tools are wrong, each in its own way; what a line says of each."""
    with np.load(tool / "found.npz") as arrays:
        x, x_adv, y = (arrays[name] for name in ("x", "x_adv", "y"))
    x_adv[0, 0, 0, 0] = 1.25
    x_adv[1, 0, 0, 0] = np.nan
    x_adv[2] = x[2]
    np.savez(place, x=x, x_adv=x_adv, y=y, norm="l2")
    return {"image 0 with pixels from": "0 to 1", "image 1 with pixels from": "0 to 1", "that image 2 fools": "another class"}


def test_what_is_false_is_refused_by_a_line_each(tool, tmp_path):
    expected = false_ones(tool, tmp_path / "false.npz")
    said = advrun("ledger", "add", tmp_path / "ledger", tmp_path / "false.npz", "--model", tool / "theirs.keras", "-v")
    assert said.exit_code == 11
    for says, should in expected.items():
        (line,) = (line for line in said.output.splitlines() if says in line)
        assert line.startswith(f"{tmp_path}/false.npz: says")
        assert line.endswith(f"should say {should}")
    (kept,) = json.loads(advrun("ledger", "show", tmp_path / "ledger", "--json").stdout)
    assert (kept["norm"], kept["images"]) == ("l2", int(said.output.split("ledger: ")[1].split(" of ")[0]))
    assert kept["images"] > 5
    asked = advrun("ledger", "verify", tmp_path / "ledger", "--model", tool / "theirs.keras")
    assert (asked.exit_code, asked.output.split(": ")[-1]) == (0, f"{kept['images']} examples\n")


def test_a_wrong_class_of_the_true_one_is_no_example(tool, tmp_path):
    """Whoever says that an image is of another class than the system, which is right, has no example of it."""
    with np.load(tool / "found.npz") as arrays:
        np.savez(tmp_path / "wrong.npz", x=arrays["x"], x_adv=arrays["x"], y=(arrays["y"] + 1) % 4)
    said = advrun("ledger", "add", tmp_path / "ledger", tmp_path / "wrong.npz", "--model", tool / "theirs.keras", "--norm", "l2", "--json")
    counts = json.loads(said.stdout)
    assert counts["kept"] == 0
    assert counts["needless"] > 15
    assert "theirs.keras has most of the clean images wrong" in counts["notes"][0]
    assert not (tmp_path / "ledger").exists()


@pytest.mark.parametrize(
    ("arrays", "arguments", "code", "line"),
    [
        ({}, ["--norm", "l2"], 4, "no x_adv; expected an .npz file with x, x_adv"),
        ({"x_adv": np.zeros((20, 8, 8, 1), np.float32)}, ["--norm", "l2"], 4, "x_adv is float32 (20, 8, 8, 1); expected uint8, or float"),
        ({"x_adv": np.zeros((20, 8, 8, 3), np.float32)}, [], 4, "say --norm linf or l2"),
        ({"x": np.zeros((20, 8, 8, 3)) + 200, "x_adv": np.zeros(1)}, ["--norm", "l2"], 4, "pixels run from 200 to 200"),
        ({"y": np.zeros(3, int), "x_adv": np.zeros(1)}, ["--norm", "l2"], 4, "labels are int64 (3,)"),
    ],
)
def test_a_file_that_is_none_is_one_line(tool, tmp_path, arrays, arguments, code, line):
    with np.load(tool / "found.npz") as found:
        np.savez(tmp_path / "bad.npz", **({name: found[name] for name in ("x", "y")} | arrays))
    said = advrun("ledger", "add", tmp_path / "ledger", tmp_path / "bad.npz", "--model", tool / "theirs.keras", *arguments)
    assert said.exit_code == code
    assert line in said.output
    assert len(said.output.splitlines()) == 1
    assert not (tmp_path / "ledger").exists()


def test_what_is_not_there_is_one_line(tool, tmp_path):
    assert "no such file" in advrun("ledger", "add", tmp_path / "l", tmp_path / "gone.npz", "--model", tool / "theirs.keras").output
    assert "by --model FILE" in advrun("ledger", "add", tmp_path / "l", tool / "found.npz").output
    assert "no results folder" in advrun("ledger", "add", tmp_path / "l", tool).output
    assert "begins one" in advrun("ledger", "show", tmp_path / "l").output


def test_a_folder_whose_examples_are_others_is_refused(toy_run, tmp_path):
    """However its seals were made anew."""
    shutil.copytree(toy_run.parent / "results/toy", tmp_path / "toy")
    (path,) = (tmp_path / "toy/examples").glob("*fmn*.h5")
    with h5py.File(path, "r+") as file:
        with h5py.File(next((tmp_path / "toy/examples").glob("*noise*.h5"))) as other:
            file["x_adv"][:] = (file["x_adv"][:] + 3 * other["x_adv"][: len(file["x_adv"])]) / 4  # neither what was found, nor clean
        file["x_adv"][0] = 0.5
    reseal(tmp_path / "toy")
    said = advrun("ledger", "add", tmp_path / "ledger", tmp_path / "toy", "-v")
    assert said.exit_code == 11
    assert "fools net seed 0, which calls it class" in said.output


def test_a_system_that_draws_is_no_judge(victim):
    drawing = Classifier(Chain(victim.model).behind(Purifier(lambda x, rng: x + rng.normal(x.shape), random=True)), name="noisy")
    with pytest.raises(ModelError, match="noisy: draws at random, so one answer tells nothing"):
        refuse_random(drawing, drawing.name)


@pytest.mark.slow
def test_systems_that_draw_are_left_out_and_those_of_stages_are_not(victim, toy_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stages")
    config = finished(folder, victim, toy_data, "[{name: median, size: 3}, {name: random_resize_pad}]")
    said = advrun("ledger", "add", folder / "ledger", folder / "results/toy")
    assert said.exit_code == 0, said.output
    assert "net random_resize_pad seed 0: draws at random" in said.stderr
    ledger = Closest(folder / "ledger")
    assert sorted(name for system in ledger.systems for name in ledger.names(system)) == ["toy: net median seed 0", "toy: net seed 0"]
    models = [path for path in (folder / "results/toy/models").iterdir() if path.suffix in (".keras", ".npz") and "random" not in path.name]
    asked = advrun("ledger", "verify", folder / "ledger", *(word for path in models for word in ("--model", path)))
    assert (asked.exit_code, asked.stderr) == (0, ""), asked.output
    runner.run(load(config, [f"ledger={folder / 'ledger'}"]), compute=False)
    table = list(csv.DictReader((folder / "results/toy/tables/accuracy.csv").open()))
    told = {(row["defense"], row["attack"], row["threat"]): row["optimality"] for row in table}
    assert told["none", "fmn", "adaptive"] == "1.0"  # nobody was nearer
    assert told["median", "noise", "static"] != ""
    assert {value for (defense, *_), value in told.items() if defense == "random_resize_pad"} == {""}


def half_known(toy_run: Path, place: Path) -> tuple[Path, Result, Path]:
    """A copy of the toy run, its row of FMN, and a ledger with images at half of the distances; that they are examples is not asked."""
    folder = shutil.copytree(toy_run.parent, place / "toy")
    config = folder / "toy.yaml"
    config.write_text(config.read_text().replace(str(toy_run.parent), str(folder)))
    (row,) = (Result.read(path) for path in (folder / "results/toy/rows").glob("*fmn*.json"))
    with np.load(folder / "toy.npz") as arrays:
        x = arrays["x"][load_data(load(config)).evaluation_order()[: row.row.n]]
    system = key_of(next((folder / "results/toy/models").glob("*.keras")))
    moved = [(np.where(unit(each) > 0.5, -1, 1) / np.sqrt(each.size)).astype(np.float32) for each in x]  # of length 1, into the box
    fooled = np.flatnonzero(row.distances > 0)
    examples = [Example(system, "l2", x[each], unit(x[each]) + moved[each] * row.distances[each] / 2, 0) for each in fooled]
    assert Closest(folder / "ledger").add(examples) == len(fooled)
    return config, row, folder / "ledger"


def test_the_report_says_how_near_the_best_an_attack_has_come_and_ci_fails_where_it_became_weaker(toy_run, tmp_path):
    """Half of the distance is known of every image that FMN fooled: so its area is what the formula says; and verify needs no ledger."""
    config, row, ledger = half_known(toy_run, tmp_path)
    results = config.parent / "results/toy"
    said = advrun(
        "report", config, "--ledger", ledger, "--fail-under", "none/fmn: optimality 0.999", "--fail-under", "none/fmn: optimality 0"
    )
    assert said.exit_code == 12, said.output
    moved = row.distances[row.distances > 0].astype(float)
    expected = np.maximum(moved.max() / 2 - moved, 0).sum() / (moved.max() / 2 - moved / 2).sum()
    (line,) = (each for each in csv.DictReader((results / "tables/accuracy.csv").open()) if each["attack"] == "fmn")
    assert float(line["optimality"]) == pytest.approx(expected, rel=1e-4)
    shown = f"net / none, fmn L2, adaptive: optimality {100 * expected:.1f} %"
    assert f"'none/fmn: optimality 0.999': {shown} is under 99.9 %" in said.stderr
    assert f"'none/fmn: optimality 0': {shown} holds" in said.stdout
    assert '<th scope="col">optimality, %</th>' in (results / "report.html").read_text()
    shutil.rmtree(ledger)
    assert verify(results, quick=True).minutes.found == []
    nearest = results / "nearest.json"
    content = json.loads(nearest.read_text())
    nearest.write_text(json.dumps(content["known"]))  # as before there were seals
    minutes = verify(results, quick=True).minutes
    assert not minutes.found
    assert ["nearest.json" in note for note in minutes.notes].count(True) == 1
    content["known"][0]["distances"][0] = 1e-9
    nearest.write_text(json.dumps(content))
    assert "nearest.json: says what does not belong to its seal (changed by hand)" in str(verify(results, quick=True).minutes.found[0])


def test_merging_by_the_command_line(filled, tool, tmp_path):
    advrun("ledger", "add", tmp_path / "b", tool / "found.npz", "--model", tool / "theirs.keras", "--norm", "l2", "--norm", "linf")
    for order in (("a", "b"), ("b", "a")):
        shutil.copytree(filled, tmp_path / "a", dirs_exist_ok=True)
        said = advrun("ledger", "merge", tmp_path / "".join(order), *(tmp_path / name for name in order))
        assert said.exit_code == 0, said.output
    assert tree(tmp_path / "ab") == tree(tmp_path / "ba") != tree(filled)
