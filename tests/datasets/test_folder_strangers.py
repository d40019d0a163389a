"""Folders as strangers leave them: numbers as names, capitals, hidden copies, links, other formats, and what is left out."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from advrun.datasets.folder import folder
from advrun.errors import DataError


def paint(path: Path, grey: int, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (grey, grey, grey)).save(path, **options)


def greys(images: np.ndarray) -> list[int]:
    return images[:, 0, 0, 0].tolist()


@pytest.mark.parametrize("form", ["{}", "{:05d}"])
def test_numbers_are_classes_in_numeric_order(tmp_path: Path, form: str) -> None:
    for label in range(12):
        paint(tmp_path / "train" / form.format(label) / "0.png", label)
        paint(tmp_path / "test" / str(label) / "0.png", 100 + label)
    data = folder(root=str(tmp_path))
    assert data.class_names == tuple(form.format(label) for label in range(12))
    assert data.y_train.tolist() == data.y_test.tolist() == greys(data.x_train) == list(range(12))
    assert greys(data.x_test) == list(range(100, 112))


def test_one_name_that_is_no_number_makes_the_order_that_of_the_alphabet(tmp_path: Path) -> None:
    for name in ("2", "10", "x"):
        paint(tmp_path / name / "0.png", 0)
        paint(tmp_path / name / "1.png", 0)
    assert folder(root=str(tmp_path)).class_names == ("10", "2", "x")


@pytest.mark.parametrize(
    ("train", "test"), [("Train", "Test"), ("TRAIN", "TEST"), ("Training", "Validation"), ("train", "Val"), ("training", "valid")]
)
def test_capitals_do_not_matter(tmp_path: Path, train: str, test: str) -> None:
    for name, grey in (("a", 1), ("b", 2)):
        paint(tmp_path / train / name / "0.png", grey)
        paint(tmp_path / test / name / "0.png", 10 * grey)
    data = folder(root=str(tmp_path))
    assert (greys(data.x_train), greys(data.x_test)) == ([1, 2], [10, 20])


def test_two_folders_that_differ_by_capitals(tmp_path: Path) -> None:
    for name in ("train", "Train"):
        paint(tmp_path / name / "a/0.png", 1)
    with pytest.raises(DataError, match="Train and train differ by capitals alone; keep one"):
        folder(root=str(tmp_path))


def test_hidden_copies_are_no_images(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a", "b"):
        paint(tmp_path / "train" / name / "0.png", 1)
        paint(tmp_path / "test" / name / "0.png", 2)
    for copy in (".ipynb_checkpoints/0-checkpoint.png", ".thumbnails/normal/0.png", "__MACOSX/0.png", "._0.png"):
        paint(tmp_path / "test/a" / copy, 3)
    paint(tmp_path / "train/__MACOSX/a/0.png", 3)
    (tmp_path / "train/a/.DS_Store").write_bytes(b"x")
    data = folder(root=str(tmp_path))
    assert (data.class_names, greys(data.x_train), greys(data.x_test)) == (("a", "b"), [1, 1], [2, 2])
    assert [record.getMessage() for record in caplog.records] == [f"folder: 4 images are hidden (in {tmp_path})"]


def test_other_formats(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for row, ending in enumerate(("tif", "TIFF", "gif", "jfif", "pgm")):
            options = {"format": "JPEG"} if ending == "jfif" else {}
            paint(tmp_path / name / f"{row}.{ending}", 40 * row, **options)
    moving = [Image.new("L", (8, 8), level) for level in (80, 200)]
    moving[0].save(tmp_path / "a/2.gif", save_all=True, append_images=moving[1:])
    data = folder(root=str(tmp_path), test_fraction=1)
    assert greys(data.x_test) == [0, 40, 80, 120, 160] * 2
    assert len(data.x_train) == 0


def test_what_is_left_out_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a", "b"):
        for row in range(2):
            paint(tmp_path / "train" / name / f"{row}.png", 1)
    for row in range(10):
        (tmp_path / f"train/a/{row}.txt").touch()
    for row in range(2):
        (tmp_path / f"train/b/{row}.csv").touch()
    (tmp_path / "train/b/lost.png").symlink_to(tmp_path / "nowhere.png")
    paint(tmp_path / "train/loose.png", 1)
    paint(tmp_path / "Meta/0.png", 1)
    folder(root=str(tmp_path))
    (record,) = caplog.records
    said = "12 files are no images (.txt 10, .csv 2); 1 image is in no class folder; 1 link is broken; Meta/: not read"
    assert record.getMessage() == f"folder: {said} (in {tmp_path})"


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for name, grey in (("a", 1), ("b", 2)):
        paint(tmp_path / "elsewhere" / name / "0.png", grey)
        paint(tmp_path / "elsewhere" / name / "1.png", grey)
    root.mkdir()
    (root / "a").symlink_to(tmp_path / "elsewhere/a")
    (root / "b").mkdir()
    (root / "b/more").symlink_to(tmp_path / "elsewhere/b")
    (root / "b/again").symlink_to(tmp_path / "elsewhere/b")  # the same images
    (root / "b/up").symlink_to(root)  # a circle
    (root / "b/round").symlink_to(root / "b")
    data = folder(root=str(root), test_fraction=0.5)
    assert (greys(data.x_train), greys(data.x_test)) == ([1, 2], [1, 2])


def test_some_of_the_classes(tmp_path: Path) -> None:
    """A test folder alone, with one class that has images, for a model that is trained already."""
    paint(tmp_path / "test/12/0.png", 1)
    (tmp_path / "test/13").mkdir()
    data = folder(root=str(tmp_path))
    assert (data.class_names, data.y_test.tolist(), len(data.x_train)) == (("12", "13"), [0], 0)
    for name in range(12, 15):
        paint(tmp_path / f"train/{name}/0.png", 1)
    data = folder(root=str(tmp_path))
    assert (data.class_names, data.y_test.tolist(), data.y_train.tolist()) == (("12", "13", "14"), [0], [0, 1, 2])


def test_test_images_in_no_class_folders(tmp_path: Path) -> None:
    for name in ("0", "1"):
        paint(tmp_path / "Train" / name / "0.png", 1)
    paint(tmp_path / "Test/00000.png", 1)
    paint(tmp_path / "Meta/0.png", 1)
    with pytest.raises(
        DataError, match=r"Test: no class folders, so no labels; give a list of them .*name: listed.* is read by name: gtsrb"
    ):
        folder(root=str(tmp_path))
    for name in ("Train.csv", "Test.csv"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"this is Kaggle's GTSRB: write data: \{name: gtsrb, root: "):
        folder(root=str(tmp_path))


def test_gtsrb_in_its_own_folders(tmp_path: Path) -> None:
    for name in ("Final_Training", "Final_Test"):
        paint(tmp_path / name / "Images/00000/0.ppm", 1)
    with pytest.raises(DataError, match=r"GTSRB's own layout; write data: \{name: gtsrb"):
        folder(root=str(tmp_path))


def test_class_folders_beside_a_test_folder(tmp_path: Path) -> None:
    for name in ("a", "b", "test/a"):
        paint(tmp_path / name / "0.png", 1)
    with pytest.raises(DataError, match=r"test/ holds class folders and lies beside others; put those into .*/train"):
        folder(root=str(tmp_path))


def test_a_class_may_be_called_valid(tmp_path: Path) -> None:
    for name in ("valid", "invalid"):
        for row in range(2):
            paint(tmp_path / name / f"{row}.png", 1)
    assert folder(root=str(tmp_path)).class_names == ("invalid", "valid")


def test_training_images_that_nothing_needs_are_not_decoded(tmp_path: Path) -> None:
    for name in ("a", "b"):
        paint(tmp_path / "test" / name / "0.png", 1)
        (tmp_path / "train" / name).mkdir(parents=True)
        (tmp_path / "train" / name / "0.png").write_text("no image at all")
    data = folder(False, root=str(tmp_path))
    assert (data.class_names, len(data.x_train), greys(data.x_test)) == (("a", "b"), 0, [1, 1])
    assert data.variant == "2 training, 2 test images; test set in test/"
    with pytest.raises(DataError, match="2 of 2 images cannot be used"):
        folder(True, root=str(tmp_path))


def test_names_that_break_a_line(tmp_path: Path) -> None:
    paint(tmp_path / "a\nb/0.png", 1)
    paint(tmp_path / "a\nb/1.png", 1)
    paint(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")) / "0.png", 1)
    data = folder(root=str(tmp_path))
    assert data.class_names == ("a\\nb", "\\udcff")
    assert len(data.fingerprint) == 32
    (tmp_path / "a\nb/2.png").write_text("x")
    with pytest.raises(DataError, match=r"a\\nb/2\.png \(not an image") as raised:
        folder(root=str(tmp_path))
    assert "\n" not in str(raised.value)


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "ppm", "webp", "tif", "gif"])
def test_damage_anywhere_in_an_image_is_one_line_or_nothing(tmp_path: Path, ending: str) -> None:
    rng = np.random.default_rng(0)
    paint(tmp_path / "test/a/0.png", 1)
    image = tmp_path / f"test/b/0.{ending}"
    image.parent.mkdir()
    Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8)).save(image)
    whole, refused = image.read_bytes(), 0
    for _ in range(300):
        content = bytearray(whole)
        for place in (rng.random(rng.integers(1, 8)) ** 2 * len(content)).astype(int):  # headers more often
            content[place] = rng.integers(256)
        image.write_bytes(content[: len(content) - int(rng.integers(0, 60)) * int(rng.random() < 0.2)])
        reason = refusal(tmp_path)
        refused += reason != ""
        assert "\n" not in reason
    assert refused > 20


def refusal(root: Path) -> str:
    """Why the folder is refused, or nothing. Any other exception is the test's failure."""
    try:
        folder(root=str(root))
    except DataError as error:
        return str(error)
    return ""
