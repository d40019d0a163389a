"""GTSRB as Udacity's pickles: the arrays come out right, tracks are inferred only where pixels confirm it, no code runs."""

from __future__ import annotations

import gzip
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from advrun.datasets.gtsrb import gtsrb
from advrun.errors import DataError


def udacity_split(tracks: dict[int, int], seed: int) -> dict[str, np.ndarray]:
    """Images of `tracks[label]` tracks for each class: the 30 of a track look alike."""
    rng = np.random.default_rng(seed)
    images, labels = [], []
    for label, count in tracks.items():
        for _ in range(count):
            base = rng.integers(20, 230, (1, 32, 32, 3))
            images.append(base + rng.integers(-5, 6, (30, 32, 32, 3)))
            labels += [label] * 30
    return {
        "features": np.concatenate(images).astype(np.uint8),
        "labels": np.array(labels, np.uint8),
        "sizes": np.full((len(labels), 2), 40),
        "coords": np.full((len(labels), 4), 5),
    }


def write_pickles(root: Path, protocol: int = 3, train: dict[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
    root.mkdir(exist_ok=True)
    train = train or udacity_split({41: 2, 1: 3, 33: 2}, seed=1)
    splits = {"train": train, "valid": udacity_split({41: 1, 1: 1, 33: 1}, seed=2), "test": udacity_split({1: 1, 41: 1}, seed=3)}
    for name, content in splits.items():
        (root / f"{name}.p").write_bytes(pickle.dumps(content, protocol))
    return train


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_udacity_pickles(tmp_path: Path, protocol: int) -> None:
    train = write_pickles(tmp_path, protocol)
    data = gtsrb(root=str(tmp_path))
    assert np.array_equal(data.x_train[: 7 * 30], train["features"])
    assert np.array_equal(data.y_train[: 7 * 30], train["labels"])
    assert len(data.y_train) == 10 * 30
    assert len(np.unique(data.group)) == 10
    assert all(len(np.unique(data.group[start : start + 30])) == 1 for start in range(0, 300, 30))
    assert "whole images, not cropped; tracks inferred" in data.variant


def test_udacity_pickles_of_older_numpy(tmp_path: Path) -> None:
    """NumPy 1 wrote its modules under other names."""
    write_pickles(tmp_path, 2)
    for file in tmp_path.glob("*.p"):
        content = file.read_bytes()
        assert b"cnumpy._core.multiarray\n" in content
        file.write_bytes(content.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))
    assert len(gtsrb(root=str(tmp_path)).y_train) == 300


def test_shuffled_udacity_pickles_have_no_tracks(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rng = np.random.default_rng(0)
    ordered = udacity_split({41: 8, 1: 8}, seed=1)
    anywhere = rng.permutation(480)
    inside_classes = np.concatenate([rng.permutation(240), 240 + rng.permutation(240)])
    for order in (anywhere, inside_classes):
        write_pickles(tmp_path, train={name: values[order] for name, values in ordered.items()})
        data = gtsrb(root=str(tmp_path))
        assert data.group is None
        assert "tracks unknown" in data.variant
        assert "validation images show training signs" in caplog.text


def test_the_short_track_makes_its_run_one_group(tmp_path: Path) -> None:
    ordered = udacity_split({41: 2, 1: 3, 33: 2}, seed=1)
    write_pickles(tmp_path, train={name: np.delete(values, 6 * 30 + 4, axis=0) for name, values in ordered.items()})
    group = gtsrb(root=str(tmp_path)).group
    assert len(np.unique(group[150:209])) == 1
    assert len(np.unique(group)) == 2 + 3 + 1 + 3


def test_udacity_images_have_one_size(tmp_path: Path) -> None:
    write_pickles(tmp_path)
    with pytest.raises(DataError, match="set image_size: 32"):
        gtsrb(root=str(tmp_path), image_size=48)


class Call:
    """Pickles as a call of any function."""

    def __init__(self, function, *arguments) -> None:
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def object_array() -> np.ndarray:
    return np.array([{"a": 1}, None], object)


def hostile_dtype() -> bytes:
    """An integer array whose type declares, through its state, that the bytes are object pointers."""
    plain = pickle.dumps({"features": np.zeros(8, "V8"), "labels": np.zeros(1, np.uint8)}, 2)
    return plain.replace(b"V8", b"O8")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (lambda marker: pickle.dumps(Call(os.system, f"touch {marker}")), "system"),
        (lambda marker: pickle.dumps({"features": Call(eval, f"open({str(marker)!r}, 'w')")}), "eval"),
        (lambda marker: pickle.dumps(Call(getattr, Call(__import__, "os"), "system")), "__import__|getattr"),
        (lambda marker: pickle.dumps({"features": object_array(), "labels": np.zeros(2, np.uint8)}), "'O8'|'O'"),
        (lambda marker: hostile_dtype(), "'O8'"),
        (lambda marker: pickle.dumps({"features": np.zeros((2, 4, 4, 3), np.uint8)}), "'labels'"),
        (lambda marker: pickle.dumps({"features": [1], "labels": [1]}), "list where an array"),
        (lambda marker: pickle.dumps(np.zeros(3)), "no dictionary"),
        (lambda marker: pickle.dumps(udacity_split({1: 1}, 0))[:5000], "damaged"),
        (lambda marker: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (lambda marker: b"\n<!DOCTYPE html><html>", "HTML page"),
        (lambda marker: gzip.compress(b"abc"), "gzip"),
        (lambda marker: b"PK\x03\x04aaaa", "zip"),
        (lambda marker: b"", "empty"),
    ],
)
def test_hostile_and_damaged_pickles(tmp_path: Path, content, reason: str) -> None:
    write_pickles(tmp_path / "data")
    marker = tmp_path / "executed"
    (tmp_path / "data/train.p").write_bytes(content(marker))
    with pytest.raises(DataError, match=reason) as raised:
        gtsrb(root=str(tmp_path / "data"))
    assert "train.p" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not marker.exists()


def test_train_pickle_alone(tmp_path: Path) -> None:
    write_pickles(tmp_path)
    (tmp_path / "test.p").unlink()
    with pytest.raises(DataError, match=r"test\.p: missing"):
        gtsrb(root=str(tmp_path))
