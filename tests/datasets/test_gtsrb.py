"""GTSRB in every layout it is found in: same pixels, honest names, and reasons instead of tracebacks."""

from __future__ import annotations

import csv
import logging
import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from advrun.datasets.gtsrb import CLASS_NAMES, gtsrb
from advrun.errors import DataError

HEADER = ("Filename", "Width", "Height", "Roi.X1", "Roi.Y1", "Roi.X2", "Roi.Y2", "ClassId")
CLASSES, TRACKS, FRAMES, TEST_IMAGES = (0, 14, 33), 2, 3, 4


@pytest.fixture(autouse=True)
def user_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user-cache"))
    return tmp_path / "user-cache" / "advrun"


def picture(seed: int) -> tuple[Image.Image, tuple[int, int, int, int]]:
    """A random image, and its region with both ends included, as the annotation tables have it."""
    rng = np.random.default_rng(seed)
    width, height = rng.integers(30, 60, 2).tolist()
    image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    return image, (5, 6, width - 7, height - 5)


def write_table(path: Path, rows: list[tuple[object, ...]]) -> None:
    with open(path, "w", newline="") as file:
        csv.writer(file, delimiter=";", lineterminator="\r\n").writerows([HEADER, *rows])


def read_table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines(), delimiter=";"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The official layout with 18 training and 4 test images."""
    root = tmp_path / "data"
    seed = 0
    for label in CLASSES:
        folder = root / f"GTSRB/Final_Training/Images/{label:05d}"
        folder.mkdir(parents=True)
        rows = []
        for track in range(TRACKS):
            for frame in range(FRAMES):
                image, region = picture(seed := seed + 1)
                name = f"{track:05d}_{frame:05d}.ppm"
                image.save(folder / name)
                rows.append((name, *image.size, *region, label))
        write_table(folder / f"GT-{label:05d}.csv", rows)
    folder = root / "GTSRB/Final_Test/Images"
    folder.mkdir(parents=True)
    rows = []
    for number in range(TEST_IMAGES):
        image, region = picture(seed := seed + 1)
        image.save(folder / f"{number:05d}.ppm")
        rows.append((f"{number:05d}.ppm", *image.size, *region, CLASSES[number % len(CLASSES)]))
    write_table(folder / "GT-final_test.csv", rows)
    return root


def first_images(root: Path) -> Path:
    return root / "GTSRB/Final_Training/Images/00000"


def change_row(table: Path, row: int, column: str, value: object) -> None:
    lines = [line.split(";") for line in table.read_text().splitlines()]
    lines[row + 1][HEADER.index(column)] = str(value)
    table.write_text("\r\n".join(";".join(line) for line in lines))


# The real data --------------------------------------------------------------------------------------------------


def test_real_prepared_file(gtsrb_file: Path) -> None:
    data = gtsrb(root=str(gtsrb_file))
    assert data.variant == "official (39,209 training, 12,630 test)"
    assert data.image_shape == (32, 32, 3)
    assert len(np.unique(data.group)) == 1307
    assert np.bincount(data.y_train)[[0, 2, 33]].tolist() == [210, 2250, 689]
    with h5py.File(gtsrb_file) as file:
        assert data.class_names == tuple(file.attrs["class_names"]) == CLASS_NAMES
    training, validation = data.validation_split(0.1, seed=0)
    assert not set(data.group[training]) & set(data.group[validation])


def test_real_image_files_equal_the_prepared_file_pixel_for_pixel(gtsrb_file: Path, tmp_path: Path) -> None:
    sample = gtsrb_file.parent / "raw-sample"
    if not sample.is_dir():
        pytest.skip("no raw sample beside the prepared file")
    shutil.copytree(sample / "GTSRB", tmp_path / "GTSRB", copy_function=shutil.copyfile)
    data, whole = gtsrb(root=str(tmp_path)), gtsrb(root=str(gtsrb_file))
    with h5py.File(gtsrb_file) as file:
        frame, number = file["train/frame"][()], file["test/number"][()]
    keys = {(group, f): row for row, (group, f) in enumerate(zip(whole.group.tolist(), frame.tolist(), strict=True))}
    rows = [keys[group, f] for group, f in zip(data.group.tolist(), [0, 10, 20, 29] * 43, strict=True)]
    lines = read_table(tmp_path / "GTSRB/Final_Test/Images/GT-final_test.csv")
    numbers = sorted((int(line["ClassId"]), int(line["Filename"][:5])) for line in lines)
    test_rows = [int(np.flatnonzero(number == n)[0]) for _, n in numbers]
    assert np.array_equal(data.x_train, whole.x_train[rows])
    assert np.array_equal(data.y_train, whole.y_train[rows])
    assert np.array_equal(data.x_test, whole.x_test[test_rows])
    assert np.array_equal(data.y_test, whole.y_test[test_rows])


# Image files ----------------------------------------------------------------------------------------------------


def test_official_layout(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = gtsrb(root=str(root), image_size=16)
    image, (left, top, right, bottom) = picture(1)
    region = Image.fromarray(np.asarray(image)[top : bottom + 1, left : right + 1])
    assert np.array_equal(data.x_train[0], np.asarray(region.resize((16, 16), Image.Resampling.BILINEAR)))
    assert data.y_train.tolist() == np.repeat(CLASSES, TRACKS * FRAMES).tolist()
    assert data.y_test.tolist() == sorted([0, 14, 33, 0])
    assert len(np.unique(data.group)) == len(CLASSES) * TRACKS
    assert "18 of 39,209 training images; 4 of 12,630 test images; no training images of 40 classes" in data.variant
    assert any(record.levelno == logging.WARNING and "incomplete" in record.message for record in caplog.records)


def test_without_crop(root: Path) -> None:
    data = gtsrb(root=str(root), crop=False)
    image, _ = picture(1)
    assert np.array_equal(data.x_train[0], np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR)))
    assert "not cropped" in data.variant
    assert data.fingerprint != gtsrb(root=str(root)).fingerprint


@pytest.mark.parametrize("place", ["", "GTSRB", "GTSRB/Final_Training", "GTSRB/Final_Training/Images", ".."])
def test_roots_above_and_below(root: Path, place: str) -> None:
    assert len(gtsrb(root=str(root / place)).y_train) == 18


@pytest.mark.parametrize(
    ("train", "test", "table"),
    [
        ("GTSRB/Training", "GTSRB/Final_Test/Images", "GT-final_test.csv"),
        ("Train", "Test", "Test/GT-final_test.csv"),
        ("GTSRB_Final_Training_Images/GTSRB/Final_Training/Images", "b/GTSRB/Final_Test/Images", "b/GTSRB/GT-final_test.csv"),
    ],
)
def test_other_names_of_the_official_folders(root: Path, tmp_path: Path, train: str, test: str, table: str) -> None:
    expected = gtsrb(root=str(root)).fingerprint
    other = tmp_path / "other"
    shutil.copytree(root / "GTSRB/Final_Training/Images", other / train)
    shutil.copytree(root / "GTSRB/Final_Test/Images", other / test)
    shutil.move(other / test / "GT-final_test.csv", other / table)
    assert gtsrb(root=str(other)).fingerprint == expected


def test_competition_test_set_sorted_by_class(root: Path) -> None:
    shutil.rmtree(root / "GTSRB/Final_Test")
    for label in CLASSES:
        source = root / f"GTSRB/Final_Training/Images/{label:05d}"
        shutil.copytree(source, root / f"GTSRB/Online-Test-sort/{label:05d}")
    data = gtsrb(root=str(root))
    assert np.bincount(data.y_test)[list(CLASSES)].tolist() == [6, 6, 6]


def test_kaggle_layout_gives_the_same_data(root: Path, tmp_path: Path) -> None:
    kaggle = tmp_path / "kaggle"
    columns = ("Width", "Height", "Roi.X1", "Roi.Y1", "Roi.X2", "Roi.Y2", "ClassId", "Path")
    tables: dict[str, list[tuple[str, ...]]] = {"Train": [columns], "Test": [columns]}
    for table in sorted(root.rglob("*.csv")):
        for row in read_table(table):
            split = "Test" if "final" in table.name else "Train"
            label, stem = int(row["ClassId"]), row["Filename"][:-4]
            name = f"Test/{stem}.png" if split == "Test" else f"Train/{label}/{label:05d}_{stem}.png"
            (kaggle / name).parent.mkdir(parents=True, exist_ok=True)
            Image.open(table.parent / row["Filename"]).save(kaggle / name)
            tables[split].append((*(row[column] for column in columns[:-1]), name))
    for split, rows in tables.items():
        with open(kaggle / f"{split}.csv", "w", newline="") as file:
            csv.writer(file).writerows(rows)
    assert gtsrb(root=str(kaggle)).fingerprint == gtsrb(root=str(root)).fingerprint


# What is wrong with files ---------------------------------------------------------------------------------------


def spoil_missing(images: Path) -> None:
    (images / "00000_00001.ppm").unlink()


def spoil_truncated(images: Path) -> None:
    file = images / "00000_00001.ppm"
    file.write_bytes(file.read_bytes()[:500])


def spoil_html(images: Path) -> None:
    (images / "00000_00001.ppm").write_text("<!DOCTYPE html><p>not found")


def spoil_header(images: Path) -> None:
    (images / "00000_00001.ppm").write_bytes(b"P6\n5000 5000\n255\n")


def spoil_bomb(images: Path) -> None:
    (images / "00000_00001.ppm").write_bytes(b"P6\n60000 60000\n255\n")


def spoil_region(images: Path) -> None:
    change_row(images / "GT-00000.csv", 1, "Roi.X2", 4000)


def spoil_label(images: Path) -> None:
    change_row(images / "GT-00000.csv", 1, "ClassId", 43)


def spoil_number(images: Path) -> None:
    change_row(images / "GT-00000.csv", 1, "Roi.X1", "five")


def spoil_path(images: Path) -> None:
    change_row(images / "GT-00000.csv", 1, "Filename", "../../00000_00001.ppm")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (spoil_missing, "00000_00001.ppm (missing)"),
        (spoil_truncated, "00000_00001.ppm (image file is truncated"),
        (spoil_html, "00000_00001.ppm (an HTML page)"),
        (spoil_header, "00000_00001.ppm (5000 x 5000 pixels, more than 4096)"),
        (spoil_bomb, "00000_00001.ppm (a header that declares far more"),
        (spoil_region, "is not inside"),
        (spoil_label, "line 3: class 43 of 00000_00001.ppm is not in 0..42"),
        (spoil_number, "line 3: invalid literal"),
        (spoil_path, "leads out of the folder"),
    ],
)
def test_one_bad_file_is_named_with_its_reason(root: Path, spoil, reason: str) -> None:
    spoil(first_images(root))
    with pytest.raises(DataError) as raised:
        gtsrb(root=str(root))
    message = str(raised.value)
    assert "1 of 22 images cannot be used" in message
    assert reason in message
    assert "\n" not in message


def test_many_bad_files_are_counted(root: Path) -> None:
    for file in (root / "GTSRB/Final_Training").rglob("*.ppm"):
        file.unlink()
    with pytest.raises(DataError, match=r"18 of 22 images .* and 14 more"):
        gtsrb(root=str(root))


def test_missing_labels_table_and_test_set(root: Path) -> None:
    (root / "GTSRB/Final_Test/Images/GT-final_test.csv").unlink()
    with pytest.raises(DataError, match=r"no GT-final_test\.csv.*GTSRB_Final_Test_GT\.zip"):
        gtsrb(root=str(root))
    shutil.rmtree(root / "GTSRB/Final_Test")
    with pytest.raises(DataError, match="no test images"):
        gtsrb(root=str(root))


def test_a_table_without_its_columns(root: Path) -> None:
    (first_images(root) / "GT-00000.csv").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(DataError, match=r"no column 'Filename'.*git-lfs"):
        gtsrb(root=str(root))


def test_nothing_there(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "absent"):
        with pytest.raises(DataError, match=r"Train\.csv.*train\.p.*advrun data fetch gtsrb") as raised:
            gtsrb(root=str(place))
        assert str(place) in str(raised.value)


# The cache ------------------------------------------------------------------------------------------------------


def repaint(file: Path, *, keep_time: bool) -> None:
    """Change pixels but not the file's size."""
    before = file.stat()
    content = bytearray(file.read_bytes())
    content[-3000:] = bytes(255 - value for value in content[-3000:])
    file.write_bytes(content)
    if keep_time:
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_the_cache_is_read_until_a_file_changes(root: Path) -> None:
    first = gtsrb(root=str(root))
    repaint(first_images(root) / "00000_00000.ppm", keep_time=True)
    assert gtsrb(root=str(root)).fingerprint == first.fingerprint  # so the image was not opened
    repaint(first_images(root) / "00000_00001.ppm", keep_time=False)
    assert gtsrb(root=str(root)).fingerprint != first.fingerprint


