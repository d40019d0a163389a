"""Prepared HDF5 files of GTSRB from strangers: judged before they are read, in one line, at no cost."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest

from advrun.datasets.gtsrb import gtsrb
from advrun.errors import DataError

N, M = 6, 4
IMAGES = np.random.default_rng(0).integers(0, 256, (N, 32, 32, 3), np.uint8)
CONTENT = {
    "train/images": IMAGES,
    "train/labels": np.array([0, 1, 2, 3, 41, 42]),
    "train/track": np.zeros(N, np.int32),
    "test/images": IMAGES[:M],
    "test/labels": np.arange(M, dtype=np.uint8),
}


def write(path: Path, **changes: object) -> str:
    with h5py.File(path, "w") as file:
        for name, values in {**CONTENT, **{name.replace("_", "/"): values for name, values in changes.items()}}.items():
            if isinstance(values, dict):
                file.create_dataset(name, **values)
            elif values is not None:
                file[name] = values
    return str(path)


def test_labels_of_any_usual_kind(tmp_path: Path) -> None:
    expected = gtsrb(root=write(tmp_path / "a.h5")).fingerprint
    labels = CONTENT["train/labels"]
    for same in (np.eye(43)[labels], labels[:, None], labels.astype(np.float32)):
        assert gtsrb(root=write(tmp_path / "a.h5", train_labels=same)).fingerprint == expected


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"train_labels": np.array([0, 1, 2, 3, 4, 0.7])}, r"train/labels holds 0\.7 \(row 5\)"),
        ({"train_labels": np.array([0, 1, 2, 3, 4, 2**32 + 1])}, "runs up to 4,294,967,297; expected class numbers from 0, below 43"),
        ({"test_labels": np.array([0, 1, 2, 43])}, "test/labels runs up to 43"),
        ({"test_labels": np.array([0, 1, 2, -1])}, r"holds -1 \(row 3\)"),
        ({"test_labels": np.array([0, 1, np.nan, 1])}, r"holds nan \(row 2\)"),
        ({"train_labels": np.full((N, 43), 0.1)}, "is not one-hot"),
        ({"train_labels": np.zeros((N, 44))}, "one-hot for 44 classes; expected at most 43"),
        ({"train_labels": np.zeros(N - 1, int)}, "there are 6 images and 5 labels"),
        ({"train_labels": np.zeros((N, 2, 2), int)}, "expected whole numbers"),
        ({"train_labels": ["a"] * N}, "train/labels is object"),
        ({"train_track": np.zeros(N - 1, int)}, r"train/track is int64 \(5,\); expected whole numbers \(6,\)"),
        ({"train_track": np.full(N, 0.5)}, "train/track is float64"),
        ({"train_track": np.full(N, 2**40)}, "expected numbers of at most five digits"),
        ({"train_images": IMAGES / 255}, r"train/images is float64 \(6, 32, 32, 3\); expected uint8"),
        ({"train_images": IMAGES[:, :, :16]}, r"expected uint8 \(n, 32, 32, 3\)"),
        ({"test_images": IMAGES[:M, ..., 0]}, r"test/images is uint8 \(4, 32, 32\)"),
        ({"test_images": None}, "no test/images or no test/labels"),
        ({"train_images": {"shape": (360_000, 32, 32, 3), "dtype": "u1"}}, "not all of it was ever written|360000 images and 6"),
        (
            {
                "train_images": {"shape": (360_000, 32, 32, 3), "dtype": "u1", "chunks": (100, 32, 32, 3), "compression": "gzip"},
                "train_labels": np.zeros(360_000, np.uint8),
            },
            r"train/images declares \(360000, 32, 32, 3\) uint8, but not all of it was ever written",
        ),
        ({"train_labels": {"shape": (2**30,), "dtype": "u1", "chunks": (2**20,)}}, "not all of it was ever written"),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_what_is_refused_is_refused_before_it_is_read(tmp_path: Path, changes: dict[str, object], reason: str, training: bool) -> None:
    path = write(tmp_path / "a.h5", **changes)
    tracemalloc.start()
    with pytest.raises(DataError, match=reason) as raised:
        gtsrb(training, root=path)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 20 * 2**20
    assert "\n" not in str(raised.value)


def test_training_images_that_nothing_needs_are_not_read(tmp_path: Path) -> None:
    both = gtsrb(root=write(tmp_path / "a.h5"))
    alone = gtsrb(False, root=str(tmp_path / "a.h5"))
    assert (len(alone.x_train), alone.group, alone.variant) == (0, None, both.variant)
    assert alone.test_fingerprint == both.test_fingerprint
