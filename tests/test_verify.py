"""`advrun verify`: an honest folder passes, and whatever is changed in one is found, also where every seal was made anew."""

from __future__ import annotations

import base64
import json
import random
import re
import shutil
import zlib
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from advrun.cli import main
from advrun.errors import DataError, ModelError
from advrun.report.album import packed
from advrun.results import Result, binomial_interval
from advrun.runs.manifest import Manifest
from advrun.system.modelfile import load_model, save_model
from advrun.verify.pages import difference
from advrun.verify.whole import verify
from tests._finished import finished, reseal


@pytest.fixture
def folder(toy_run, tmp_path) -> Path:
    """A copy of the results folder."""
    return copied(toy_run, tmp_path)


def copied(config: Path, place: Path) -> Path:
    shutil.copytree(config.parent / "results/toy", place / "toy")
    return place / "toy"


def found(root: Path, **how) -> list[str]:
    """One line for each thing that is found."""
    return list(map(str, verify(root, **how).minutes.found))


def one(root: Path, pattern: str) -> Path:
    return sorted(root.glob(pattern))[0]


def rewrite(path: Path, change) -> None:
    """A measured row with other outcomes or columns."""
    path.write_text(change(Result.read(path)).to_json())


# What an editor, or a disk, does: the seals are as they were ------------------------------------------------------------


def pixel(root: Path) -> str:
    path = one(root, "examples/*noise*.h5")
    with h5py.File(path, "r+") as file:
        file["x_adv"][3, 2, 1, 0] = np.float32(file["x_adv"][3, 2, 1, 0] < 0.5)
    return path.relative_to(root).as_posix()


def label(root: Path) -> str:
    path = one(root, "rows/*noise*.json")
    rewrite(path, lambda result: replace(result, labels=np.roll(result.labels, 1)))
    return path.relative_to(root).as_posix()


def accuracy(root: Path) -> str:
    path = one(root, "rows/*fmn*.json")
    rewrite(path, lambda result: replace(result, row=replace(result.row, accuracy=0.75)))
    return path.relative_to(root).as_posix()


def cell_of_a_table(root: Path) -> str:
    path = root / "tables/accuracy.csv"
    lines = path.read_text().split("\n")
    names = lines[0].split(",")
    numbers = lines[2].split(",")
    numbers[names.index("accuracy")] = "0.9375"
    path.write_text("\n".join([*lines[:2], ",".join(numbers), *lines[3:]]))
    return "tables/accuracy.csv"


def number_on_the_page(root: Path) -> str:
    path = root / "report.html"
    text = path.read_text()
    place = text.index('<table class="full"')
    path.write_text(text[:place] + re.sub(r"<td>\d+\.\d</td>", "<td>99.9</td>", text[place:], count=1))
    return "report.html"


def image_on_the_page(root: Path) -> str:
    """Another change of an image, deflated as it should be."""
    path = root / "report.html"
    text = path.read_text()
    place = text.index('"change":["z:') + len('"change":["')
    end = text.index('"', place)
    content = bytearray(zlib.decompress(base64.b64decode(text[place + 2 : end])))
    content[0] ^= 1
    path.write_text(text[:place] + packed(bytes(content)) + text[end:])
    return "report.html"


def manifest(root: Path) -> str:
    path = one(root, "manifests/*fmn*.json")
    path.write_text(path.read_text().replace('"label": "', '"label": "another ', 1))
    return path.relative_to(root).as_posix()


def weight(root: Path) -> str:
    path = one(root, "models/*.keras")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    return path.relative_to(root).as_posix()


def configuration(root: Path) -> str:
    path = root / "config.yaml"
    path.write_text(path.read_text().replace("steps: 5", "steps: 50"))
    return "config.yaml"


def record(root: Path) -> str:
    path = root / "manifests/report.json"
    path.write_text(path.read_text().replace('"key": "', '"key": "0', 1))
    return "manifests/report.json"


def figure(root: Path) -> str:
    path = one(root, "figures/*.png")
    path.write_bytes(path.read_bytes() + b"\0")
    return path.relative_to(root).as_posix()


KINDS = (pixel, label, accuracy, cell_of_a_table, number_on_the_page, image_on_the_page, manifest, weight, configuration, record, figure)


@pytest.mark.parametrize("tamper", KINDS, ids=lambda tamper: tamper.__name__)
def test_what_was_changed_is_found_and_named(folder, tamper):
    name = tamper(folder)
    assert any(line.startswith(name) for line in found(folder, quick=True))


