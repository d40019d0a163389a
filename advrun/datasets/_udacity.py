"""GTSRB as Udacity gives it out: train.p, valid.p and test.p, pickles of a dictionary of arrays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from advrun.datasets._pickles import plain, unpickled
from advrun.datasets._prepared import Split, Splits
from advrun.errors import DataError

FRAMES = 30
"""Images of a track, everywhere but in one track of class 33, which has 29."""
SHORT_TRACK_CLASS = 33
ALIKE = 0.6


def udacity(root: Path) -> Splits | None:
    """Training (train.p and valid.p, if any) and test split, or None where there is no train.p in `root` or one folder below.

    Images are the whole pictures at 32 x 32, not cropped to the sign. Rows keep the order of the files.
    """
    for pattern in ("train.p", "*/train.p"):
        for path in sorted(root.glob(pattern)):
            parts = [_read(file) for file in (path, path.with_name("valid.p")) if file == path or file.exists()]
            test = _read(path.with_name("test.p"))
            images, labels = (np.concatenate([part[field] for part in parts]) for field in (0, 1))
            return Split(images, labels, tracks(images, labels)), Split(*test)
    return None


def tracks(images: np.ndarray, labels: np.ndarray) -> np.ndarray | None:
    """Track numbers of images that come track by track, (n,) int32, or None where that cannot be seen.

    The pickles hold no track numbers. In files that were not shuffled, labels come in runs of whole tracks, so each 30
    images of a run are one. The pixels must confirm it: neighbours in a track look alike. (On the official training set,
    the mean step between neighbours is 0.22 of that between tracks of one class; with shuffled rows it is 1.00.)
    A run of class 33 with the track of 29 images counts as one track, for nothing says where in it that track is.
    """
    starts = np.flatnonzero(np.diff(labels, prepend=-1))
    lengths = np.diff(starts, append=len(labels))
    whole = lengths % FRAMES == 0
    if np.any(~whole & (labels[starts] != SHORT_TRACK_CLASS)):
        return None
    run = np.repeat(np.arange(len(starts)), lengths)
    block = np.where(whole[run], (np.arange(len(labels)) - starts[run]) // FRAMES, 0)
    _, track = np.unique(run * len(labels) + block, return_inverse=True)
    step = np.abs(np.diff(images[:, ::4, ::4].astype(np.int16), axis=0)).mean(axis=(1, 2, 3))
    inside = np.diff(track) == 0
    borders = step[~inside & (np.diff(labels) == 0)]
    if not len(borders) or step[inside].mean() > ALIKE * borders.mean():
        return None
    return track.astype(np.int32)


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 32, 32, 3) uint8 and labels (n,) int32 of one pickle."""
    try:
        with open(path, "rb") as file:
            content = unpickled(file, str(path))
    except FileNotFoundError as error:
        raise DataError(f"{path}: missing; train.p and test.p belong together") from error
    if not isinstance(content, Mapping) or not {"features", "labels"} <= set(content):
        raise DataError(f"{path}: holds no dictionary with 'features' and 'labels'; fetch the file again")
    try:
        images, labels = plain(content["features"]), plain(content["labels"])
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}: {error}; fetch the file again") from error
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or labels.shape != images.shape[:1]:
        raise DataError(f"{path}: images are {images.dtype} {images.shape}, labels {labels.shape}; expected uint8 (n, 32, 32, 3)")
    return images, labels.astype(np.int32)
