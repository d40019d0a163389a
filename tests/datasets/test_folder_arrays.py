"""`folder` and `arrays`: what everybody has on disk, read right or refused with the reason; and the contact sheet."""

from __future__ import annotations

import io
import logging
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from advrun.data import Dataset
from advrun.datasets._sheet import contact_sheet, describe, tile_size
from advrun.datasets.arrays import arrays
from advrun.datasets.folder import folder
from advrun.errors import ConfigError, DataError

# folder ---------------------------------------------------------------------------------------------------------


def paint(path: Path, colour: tuple[int, ...] | int, mode: str = "RGB", size: tuple[int, int] = (20, 10)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)


@pytest.fixture
def split(tmp_path: Path) -> Path:
    """Two classes with a test folder, every format and mode that is read."""
    for row, ending in enumerate(("png", "ppm", "bmp")):
        paint(tmp_path / f"train/red/{row}.{ending}", (200, 10, 0))
    paint(tmp_path / "train/red/deeper/LAST.PNG", (200, 10, 0, 40), mode="RGBA")
    paint(tmp_path / "train/grey/0.png", 90, mode="L")
    paint(tmp_path / "train/grey/1.png", 1, mode="1")
    paint(tmp_path / "test/grey/0.webp", (90, 90, 90))
    paint(tmp_path / "test/red/0.jpg", (200, 10, 0))
    (tmp_path / "train/red/notes.txt").write_text("not an image")
    (tmp_path / "train/.cache").mkdir()
    return tmp_path


def test_folder_with_a_test_set(split: Path) -> None:
    data = folder(root=str(split), image_size=8)
    assert data.class_names == ("grey", "red")
    assert data.y_train.tolist() == [0, 0, 1, 1, 1, 1]
    assert data.y_test.tolist() == [0, 1]
    assert data.image_shape == (8, 8, 3)
    assert [tuple(image[4, 4].tolist()) for image in data.x_train] == [(90, 90, 90), (255, 255, 255), *[(200, 10, 0)] * 4]
    assert data.group is None
    assert "test set in test/" in data.variant


def test_folder_takes_val_where_there_is_no_test(split: Path) -> None:
    (split / "test").rename(split / "val")
    assert "test set in val/" in folder(root=str(split)).variant


def test_folder_draws_a_stratified_test_set(tmp_path: Path) -> None:
    for label, count in (("a", 10), ("b", 5), ("c", 2), ("d", 1)):
        for row in range(count):
            paint(tmp_path / label / f"{row}.png", (ord(label), row, 0))
    data = folder(root=str(tmp_path), image_size=2, test_fraction=0.4)
    assert np.bincount(data.y_test, minlength=4).tolist() == [4, 2, 1, 0]
    assert np.bincount(data.y_train).tolist() == [6, 3, 1, 1]
    pixels = [tuple(image[0, 0].tolist()) for image in (*data.x_train, *data.x_test)]
    assert len(set(pixels)) == 18
    assert folder(root=str(tmp_path), image_size=2, test_fraction=0.4).fingerprint == data.fingerprint
    assert folder(root=str(tmp_path), image_size=2, test_fraction=0.4, seed=1).fingerprint != data.fingerprint
    with pytest.raises(ConfigError, match="test_fraction 0 "):
        folder(root=str(tmp_path), test_fraction=0)


