"""idx files: MNIST's layout, packed or not, and files that are none."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from advrun.datasets.idx import idx
from advrun.errors import DataError

TRAIN = np.arange(4 * 5 * 6, dtype=np.uint8).reshape(4, 5, 6)
TEST = 255 - TRAIN[:2]
FILES = {
    "train-images-idx3-ubyte": TRAIN,
    "train-labels-idx1-ubyte": np.array([0, 9, 1, 1], np.uint8),
    "t10k-images-idx3-ubyte": TEST,
    "t10k-labels-idx1-ubyte": np.array([1, 0], np.uint8),
}


def packed(values: np.ndarray, code: int = 8) -> bytes:
    """The format as its author describes it: zero, zero, type, number of sides, sides, values."""
    return bytes([0, 0, code, values.ndim]) + np.array(values.shape, ">u4").tobytes() + values.tobytes()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, values in FILES.items():
        (tmp_path / name).write_bytes(packed(values))
    return tmp_path


def test_four_files(root: Path) -> None:
    data = idx(root=str(root))
    assert np.array_equal(data.x_train[..., 0], TRAIN)
    assert np.array_equal(data.x_test[..., 0], TEST)
    assert (data.y_train.tolist(), data.y_test.tolist(), data.classes) == ([0, 9, 1, 1], [1, 0], 10)
    fingerprint = data.fingerprint
    for path in list(root.iterdir()):
        with gzip.open(f"{path}.gz", "wb") as file:
            file.write(path.read_bytes())
    assert idx(root=str(root)).fingerprint == fingerprint  # both forms beside each other
    for name in FILES:
        (root / name).unlink()
    assert idx(root=str(root)).fingerprint == fingerprint


def test_numbers_have_the_highest_byte_first(root: Path) -> None:
    (root / "t10k-images-idx3-ubyte").write_bytes(packed((TEST / np.float32(255)).astype(">f4"), 0x0D))
    (root / "t10k-labels-idx1-ubyte").write_bytes(packed(np.array([1, 0], ">i4"), 0x0C))
    data = idx(root=str(root))
    assert np.array_equal(data.x_test[..., 0], TEST)
    assert data.y_test.tolist() == [1, 0]


def test_test_images_alone(root: Path) -> None:
    test_fingerprint = idx(False, root=str(root)).test_fingerprint
    assert idx(root=str(root)).test_fingerprint == test_fingerprint
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"):
        (root / name).unlink()
    data = idx(root=str(root))
    assert (len(data.x_train), data.classes) == (0, 2)


def test_several_sets_in_one_folder(root: Path) -> None:
    for name, values in FILES.items():
        (root / f"emnist-digits-{name.replace('t10k', 'test')}").write_bytes(packed(values[::-1]))
    with pytest.raises(DataError, match="say with `only` which part of the name is meant"):
        idx(root=str(root))
    assert np.array_equal(idx(root=str(root), only="digits").x_test[..., 0], TEST[::-1])


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("t10k-images-idx3-ubyte", packed(TEST)[:-1], "damaged .it ends too early"),
        ("t10k-images-idx3-ubyte", packed(TEST)[:9], "it ends within its header"),
        ("t10k-images-idx3-ubyte", b"<html>", "an HTML page"),
        ("t10k-images-idx3-ubyte", b"", "an empty file"),
        ("t10k-images-idx3-ubyte", b"\0\0\x08\x03" + b"\xff" * 12, "declares .*; fetch it again"),
        ("t10k-images-idx3-ubyte", gzip.compress(packed(TEST), mtime=0)[:-20], "damaged"),
        ("t10k-images-idx3-ubyte", gzip.compress(packed(TEST)[:-30], mtime=0), "damaged .it ends too early"),
        (
            "t10k-images-idx3-ubyte",
            gzip.compress(b"\0\0\x08\x03" + np.array([2, 30_000, 30_000], ">u4").tobytes(), mtime=0),
            "more than the file",
        ),
        ("t10k-labels-idx1-ubyte", packed(np.array([1], np.uint8)), "2 images and 1 labels"),
        ("t10k-labels-idx1-ubyte", None, "no labels of the test set; expected t10k-labels-idx1-ubyte"),
        ("train-images-idx3-ubyte", None, "no images of the train set"),
    ],
)
def test_files_that_are_refused(root: Path, name: str, content: bytes | None, reason: str) -> None:
    (root / name).unlink() if content is None else (root / name).write_bytes(content)
    tracemalloc.start()
    with pytest.raises(DataError, match=reason) as raised:
        idx(root=str(root))
    assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    tracemalloc.stop()
    assert "\n" not in str(raised.value)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a folder with idx files"):
        idx(root=str(tmp_path / "absent"))
