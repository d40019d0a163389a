"""ImageNet in its layouts: tiny photographs whose colour says which they are, and the twenty real ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from advrun.datasets._synsets import known_classes, read_classes
from advrun.datasets.imagenet import imagenet
from advrun.errors import ConfigError, DataError
from advrun.images import Images

SYNSETS = [f"n{number:08d}" for number in (1440764, 1443537, 1484850, 2012849, 3126707)]
NAMES = ["tench", "goldfish", "great_white_shark", "crane", "crane"]
SHOWN = ("tench", "goldfish", "great white shark", f"crane ({SYNSETS[3]})", f"crane ({SYNSETS[4]})")
SIZE = {"image_size": 16, "shorter": 16}


def photograph(path: Path, shade: int, size: tuple[int, int] = (24, 16)) -> None:
    """Grey of one shade."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade, shade, shade)).save(path, format="PNG" if path.suffix == ".png" else "JPEG", quality=95)


def shades(data) -> list[int]:
    """What was given to `photograph`, up to what JPEG makes of it."""
    return [round(int(image.mean()) / 10) * 10 for image in data.x_test]


@pytest.fixture(autouse=True)
def no_network(tmp_path, monkeypatch) -> None:
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))


@pytest.fixture
def names(tmp_path) -> str:
    path = tmp_path / "index.json"
    path.write_text(json.dumps({str(n): list(pair) for n, pair in enumerate(zip(SYNSETS, NAMES, strict=True))}))
    return str(path)


def flat(root: Path, count: int = 4) -> None:
    for number in range(1, count + 1):
        photograph(root / f"ILSVRC2012_val_{number:08d}.JPEG", 40 * number)


@pytest.mark.parametrize("below", [".", "val", "ILSVRC/Data/CLS-LOC/val"])
@pytest.mark.parametrize("called", [SYNSETS, ["0", "1", "2", "3", "4"], ["tench", "Goldfish", "great white-shark", *SHOWN[3:]]])
def test_a_folder_for_each_class(tmp_path, names, below, called) -> None:
    for number in (4, 2, 0):
        photograph(tmp_path / "own" / below / called[number] / "b.JPEG", 10 * number + 50)
        photograph(tmp_path / "own" / below / called[number] / "a.png", 10 * number + 100)
    data = imagenet(root=str(tmp_path / "own"), names=names, **SIZE)
    assert data.class_names == SHOWN
    assert {(int(y), shade) for y, shade in zip(data.y_test, shades(data), strict=True)} == {
        (number, 10 * number + base) for number in (4, 2, 0) for base in (50, 100)
    }
    assert isinstance(data.x_test, Images)
    assert (len(data.x_train), data.image_shape) == (0, (16, 16, 3))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("val.txt", "".join(f"ILSVRC2012_val_{n:08d}.JPEG {n}\n" for n in (4, 3, 2, 1))),
        ("val.txt", "".join(f"val/ILSVRC2012_val_{n:08d}.JPEG {SYNSETS[n]}\n" for n in (1, 2, 3, 4))),
        (
            "LOC_val_solution.csv",
            "ImageId,PredictionString\n" + "".join(f"ILSVRC2012_val_{n:08d},{SYNSETS[n]} 1 2 3 4 \n" for n in (2, 1, 4, 3)),
        ),
        ("imagenet_2012_validation_synset_labels.txt", "".join(f"{SYNSETS[n]}\n" for n in (1, 2, 3, 4, 0))),
        ("data/ILSVRC2012_validation_ground_truth.txt", "1\n2\n3\n4\n0\n"),
    ],
)
def test_the_flat_layout_with_its_file_of_labels(tmp_path, names, name, content) -> None:
    root = tmp_path / "own"
    flat(root)
    with pytest.raises(DataError, match=r"nothing says the classes of ILSVRC2012_val_.; give data.labels, or put one of val.txt"):
        imagenet(root=str(root), names=names, **SIZE)
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_text(content)
    data = imagenet(root=str(root), names=names, **SIZE)
    assert (data.y_test.tolist(), shades(data)) == ([1, 2, 3, 4], [40, 80, 120, 160])
    (root / name).rename(tmp_path / Path(name).name)
    assert imagenet(root=str(root), names=names, labels=str(tmp_path / Path(name).name), **SIZE).fingerprint == data.fingerprint


