"""Data sets that everybody downloads: files of one's own, or those of Keras' cache, which Keras' own loader fills."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from advrun.data import Dataset
from advrun.datasets._draw import drawn
from advrun.errors import DataError

log = logging.getLogger("advrun")

TIMEOUT = 30.0
"""Seconds without a byte after which a download counts as failed; Keras' loader sets none."""

Reader = Callable[[Path], Dataset]
"""Reads both parts of a data set from a file or folder; no training images where there is one part alone."""


class Published(NamedTuple):
    """A data set as its authors published it.

    name: of the data set here and in keras.datasets. counts: training and test images. form: what the files are called, for messages.
    size: of the download, in words. by_hand: which file to put into Keras' cache where there is no network, and where it is from.
    """

    name: str
    title: str
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    counts: tuple[int, int]
    form: str
    size: str
    by_hand: str


def published(
    about: Published,
    training: bool,
    root: str,
    test_fraction: float,
    seed: int,
    *,
    read: Reader,
    found: Callable[[], Path | None],
) -> Dataset:
    """The data set from `root`, or, where that is empty, from where `found` finds its published files.

    Args:
        about: the data set.
        training: whether training images are wanted.
        root: a file or folder of one's own, or nothing.
        test_fraction: share of each class that is the test set where there is one part alone; 1 takes all images.
        seed: of that draw.
        read: reads a file or a folder.
        found: finds the published files on this machine, checked; None where they are not there.

    Raises:
        DataError: nothing is there and nothing can be downloaded; or files are damaged, or are of another data set.
    """
    place = Path(root) if root else found() or _fetched(about, found)
    if not place.exists():
        raise DataError(f"{place}: no such file or folder; expected {about.form}, or no root, for Keras' cache")
    data = read(place)
    if data.image_shape != about.image_shape or data.classes > len(about.class_names):
        height, width, channels = about.image_shape
        raise DataError(
            f"{place}: {data.classes} classes of {data.image_shape} images are not {about.title}, whose {len(about.class_names)} classes "
            f"are {height} x {width} x {channels}; read them by name: arrays, idx or folder"
        )
    data = replace(data, name=about.name, class_names=about.class_names)
    counts = len(data.y_train), len(data.y_test)
    variant = f"{counts[0]:,} training, {counts[1]:,} test images"
    if counts == about.counts:
        variant = f"all of {about.title} ({variant})"
    elif not counts[0]:
        data = _divided(data, test_fraction, seed)
        variant = f"{counts[1]:,} images in one part: {len(data.y_train):,} for training, {len(data.y_test):,} for test, seed {seed}"
    else:
        variant = f"{variant}, of {about.counts[0]:,} and {about.counts[1]:,}"
    log.info("%s: %s: %s", about.name, place, variant)
    data = replace(data, variant=variant)
    return data if training else replace(data, x_train=data.x_train[:0], y_train=data.y_train[:0])


def _divided(data: Dataset, test_fraction: float, seed: int) -> Dataset:
    """Training and test images out of what came as one part, in the order in which they came."""
    members = {str(label): np.flatnonzero(data.y_test == label).tolist() for label in np.unique(data.y_test)}
    train, test = (np.sort([row for rows in part.values() for row in rows]).astype(int) for part in drawn(members, test_fraction, seed))
    x, y = data.x_test, data.y_test
    return replace(data, x_train=x[train], y_train=y[train], x_test=x[test], y_test=y[test])


def cache_folders() -> list[Path]:
    """Where Keras' loaders keep their files; the second where the first cannot be written."""
    home = os.environ.get("KERAS_HOME") or os.path.join(os.path.expanduser("~"), ".keras")
    return [Path(home) / "datasets", Path(tempfile.gettempdir()) / ".keras" / "datasets"]


def checked(path: Path, digests: Sequence[str]) -> Path | None:
    """The file, or None where there is none; one whose SHA-256 or MD5 is not among `digests` raises DataError."""
    if not path.is_file():
        return None
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256" if len(digests[0]) == 64 else "md5").hexdigest()
    if digest not in digests:
        raise DataError(f"{path}: not the published file, or damaged (its checksum is {digest}); delete it and fetch it again")
    return path


def _fetched(about: Published, found: Callable[[], Path | None]) -> Path:
    """Have Keras' own loader fill its cache. Raises DataError where it cannot, with where to put the files by hand."""
    from advrun.engine import keras

    cache = cache_folders()[0]
    log.warning("%s: not on this machine; Keras downloads it (%s) into %s", about.name, about.size, cache)
    reason = quietly(getattr(keras.datasets, about.name).load_data)
    if reason:
        raise DataError(
            f"{about.name}: cannot be downloaded ({reason}); put {about.by_hand} into {cache} by hand, "
            f"or say with data.root where you have {about.form}"
        )
    place = found()
    if place is None:
        raise DataError(f"{about.name}: Keras' loader left nothing in {cache}; say with data.root where you have {about.form}")
    return place


def quietly(fetch: Callable[[], Any]) -> str:
    """Have Keras fetch something, without its progress bar, and without waiting for ever. Returns why it could not, or ""."""
    try:
        with _patient(), contextlib.redirect_stdout(io.StringIO()):
            fetch()
    except Exception as error:  # Keras raises a bare Exception where there is no network
        return " ".join(str(error).split()) or type(error).__name__
    return ""


@contextlib.contextmanager
def _patient() -> Iterator[None]:
    """Connections that are silent for `TIMEOUT` seconds end, instead of never."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