def flip(root: Path, draw: random.Random) -> str:
    """One bit of one byte of one file that a reader may look at."""
    files = sorted(path for path in root.rglob("*") if path.is_file() and path.name not in ("log.jsonl", ".lock", ".owner"))
    path = draw.choice([draw.choice([each for each in files if each.parent == parent]) for parent in {each.parent: 0 for each in files}])
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(bytes(content))
    return path.relative_to(root).as_posix()


@pytest.mark.parametrize("seed", [*range(6), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(6, 200))])
def test_no_byte_can_be_changed_unseen(folder, seed):
    name = flip(folder, random.Random(seed))
    lines = found(folder, quick=True)
    assert any(line.startswith(name) for line in lines), (name, lines)


# What somebody does who knows how seals are made: all of them are made anew ----------------------------------------------


def other_eps(root: Path) -> str:
    path = one(root, "rows/*noise*.json")
    rewrite(path, lambda result: replace(result, row=replace(result.row, eps=8 / 255)))
    return path.relative_to(root).as_posix()


def lost_images(root: Path) -> str:
    """The row of an attack goes, so that the worst case looks better."""
    for path in root.glob("*/*noise*"):
        if path.parent.name != "figures":
            path.unlink()
    return "tables/summary.md"


RESEALED = (label, accuracy, cell_of_a_table, other_eps, lost_images)


@pytest.mark.parametrize("tamper", RESEALED, ids=lambda tamper: tamper.__name__)
def test_new_seals_do_not_hide_a_number_that_follows_from_others(folder, tamper):
    name = tamper(folder)
    reseal(folder)
    assert any(line.startswith(name) for line in found(folder, quick=True))


def better(root: Path) -> str:
    """Two images more that were right, and everything that follows from it."""
    path = one(root, "rows/*fmn*.json")

    def change(result: Result) -> Result:
        predictions = result.predictions.copy()
        predictions[np.flatnonzero(~result.correct)[:2]] = result.labels[np.flatnonzero(~result.correct)[:2]]
        right = int((predictions == result.labels).sum())
        row = replace(result.row, accuracy=right / result.row.n, interval=binomial_interval(right, result.row.n))
        return replace(result, predictions=predictions, row=row)

    rewrite(path, change)
    place = next(root.glob(f"manifests/{path.stem}.json"))
    content = json.loads(place.read_text())
    content["info"]["accuracy"] = Result.read(path).row.accuracy
    del content["seal"]
    place.write_text(Manifest(**content).to_json())
    return path.relative_to(root).as_posix()