def test_the_development_kit_has_an_order_of_its_own(tmp_path, names) -> None:
    from scipy.io import savemat

    root = tmp_path / "own"
    flat(root, 2)
    (root / "ILSVRC2012_validation_ground_truth.txt").write_text("3\n1000\n")
    with pytest.raises(DataError, match=r"in the development kit's own order; put the kit's meta.mat beside it"):
        imagenet(root=str(root), names=names, **SIZE)
    table = np.zeros(3, [("ILSVRC2012_ID", object), ("WNID", object)])
    for row, pair in enumerate([(3, SYNSETS[4]), (1000, SYNSETS[1]), (1001, "n00001740")]):
        table[row] = pair
    savemat(root / "meta.mat", {"synsets": table})
    assert imagenet(root=str(root), names=names, **SIZE).y_test.tolist() == [4, 1]


def test_photographs_named_by_class(tmp_path, names) -> None:
    called = {"00_3.jpg": 3, "01_0.jpg": 0, f"x_{SYNSETS[2]}.jpeg": 2, "goldfish.jpg": 1, "great_white_shark_07.png": 2, "4.jpg": 4}
    for shade, name in enumerate(sorted(called)):
        photograph(tmp_path / "own" / name, 50 + 10 * shade)
    photograph(tmp_path / "own" / "._4.jpg", 7)
    data = imagenet(root=str(tmp_path / "own"), names=names, **SIZE)
    assert data.y_test.tolist() == [called[name] for name in sorted(called)]
    assert shades(data) == [50 + 10 * shade for shade in range(6)]


def test_the_competition_of_2017_counts_from_one(tmp_path, names) -> None:
    root = tmp_path / "own"
    photograph(root / "images" / "abc.png", 30)
    photograph(root / "images" / "def.png", 90)
    table = "ImageId,URL,x1,TrueLabel,TargetClass\ndef,http://x,0.1,{},7\nabc,http://y,0.1,1,2\n"
    (root / "images.csv").write_text(table.format(4))
    data = imagenet(root=str(root), names=names, **SIZE)
    assert (data.y_test.tolist(), shades(data)) == ([3, 0], [90, 30])
    for bad, reason in (("0", "expected a name, and a number from 1 to 1000"), ("6", "'5' is none of the 5 classes")):
        (root / "images.csv").write_text(table.format(bad))
        with pytest.raises(DataError, match=reason):
            imagenet(root=str(root), names=names, **SIZE)
    (root / "images" / "abc.png").unlink()
    (root / "images.csv").write_text(table.format(4))
    with pytest.raises(DataError, match=r"images.csv:3: abc.png is missing"):
        imagenet(root=str(root), names=names, **SIZE)


def test_without_names_numbers_stand_for_classes_and_others_wait_for_the_model(tmp_path, caplog) -> None:
    photograph(tmp_path / "numbers" / "7" / "a.jpg", 30)
    photograph(tmp_path / "numbers" / "2" / "a.jpg", 60)
    data = imagenet(root=str(tmp_path / "numbers"), **SIZE)
    assert "numbers stand for them; put Keras' imagenet_class_index.json into" in caplog.text
    assert sorted(data.y_test.tolist()) == [2, 7]
    assert data.with_classes(1000).class_names[7] == "7"
    photograph(tmp_path / "synsets" / SYNSETS[1] / "a.jpg", 30)
    photograph(tmp_path / "synsets" / SYNSETS[0] / "a.jpg", 60)
    data = imagenet(root=str(tmp_path / "synsets"), **SIZE)
    assert data.class_names == tuple(SYNSETS[:2])
    with pytest.raises(DataError, match="nothing says which"):
        data.with_classes(1000)
    assert data.with_classes(5, SYNSETS[::-1]).y_test.tolist() == [4, 3]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("n01440764 tench, Tinca tinca\n\nn01443537\tgoldfish, Carassius auratus\n", ((SYNSETS[0], SYNSETS[1]), ("tench", "goldfish"))),
        ("tench\ngoldfish\n", ((), ("tench", "goldfish"))),
        ('["tench", "goldfish"]', ((), ("tench", "goldfish"))),
        ("n01440764 tench\nn01440764 goldfish\n", "synsets twice"),
        ('{"0": ["n01440764", "tench"], "2": ["n01443537", "goldfish"]}', "not numbered 0, 1, 2"),
        ("{", "no list of classes"),
        ("tench", "1 classes|0 classes"),
    ],
)
def test_files_of_names(tmp_path, content, expected) -> None:
    path = tmp_path / ("names.json" if content[0] in "[{" else "names.txt")
    path.write_text(content)
    if isinstance(expected, str):
        with pytest.raises(DataError, match=expected):
            read_classes(path)
    else:
        assert tuple(read_classes(path)) == expected