def test_folder_refuses_what_cannot_be_a_data_set(split: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        folder(root=str(tmp_path / "absent"))
    paint(split / "test/blue/0.png", (0, 0, 255))
    with pytest.raises(DataError, match="class 'blue' has no folder"):
        folder(root=str(split))
    (split / "train/blue").mkdir()
    with pytest.raises(DataError, match="blue: no images"):
        folder(root=str(split))
    (tmp_path / "one/only").mkdir(parents=True)
    with pytest.raises(DataError, match="1 class folders"):
        folder(root=str(tmp_path / "one"))


def test_folder_names_its_bad_images(split: Path) -> None:
    (split / "train/red/0.png").write_bytes((split / "train/red/0.png").read_bytes()[:45])
    (split / "train/red/9.png").write_text("<html>")
    paint(split / "train/grey/2.png", 30_000, mode="I;16")
    with pytest.raises(DataError) as raised:
        folder(root=str(split))
    for words in ("3 of 8 images", "train/red/0.png (", "9.png (an HTML page)", "mode I;16: save it as 8-bit"):
        assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_image_of_3_6_billion_pixels_is_refused_by_its_header(split: Path) -> None:
    header = io.BytesIO()
    Image.new("L", (1, 1)).save(header, "PNG")
    content = bytearray(header.getvalue())
    content[16:24] = (60_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    (split / "train/red/0.png").write_bytes(content)
    with pytest.raises(DataError, match=r"0\.png \(a header that declares far more than 4096"):
        folder(root=str(split))


# arrays ---------------------------------------------------------------------------------------------------------

CONTENT = {
    "x_train": np.arange(6 * 4 * 4 * 3, dtype=np.uint8).reshape(6, 4, 4, 3),
    "y_train": np.array([0, 1, 2, 0, 1, 2]),
    "x_test": np.full((3, 4, 4, 3), 7, np.uint8),
    "y_test": np.array([2, 1, 0], np.uint8),
}


def write(path: Path, **changes: object) -> str:
    """CONTENT with changes (None leaves an array out) as .npz or HDF5."""
    content = {name: values for name, values in {**CONTENT, **changes}.items() if values is not None}
    if path.suffix == ".npz":
        np.savez(path, **content)
    else:
        with h5py.File(path, "w") as file:
            for name, values in content.items():
                file[name] = values
    return str(path)


@pytest.fixture(params=["data.npz", "data.h5"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / request.param


def test_arrays(file: Path) -> None:
    data = arrays(path=write(file, group_train=np.array([70, 70, 5, 5, 5, 9])))
    assert np.array_equal(data.x_train, CONTENT["x_train"])
    assert data.y_test.tolist() == [2, 1, 0]
    assert data.y_train.dtype == data.y_test.dtype == np.int32
    assert data.group.tolist() == [2, 2, 0, 0, 0, 1]
    assert data.class_names == ("0", "1", "2")
    assert data.variant == f"{file.name} (6 training, 3 test images)"


def test_arrays_under_the_names_of_prepared_files(file: Path) -> None:
    other = dict.fromkeys(CONTENT)
    names = ("train/images", "train/labels", "test/images", "test/labels")
    write(file, **other, **dict(zip(names, CONTENT.values(), strict=True)))
    assert np.array_equal(arrays(path=str(file)).x_test, CONTENT["x_test"])


def test_prepared_gtsrb_reads_as_arrays(gtsrb_file: Path) -> None:
    data = arrays(path=str(gtsrb_file))
    assert data.class_names[14] == "Stop"
    assert data.x_train.shape == (39_209, 32, 32, 3)


def test_class_names(tmp_path: Path) -> None:
    assert arrays(path=write(tmp_path / "a.npz", class_names=np.array(["a", "b", "c"]))).class_names == ("a", "b", "c")
    assert arrays(path=write(tmp_path / "a.h5", class_names=["a", "b", "c"])).class_names == ("a", "b", "c")
    assert arrays(path=write(tmp_path / "b.h5", class_names=np.array([b"a", b"b", b"c"]))).class_names == ("a", "b", "c")
    with pytest.raises(DataError, match="labels speak of 3 classes"):
        arrays(path=write(tmp_path / "b.npz", class_names=np.array(["a", "b"])))


def test_floats_of_8_bit_images_come_back_exactly(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    for dtype in (np.float32, np.float64):
        data = arrays(path=write(file, x_train=(CONTENT["x_train"] / 255).astype(dtype)))
        assert np.array_equal(data.x_train, CONTENT["x_train"])
    assert not caplog.records


def test_rounding_is_said(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = arrays(path=write(file, x_test=np.full((3, 4, 4, 3), 0.5, np.float32)))
    assert data.x_test.max() == 128
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "x_test is rounded to 8 bit" in caplog.text


def test_grey_images_and_wide_integers(file: Path) -> None:
    data = arrays(path=write(file, x_train=np.full((6, 4, 4), 255, np.int64), x_test=np.zeros((3, 4, 4), np.int64)))
    assert data.image_shape == (4, 4, 1)
    assert data.x_train.dtype == np.uint8
    assert data.x_train.min() == 255


@pytest.mark.parametrize(
    "labels", [np.eye(5)[[4, 1, 2, 0, 1, 2]], np.array([[4], [1], [2], [0], [1], [2]]), np.array([4.0, 1, 2, 0, 1, 2])]
)
def test_one_hot_column_and_float_labels(file: Path, labels: np.ndarray) -> None:
    data = arrays(path=write(file, y_train=labels))
    assert data.y_train.tolist() == [4, 1, 2, 0, 1, 2]
    assert data.classes == 5


def test_arrays_of_test_images_alone(file: Path) -> None:
    """For models that are trained already."""
    nothing = dict.fromkeys(CONTENT)
    for names in (("x_test", "y_test"), ("x", "y")):
        data = arrays(path=write(file, **{**nothing, names[0]: CONTENT["x_test"], names[1]: CONTENT["y_test"]}))
        assert np.array_equal(data.x_test, CONTENT["x_test"])
        assert (data.x_train.shape, data.y_train.shape, data.classes) == ((0, 4, 4, 3), (0,), 3)
    with pytest.raises(DataError, match=r"no y_train \(nor train/labels nor train_labels\); it holds x_test, x_train, y_test;"):
        arrays(path=write(file, y_train=None))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"x_test": None}, r"no x_test \(nor test/images nor .* nor x nor images nor data\); it holds"),
        ({"x_train": np.full((6, 4, 4, 3), np.nan)}, "x_train holds NaN"),
        ({"x_train": np.full((6, 4, 4, 3), 256.0)}, "x_train runs from 256 to 256; .*rescale"),
        ({"x_train": np.full((6, 4, 4, 3), 1.2)}, "x_train runs from 1.2 to 1.2; .*clip them to 1"),
        ({"x_train": np.full((6, 4, 4, 3), -1, np.int16)}, "x_train runs from -1"),
        ({"x_train": np.full((6, 4, 4, 3), -1.0)}, r"x_train runs from -1 to -1; .*write them as \(x \+ 1\) / 2"),
        ({"x_train": np.full((6, 4, 4, 3), -0.5)}, r"write them as x \+ 0.5"),
        ({"x_train": np.linspace(-2.1, 2.6, 288).reshape(6, 4, 4, 3)}, r"undo the standardisation \(x \* std \+ mean\)"),
        ({"x_train": np.zeros((6, 5, 40, 40), np.uint8)}, "at most 4 channels"),
        ({"x_train": np.zeros((6, 10), np.uint8)}, "expected .n, height, width, channels"),
        ({"x_train": np.zeros((6, 4, 4, 3), bool)}, "x_train holds bool"),
        ({"x_train": np.zeros((0, 4, 4, 3), np.uint8)}, "x_train is empty"),
        ({"x_train": np.zeros((5, 4, 4, 3), np.uint8)}, "5 images and 6 labels"),
        ({"x_test": np.zeros((3, 5, 5, 3), np.uint8)}, "training images are"),
        ({"y_train": np.array([0, 1, 2, 0, 1, -1])}, "no class numbers"),
        ({"y_train": np.array([0, 1, 2, 0, 1, 0.5])}, "no class numbers"),
        ({"y_train": np.array([0, 1, 2, 0, 1, 2_000_000_000])}, "runs up to 2,000,000,000"),
        ({"y_train": np.full((6, 3), 0.3)}, "not one-hot"),
        ({"y_train": np.zeros((6, 3))}, "not one-hot"),
        ({"group_train": np.zeros(5, np.int32)}, "group_train is"),
    ],
)
def test_arrays_that_are_refused(file: Path, changes: dict[str, object], reason: str) -> None:
    with pytest.raises(DataError, match=reason) as raised:
        arrays(path=write(file, **changes))
    assert "\n" not in str(raised.value)


def test_pickled_objects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="x_train holds Python objects"):
        arrays(path=write(tmp_path / "a.npz", x_train=np.array([{"a": 1}], object)))


def test_npz_that_declares_a_terabyte(tmp_path: Path) -> None:
    path = Path(write(tmp_path / "a.npz", x_train=None))
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (2**20, 2**10, 2**10)})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x_train.npy", header.getvalue())
    with pytest.raises(DataError, match="over 8 GiB; refused"):
        arrays(path=str(path))