def test_the_cache_outlives_the_images(root: Path) -> None:
    first = gtsrb(root=str(root), image_size=16)
    shutil.rmtree(root / "GTSRB")
    assert gtsrb(root=str(root), image_size=16).fingerprint == first.fingerprint
    with pytest.raises(DataError, match=r"no 32 x 32 cropped images .*has 16 x 16 cropped"):
        gtsrb(root=str(root))


@pytest.mark.parametrize("place", [0, 0.3, 0.6, 0.99])
def test_a_damaged_cache_is_made_again_and_said_so(root: Path, place: float, caplog: pytest.LogCaptureFixture) -> None:
    first = gtsrb(root=str(root))
    cache = root / "advrun-cache-32.h5"
    content = bytearray(cache.read_bytes())
    if place == 0:
        del content[len(content) // 2 :]
    else:
        content[int(place * len(content))] ^= 1
    cache.write_bytes(content)
    assert gtsrb(root=str(root)).fingerprint == first.fingerprint
    if place != 0.99:  # the last bytes may lie between the arrays
        assert "cache is damaged" in caplog.text
    caplog.clear()
    assert gtsrb(root=str(root)).fingerprint == first.fingerprint
    assert "cache is damaged" not in caplog.text


def test_a_folder_that_nobody_may_write_is_left_alone(root: Path, user_cache: Path) -> None:
    root.chmod(0o555)
    try:
        first = gtsrb(root=str(root))
        repaint(first_images(root) / "00000_00000.ppm", keep_time=True)
        assert gtsrb(root=str(root)).fingerprint == first.fingerprint
        assert [entry.name for entry in root.iterdir()] == ["GTSRB"]
        assert len(list(user_cache.iterdir())) == 1
    finally:
        root.chmod(0o755)


def test_what_a_kill_leaves_of_a_cache_is_passed_over(root: Path) -> None:
    (root / ".advrun-cache-32.123.tmp.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    assert len(gtsrb(root=str(root)).y_train) == 18


def test_no_place_for_a_cache(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/none")
    root.chmod(0o555)
    try:
        assert len(gtsrb(root=str(root)).y_train) == 18
    finally:
        root.chmod(0o755)


@pytest.mark.parametrize("crop", [True, False])
def test_training_images_that_nothing_needs_are_not_decoded(root: Path, crop: bool) -> None:
    damaged = first_images(root) / "00000_00000.ppm"
    content = damaged.read_bytes()
    damaged.write_bytes(b"no image")
    alone = gtsrb(False, root=str(root), crop=crop)
    assert (len(alone.x_train), alone.group) == (0, None)
    name = "advrun-cache-32-test.h5" if crop else "advrun-cache-32-whole-test.h5"
    assert [path.name for path in root.glob("*.h5")] == [name]
    repaint(root / "GTSRB/Final_Test/Images/00000.ppm", keep_time=True)
    assert gtsrb(False, root=str(root), crop=crop).fingerprint == alone.fingerprint  # so it came from the cache
    with pytest.raises(DataError, match="1 of 22 images cannot be used"):
        gtsrb(root=str(root), crop=crop)
    repaint(root / "GTSRB/Final_Test/Images/00000.ppm", keep_time=True)
    damaged.write_bytes(content)
    both = gtsrb(root=str(root), crop=crop)
    assert both.test_fingerprint == alone.test_fingerprint
    assert both.variant == alone.variant


def test_the_archives_side_by_side(root: Path) -> None:
    """Each unpacked into a folder of its own name, the labels of the test images among them."""
    expected = gtsrb(root=str(root)).fingerprint
    apart = root.parent / "apart"
    for name, inside in (("GTSRB_Final_Training_Images", "Final_Training"), ("GTSRB_Final_Test_Images", "Final_Test")):
        shutil.copytree(root / "GTSRB" / inside, apart / name / "GTSRB" / inside)
    labels = apart / "GTSRB_Final_Test_GT" / "GT-final_test.csv"
    labels.parent.mkdir()
    (apart / "GTSRB_Final_Test_Images/GTSRB/Final_Test/Images/GT-final_test.csv").rename(labels)
    assert gtsrb(root=str(apart)).fingerprint == expected
    labels.unlink()
    with pytest.raises(DataError, match=r"no GT-final_test\.csv, which holds the labels"):
        gtsrb(root=str(apart))


def test_a_row_that_contradicts_its_folder_and_an_image_listed_twice(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = first_images(root) / "GT-00000.csv"
    change_row(table, 1, "ClassId", 14)
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines, lines[1]]))
    data = gtsrb(root=str(root))
    assert (np.bincount(data.y_train)[[0, 14]].tolist(), len(data.y_train)) == ([5, 7], 18)
    said = [record.getMessage() for record in caplog.records]
    assert f"{table}:3: class 14, but the folder of 00000_00001.ppm is 00000; the table is believed" in said
    assert f"{table}:8: 00000_00000.ppm is listed twice, first in line 2; read once" in said


# Prepared files -------------------------------------------------------------------------------------------------


def write_prepared(path: Path, train: int = 43, test: int = 43, size: int = 1) -> None:
    with h5py.File(path, "w") as file:
        for split, count in (("train", train), ("test", test)):
            file[f"{split}/images"] = np.zeros((count, size, size, 3), np.uint8)
            file[f"{split}/labels"] = (np.arange(count) % 43).astype(np.uint8)
        file["train/track"] = np.arange(train, dtype=np.int32) // 43


@pytest.mark.parametrize(
    ("train", "test", "variant"),
    [
        (39_209, 12_630, "official (39,209 training, 12,630 test)"),
        (26_640, 12_569, "competition (IJCNN 2011) (26,640 training, 12,569 test)"),
        (26_640, 12_630, "competition training set with the official test set, as torchvision has it (26,640 training, 12,630 test)"),
        (39_208, 12_630, "incomplete (39,208 of 39,209 training images; 12,630 of 12,630 test images)"),
    ],
)
def test_the_variant_is_named_by_its_counts(tmp_path: Path, train: int, test: int, variant: str) -> None:
    write_prepared(tmp_path / "a.h5", train, test)
    assert gtsrb(root=str(tmp_path), image_size=1).variant == variant


def test_the_right_one_of_several_prepared_files(tmp_path: Path) -> None:
    write_prepared(tmp_path / "a.h5", size=2)
    write_prepared(tmp_path / "b.hdf5", size=3)
    assert gtsrb(root=str(tmp_path), image_size=3).image_shape == (3, 3, 3)
    with pytest.raises(DataError, match=r"no 4 x 4 cropped images \(a.h5 has 2 x 2 cropped, b.hdf5 has 3 x 3 cropped\); set image_size"):
        gtsrb(root=str(tmp_path), image_size=4)
    with pytest.raises(DataError, match="no 3 x 3 whole images"):
        gtsrb(root=str(tmp_path / "b.hdf5"), image_size=3, crop=False)


def test_image_files_serve_the_size_that_no_prepared_file_has(root: Path) -> None:
    write_prepared(root / "gtsrb1.h5", size=1)
    assert gtsrb(root=str(root), image_size=8).image_shape == (8, 8, 3)
    assert len(gtsrb(root=str(root), image_size=1).y_train) == 43


@pytest.mark.parametrize(
    "content", [b"", b"<html>", b"version https://git-lfs.github.com/spec/v1\n", b"PK\x03\x04abc", b"\x89HDF\r\n\x1a\n"]
)
def test_a_file_that_is_no_hdf5(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "gtsrb32.h5").write_bytes(content)
    with pytest.raises(DataError, match=r"gtsrb32.h5: .*; fetch or make the file again"):
        gtsrb(root=str(tmp_path / "gtsrb32.h5"))