def test_keras_own_names_are_checked(tmp_path) -> None:
    place = tmp_path / "keras" / "models" / "imagenet_class_index.json"
    place.parent.mkdir(parents=True)
    place.write_text("{}")
    with pytest.raises(DataError, match=r"imagenet_class_index.json: not the published file"):
        known_classes(None)


def test_one_bad_photograph_is_named_before_anything_is_computed(tmp_path, names) -> None:
    for name, shade in (("a", 30), ("b", 60)):
        photograph(tmp_path / "own" / "tench" / f"{name}.jpg", shade)
    (tmp_path / "own" / "tench" / "c.jpg").write_bytes(b"<html>")
    data = imagenet(root=str(tmp_path / "own"), names=names, **SIZE)
    with pytest.raises(DataError, match=r"1 of 3 images cannot be used: tench/c.jpg .an HTML page.; replace or remove"):
        _ = data.fingerprint
    assert data.limited(None, 3).x_test.shape == (3, 16, 16, 3)
    whole = (tmp_path / "own" / "tench" / "a.jpg").read_bytes()
    (tmp_path / "own" / "tench" / "c.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"tench/c.jpg .*[Tt]runcated"):
        np.asarray(data.x_test)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda root: None, "no such folder; expected a folder for each class"),
        (lambda root: root.mkdir(), "no photographs here; expected a folder for each class"),
        (lambda root: photograph(root / "wolpertinger" / "a.jpg", 3), "'wolpertinger' is none of the 5 classes; name it by synset"),
        (lambda root: photograph(root / "crane" / "a.jpg", 3), "'crane' stands for several classes; name it by synset"),
        (lambda root: photograph(root / "a_5.jpg", 3), "a_5.jpg: 'a' is none of the 5 classes"),
    ],
)
def test_what_nothing_says_the_class_of(tmp_path, names, make, reason) -> None:
    make(tmp_path / "own")
    with pytest.raises(DataError, match=reason):
        imagenet(root=str(tmp_path / "own"), names=names, **SIZE)


def test_the_preparation_is_part_of_the_data(tmp_path, names) -> None:
    photograph(tmp_path / "own" / "tench" / "a.jpg", 30, (90, 60))
    settings = ({}, {"shorter": 50}, {"filter": "bicubic"}, {"image_size": 24})
    marks = {imagenet(root=str(tmp_path / "own"), names=names, **{"image_size": 32, **each}).fingerprint for each in settings}
    assert len(marks) == 4
    with pytest.raises(ConfigError, match="shorter is 20, less than image_size, 32"):
        imagenet(root=str(tmp_path / "own"), names=names, image_size=32, shorter=20)