@pytest.mark.parametrize("content", [b"", b"<html>", b"version https://git-lfs", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"])
def test_files_that_are_something_else(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(DataError, match=file.name):
        arrays(path=str(file))
    with pytest.raises(DataError, match="no such file"):
        arrays(path=str(file.with_stem("absent")))


@pytest.mark.parametrize("order", ["C", "F"])
def test_either_order_in_memory(tmp_path: Path, order: str) -> None:
    data = arrays(path=write(tmp_path / "a.npz", x_train=np.asarray(CONTENT["x_train"], order=order)))
    assert np.array_equal(data.x_train, CONTENT["x_train"])


def test_channels_first_are_turned_round_and_said(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    images = np.arange(6 * 8 * 5 * 3, dtype=np.uint8).reshape(6, 8, 5, 3)
    first = {"x_train": images.transpose(0, 3, 1, 2), "x_test": images[:3].transpose(0, 3, 1, 2)}
    data = arrays(path=write(file, **first))
    assert np.array_equal(data.x_train, images)
    assert np.array_equal(data.x_test, images[:3])
    assert "x_test has shape (3, 3, 8, 5): read as channels first" in caplog.text
    narrow = np.zeros((6, 3, 4, 4), np.uint8)  # may be 3 x 4 pixels of 4 channels: taken as it is written
    assert arrays(path=write(file, x_train=narrow, x_test=narrow[:3])).image_shape == (3, 4, 4)


@pytest.mark.parametrize(("add", "also"), [(0, ""), (0.25, ", and rounded to whole ones")])
def test_floats_up_to_255_are_grey_levels(file: Path, caplog: pytest.LogCaptureFixture, add: float, also: str) -> None:
    images = np.full((3, 4, 4, 3), 100, np.uint8)
    images[0, 0, 0, 0] = 7
    data = arrays(path=write(file, x_test=images.astype(np.float32) + add))
    assert np.array_equal(data.x_test, images)
    expected = f"{file}: x_test runs from {7 + add:g} to {100 + add:g}: taken as grey levels from 0 to 255{also}"
    assert [record.getMessage() for record in caplog.records] == [expected]


def test_names_in_capitals_and_of_other_writers(file: Path) -> None:
    nothing = dict.fromkeys(CONTENT)
    for x, y in (("X", "Y"), ("images", "labels"), ("data", "target"), ("test_images", "test_labels"), ("X_test", "Y_Test")):
        data = arrays(path=write(file, **{**nothing, x: CONTENT["x_test"], y: CONTENT["y_test"]}))
        assert (data.y_test.tolist(), len(data.y_train)) == ([2, 1, 0], 0)
    with pytest.raises(DataError, match=r"X_(test|TEST) and X_(test|TEST) differ by capitals alone"):
        arrays(path=write(file, x_test=None, X_test=CONTENT["x_test"], X_TEST=CONTENT["x_test"]))


def test_class_names_may_name_more_and_stay_on_one_line(file: Path) -> None:
    names = ["stop", "give\nway", "\x1b[31mred", "Vorfahrt \u505c"]
    data = arrays(path=write(file, class_names=names if file.suffix == ".h5" else np.array(names)))
    assert data.class_names == ("stop", "give\\nway", "\\x1b[31mred", "Vorfahrt \u505c")


def test_training_images_that_nothing_needs_are_not_read(tmp_path: Path) -> None:
    """They are damaged, which shows only where they are read."""
    images = np.random.default_rng(0).integers(0, 256, (6, 40, 40, 3), np.uint8)
    path = Path(write(tmp_path / "a.npz", x_train=images, x_test=images[:3]))
    content = bytearray(path.read_bytes())
    content[content.index(images.tobytes()) + 20_000] ^= 1
    path.write_bytes(content)
    data = arrays(False, path=str(path))
    assert (data.x_train.shape, data.y_train.shape, data.y_test.tolist()) == ((0, 40, 40, 3), (0,), [2, 1, 0])
    assert data.variant == "a.npz (6 training, 3 test images)"
    with pytest.raises(DataError, match="x_train is damaged"):
        arrays(True, path=str(path))


@pytest.mark.slow
def test_damage_anywhere_is_one_line_or_nothing(file: Path) -> None:
    write(file, group_train=np.zeros(6, int), class_names=["a", "b", "c"] if file.suffix == ".h5" else np.array(["a", "b", "c"]))
    whole, rng, refused = file.read_bytes(), np.random.default_rng(0), 0
    for _ in range(500):
        content = bytearray(whole)
        for place in rng.integers(0, len(content), rng.integers(1, 6)):
            content[place] = rng.integers(256)
        file.write_bytes(content[: len(content) - int(rng.integers(0, 400)) * int(rng.random() < 0.3)])
        refused += (reason := refusal(file)) != ""
        assert "\n" not in reason
    assert refused > 50


def refusal(file: Path) -> str:
    """Why the file is refused, or nothing. Any other exception is the test's failure."""
    try:
        arrays(path=str(file))
    except DataError as error:
        return str(error)
    return ""


def test_damage_inside_an_npz(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    write(path)
    content = bytearray(path.read_bytes())
    content[content.index(CONTENT["x_train"].tobytes()) + 5] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="x_train is damaged"):
        arrays(path=str(path))


def external_link(path: Path, other: Path) -> None:
    with h5py.File(path, "a") as file:
        file["x_train"] = h5py.ExternalLink(str(other), "x_train")


def soft_link(path: Path, other: Path) -> None:
    with h5py.File(path, "a") as file:
        file["x_train"] = h5py.SoftLink("/x_test")


def virtual(path: Path, other: Path) -> None:
    layout = h5py.VirtualLayout((6, 4, 4, 3), "u1")
    layout[:] = h5py.VirtualSource(str(other), "x_train", (6, 4, 4, 3))
    with h5py.File(path, "a") as file:
        file.create_virtual_dataset("x_train", layout)


def external_storage(path: Path, other: Path) -> None:
    """The data set's bytes are those of any file of the machine."""
    with h5py.File(path, "a") as file:
        file.create_dataset("x_train", (6, 4, 4, 3), "u1", external=[(str(other), 0, 288)])


def shape_bomb(path: Path, other: Path) -> None:
    with h5py.File(path, "a") as file:
        file.create_dataset("x_train", (10**6, 10**3, 10**3, 3), "u1", chunks=(1, 10, 10, 3))


def never_written(path: Path, other: Path) -> None:
    """14 kB that would be 1.1 GB of zeros."""
    with h5py.File(path, "a") as file:
        file.create_dataset("x_train", (360_000, 32, 32, 3), "u1", chunks=(1000, 32, 32, 3), compression="gzip")
        del file["y_train"]
        file["y_train"] = np.zeros(360_000, np.uint8)


def half_written(path: Path, other: Path) -> None:
    with h5py.File(path, "a") as file:
        file.create_dataset("x_train", (6, 4, 4, 3), "u1", chunks=(1, 4, 4, 3))[:3] = 1


def a_chunk_of_a_gigabyte(path: Path, other: Path) -> None:
    with h5py.File(path, "a") as file:
        file["x_train"] = CONTENT["x_train"]
        del file["y_train"]
        file.create_dataset("y_train", (6,), "u1", chunks=(2**30,), maxshape=(None,), compression="gzip")


def a_group(path: Path, other: Path) -> None:
    with h5py.File(path, "a") as file:
        file.create_group("x_train")


def text(path: Path, other: Path) -> None:
    with h5py.File(path, "a") as file:
        file["x_train"] = ["a", "b"]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (external_link, "link to somewhere else"),
        (soft_link, "link to somewhere else"),
        (virtual, "in another file"),
        (external_storage, "in another file"),
        (shape_bomb, "over 8 GiB; refused"),
        (a_group, "not an array"),
        (text, "x_train holds object values"),
        (never_written, "not all of it was ever written"),
        (half_written, "not all of it was ever written"),
        (a_chunk_of_a_gigabyte, "chunks of .1073741824,., far more than its shape"),
    ],
)
def test_hostile_hdf5(tmp_path: Path, make, reason: str) -> None:
    path, other = tmp_path / "hostile.h5", tmp_path / "other.h5"
    write(path, x_train=None)
    write(other)
    make(path, other)
    tracemalloc.start()
    with pytest.raises(DataError, match=reason):
        arrays(path=str(path))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 20 * 2**20


# The contact sheet ----------------------------------------------------------------------------------------------


def small(classes: int, channels: int = 3) -> Dataset:
    """Class k is painted in grey level k."""
    labels = np.repeat(np.arange(classes, dtype=np.int32), 3)
    images = np.broadcast_to(labels.astype(np.uint8)[:, None, None, None] * 5, (len(labels), 8, 8, channels)).copy()
    names = tuple(f"class number {label} with a name that is far too long to be shown in full on any sheet" for label in range(classes))
    return Dataset("small", images, labels, images[::3], labels[::3], names, variant="made up")


def test_describe() -> None:
    facts = describe(small(4))
    assert facts["counts"][2] == {"label": 2, "name": small(4).class_names[2], "train": 3, "test": 1}
    assert (facts["train"], facts["test"], facts["classes"], facts["groups"]) == (12, 4, 4, None)
    assert facts["fingerprint"] == small(4).fingerprint


@pytest.mark.parametrize(("classes", "channels"), [(3, 3), (3, 1), (30, 3), (3, 4)])
def test_contact_sheet_shows_every_class(tmp_path: Path, classes: int, channels: int) -> None:
    contact_sheet(small(classes, channels), tmp_path / "sheets/sheet.png", columns=5)
    page = Image.open(tmp_path / "sheets/sheet.png")
    grey = {pixel[0] for pixel in set(page.get_flattened_data()) if len(set(pixel)) == 1}
    assert page.mode == "RGB"
    assert {5 * label for label in range(classes)} <= grey
    assert page.width > page.height if classes == 30 else page.width > 300


@pytest.mark.parametrize(
    ("shape", "size"),
    [((32, 32), (64, 64)), ((28, 28), (56, 56)), ((8, 8), (56, 56)), ((40, 100), (100, 40)), ((100, 40), (22, 56)), ((224, 224), (56, 56))],
)
def test_samples_keep_their_proportions_and_small_ones_their_pixels(shape, size) -> None:
    assert tile_size(*shape) == size


def test_no_sample_is_wider_than_the_sheet_can_bear() -> None:
    assert tile_size(60, 1000) == (168, 10)


def test_a_small_image_is_enlarged_pixel_by_pixel(tmp_path: Path) -> None:
    """Two colours stay two colours."""
    images = np.zeros((3, 8, 8, 3), np.uint8)
    images[:, ::2, ::2] = 255, 0, 255
    labels = np.zeros(3, np.int32)
    contact_sheet(Dataset("two", images, labels, images, labels, ("停车",)), tmp_path / "sheet.png", columns=3)
    with Image.open(tmp_path / "sheet.png") as page:
        pixels = np.asarray(page)
    magenta = (pixels[..., 0] == pixels[..., 2]) & (pixels[..., 1] != pixels[..., 0])
    assert np.unique(pixels[magenta], axis=0).tolist() == [[255, 0, 255]]
    assert magenta.sum() == 3 * 16 * 49