def nearer(root: Path) -> str:
    """A mean distance that is smaller than it was measured."""
    path = one(root, "metrics/*fmn*distance*.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "l2": 0.01}))
    return path.relative_to(root).as_posix()


def test_a_record_of_another_version_is_a_note_and_one_of_other_images_a_finding(folder):
    path = folder / "record.json"
    content = json.loads(path.read_text())
    content["code"] |= {"work/bound": "0" * 32, "datasets/other": "1" * 32}
    path.write_text(json.dumps(content, separators=(",", ":")))
    run = CliRunner().invoke(main, ["verify", str(folder), "--quick"])
    assert run.exit_code == 0, run.output
    assert (
        "record.json: the last run was of another version of advrun; since then its code has changed: datasets/other, work/bound"
        in run.output
    )
    content["labels"][0] += 1
    path.write_text(json.dumps(content, separators=(",", ":")))
    run = CliRunner().invoke(main, ["verify", str(folder), "--quick"])
    assert run.exit_code == 11
    assert "record.json" in run.output


def test_an_honest_folder_passes_and_everything_that_is_resealed_is_found_by_asking_again(toy_run, folder):
    run = CliRunner().invoke(main, ["verify", str(folder)])
    assert run.exit_code == 0, run.output
    assert re.search(r"^verified: 122 examples of \d+ cells, 7 tables\nfingerprint: [0-9a-f]{32}$", run.stdout, re.MULTILINE)
    names = [tamper(folder) for tamper in (pixel, better, nearer, number_on_the_page)]
    reseal(folder)
    run = CliRunner().invoke(main, ["verify", str(folder), "--json", "--model", str(toy_run.parent / "net.keras")])
    assert run.exit_code == 11
    said = json.loads(run.stdout)
    assert not said["verified"]
    for name in names:
        assert any(entry["file"].partition(":")[0] == name for entry in said["found"]), name
    ball = next(entry for entry in said["found"] if entry["file"] == names[0])
    assert "image 3" in ball["says"]
    answer = next(entry for entry in said["found"] if entry["file"] == names[1])
    assert re.fullmatch(r"class \d for image \d+ \(and 1 more\)", answer["says"])


def test_a_page_that_another_zlib_packed_is_the_same(folder):
    path = folder / "report.html"
    path.write_text(re.sub(r'"z:([^"]+)"', lambda match: f'"z:{stored(match[1])}"', path.read_text()))
    reseal(folder)
    assert found(folder, quick=True) == []


def stored(text: str) -> str:
    return base64.b64encode(zlib.compress(zlib.decompress(base64.b64decode(text)), 0)).decode()


@pytest.mark.slow
def test_a_number_on_the_page_is_told_with_its_line(folder):
    number_on_the_page(folder)
    reseal(folder)
    (line,) = found(folder)
    assert re.fullmatch(r"report\.html:\d+: says '99\.9'; should say '\d+\.\d'", line)


@pytest.mark.slow
def test_another_image_on_the_page_is_found_when_the_page_is_made_again(folder):
    name = image_on_the_page(folder)
    reseal(folder)
    assert any(line.startswith(name) for line in found(folder))


@pytest.mark.slow
def test_another_model_is_found_by_asking_it(folder, toy_run, tmp_path):
    """Also where its file is swapped, or altered, and everything is sealed anew."""
    model = load_model(toy_run.parent / "net.keras")
    model.set_weights([np.flip(weight) for weight in model.get_weights()])
    save_model(model, tmp_path / "other.keras")
    lines = found(folder, model=tmp_path / "other.keras")
    assert any(line.startswith("rows/") and "says" in line for line in lines)
    shutil.copy(tmp_path / "other.keras", one(folder, "models/*.keras"))
    reseal(folder)
    assert any(line.startswith("rows/") for line in found(folder))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_purifiers_random_ones_too_are_asked_again(tmp_path, victim, toy_data, seed):
    config = finished(tmp_path, victim, toy_data, "[{name: bit_depth, bits: 3}, {name: random_resize_pad}]")
    root = tmp_path / "results/toy"
    assert found(root) == []
    better(root)
    reseal(root)
    assert any(line.startswith("rows/") for line in found(root)), config


# A folder of somebody else ------------------------------------------------------------------------------------------------


def test_without_the_data_set_or_a_configuration_of_today_the_rest_is_verified(folder, toy_run):
    text = (folder / "config.yaml").read_text()
    moved = toy_run.parent / "elsewhere.npz"
    said = verify(folder, quick=True, overrides=[f"data.path={moved}"]).minutes
    assert not said.found
    assert any("the data set is not here" in note for note in said.notes)
    assert said.tables == 2
    cell_of_a_table(folder)
    (folder / "config.yaml").write_text(text.replace("name: fmn", "name: of_another_version"))
    reseal(folder)
    said = verify(folder, quick=True).minutes
    assert [entry.file for entry in said.found] == ["tables/accuracy.csv:3"]
    assert any("of another version of advrun" in note for note in said.notes)


def test_nothing_in_the_folder_changes_and_no_link_is_followed(folder, tmp_path):
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}
    accuracy_row = one(folder, "rows/*fmn*.json")
    outside = tmp_path / "outside.json"
    outside.write_bytes(accuracy_row.read_bytes())
    del before[accuracy_row]
    accuracy_row.unlink()
    accuracy_row.symlink_to(outside)
    assert any(line.startswith("rows/") and "it is a link" in line for line in found(folder, quick=True))
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in before} == before
    assert not list(folder.rglob(".*tmp*"))


def test_what_is_no_results_folder_and_no_system_is_one_line(folder, tmp_path, toy_run):
    with pytest.raises(DataError, match="no results folder"):
        verify(tmp_path)
    run = CliRunner().invoke(main, ["verify", str(tmp_path / "nowhere")])
    assert (run.exit_code, run.output.count("\n")) == (4, 1)
    with pytest.raises(ModelError, match="no system 'ned seed 0'; did you mean 'net seed 0'"):
        verify(folder, model=toy_run.parent / "net.keras", system="ned seed 0")


def test_a_folder_that_is_written_is_verified_all_the_same(folder):
    from advrun.runs.store import Store

    with Store(folder).locked():
        notes = verify(folder, quick=True).minutes.notes
    assert any("is being written by process" in note for note in notes)
    assert Store(folder).holder() == ""


def test_differences_are_told_from_separator_to_separator():
    assert difference("lnet,none,0.25,x", "lnet,none,0.35,x") == ("0.25", "0.35")
    assert difference("<td>45.2</td>", "<td>45.3</td>") == ("45.2", "45.3")
    assert difference("a b", "a b c") == ("b", "b c")