def test_photographs_to_learn_from_are_in_a_folder_of_their_own(tmp_path, names) -> None:
    """Whatever its layout, the classes are the same, and what is measured does not depend on them."""
    for number in (4, 0):
        photograph(tmp_path / "own" / f"{SYNSETS[number]}_1.png", 10 * number + 50)
        photograph(tmp_path / "more" / NAMES[number - 3] / "b.png", 10 * number + 100)
    photograph(tmp_path / "more" / SYNSETS[4] / "c.png", 150)
    alone, data, test_only = (
        imagenet(training, root=str(tmp_path / "own"), train=train, names=names, **SIZE)
        for training, train in ((True, None), (True, str(tmp_path / "more")), (False, str(tmp_path / "more")))
    )
    assert sorted(int(image.mean()) for image in data.x_train) == [100, 140, 150]
    assert (list(data.y_test), sorted(data.y_train)) == ([0, 4], [1, 2, 4])
    assert (len(alone.y_train), len(test_only.y_train)) == (0, 0)
    assert alone.test_fingerprint == data.test_fingerprint == test_only.test_fingerprint
    assert alone.fingerprint == test_only.fingerprint != data.fingerprint
    assert "to learn from, more: 3 photographs of 3 classes" in data.variant


def test_what_is_tested_is_not_learnt_from(tmp_path, names) -> None:
    """By its place, or by its bytes under another name."""
    for number in (4, 0):
        photograph(tmp_path / "own" / f"{SYNSETS[number]}_1.png", 10 * number + 50)
    photograph(tmp_path / "more" / f"{SYNSETS[1]}_9.png", 90)
    photograph(tmp_path / "more" / f"{SYNSETS[2]}_9.png", 200)
    own, more = (str(tmp_path / name) for name in ("own", "more"))
    with pytest.raises(DataError, match=rf"own: 2 of the 2 photographs to learn from are test images too, first {SYNSETS[0]}_1.png"):
        imagenet(root=own, train=own, names=names, **SIZE)
    with pytest.raises(DataError, match=rf"more: 1 of the 2 photographs to learn from are test images too, first {SYNSETS[1]}_9.png"):
        imagenet(root=own, train=more, names=names, **SIZE)


def test_the_twenty_photographs_are_prepared_as_others_do(imagenet_folder) -> None:
    data = imagenet(root=str(imagenet_folder / "photos"), filter="bicubic")
    with np.load(imagenet_folder / "photos224.npz") as expected:
        assert np.array_equal(np.asarray(data.x_test), expected["x"])
        assert np.array_equal(data.y_test, expected["y"])


@pytest.mark.slow
def test_a_run_says_the_same_of_photographs_and_of_an_array_of_them(tmp_path, names, monkeypatch) -> None:
    """Rows, whether images are read whole or in parts: what differs is where they are."""
    from advrun.config import loads
    from advrun.engine import keras
    from advrun.runs.examples import read_examples
    from advrun.runs.runner import run
    from advrun.runs.work import measure

    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [keras.Input((16, 16, 3)), keras.layers.Conv2D(4, 3, activation="relu"), keras.layers.Flatten(), keras.layers.Dense(5)]
    )
    model.save(tmp_path / "model.keras")
    rng = np.random.default_rng(0)
    for row in range(11):
        place = tmp_path / "own" / SYNSETS[row % 3] / f"{row}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(place)
    data = imagenet(root=str(tmp_path / "own"), names=names, **SIZE)
    np.savez(tmp_path / "whole.npz", x=np.asarray(data.x_test), y=data.y_test, class_names=np.array(data.class_names))
    rows, read_whole = [], []

    def noticed(path, most, *, whole):
        read_whole.append(whole)
        return read_examples(path, most, whole=whole)

    monkeypatch.setattr(measure, "read_examples", noticed)
    for name in (f"imagenet, root: {tmp_path}/own, names: {names}, image_size: 16, shorter: 16", f"arrays, path: {tmp_path}/whole.npz"):
        text = f"data: {{name: {name}}}\nmodels: [{{name: file, path: {tmp_path}/model.keras}}]\nattacks: [{{name: fgsm, eps: 8/255}}]\n"
        experiment = loads(f"{text}compute: {{batch_size: 4}}\nresults: {tmp_path}/{name[:4]}\n", name="same")
        rows.append([{key: value for key, value in result.row.flat().items() if key != "seconds"} for result in run(experiment).results])
    assert rows[0] == rows[1]
    assert len(rows[0]) == 2
    assert read_whole
    half = len(read_whole) // 2
    assert read_whole == [False] * half + [True] * half
    assert not list((tmp_path / "imag/same/partial").glob("*"))
