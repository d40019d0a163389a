"""GTSRB as one HDF5 file of resized images: reading prepared files, and the cache that the first read of image files leaves.

    train/images  (n, s, s, 3) uint8     test/images  (m, s, s, 3) uint8
    train/labels  (n,)                   test/labels  (m,)
    train/track   (n,) int32             test/number  (m,) int32
    train/frame   (n,) int32

A cache is such a file with three attributes more: `key`, what it was made from; `digest`, a hash of its content; `crop`.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from advrun.datasets import _hdf5
from advrun.errors import AdvrunError, DataError
from advrun.files import atomic, content_key

if TYPE_CHECKING:
    import h5py

log = logging.getLogger("advrun")

CACHE_PREFIX = "advrun-cache-"
WRITE_BITS = 0o222


class Split(NamedTuple):
    """Images (n, s, s, 3) uint8, labels (n,) int32, and, where known, track and number in the file name, (n,) int32."""

    images: np.ndarray
    labels: np.ndarray
    track: np.ndarray | None = None
    number: np.ndarray | None = None


Splits = tuple[Split, Split]
"""Training and test."""


def prepared(root: Path, image_size: int, crop: bool, *, last: bool = False) -> Splits | None:
    """The splits of a prepared HDF5 file, or None where no file has the images asked for.

    Args:
        root: the file, or a folder that holds one or several.
        image_size: height and width that the images must have.
        crop: True asks for images cropped to the sign, False for whole ones.
        last: there is nothing else at `root`: take what the cache left, though the image files are gone, and refuse
            files with other images.

    Raises:
        DataError: the file is damaged; or, with `last`, holds images of another size or cropping.
    """
    files = [root] if root.is_file() else sorted(file for end in _hdf5.SUFFIXES for file in root.glob(f"*{end}"))
    passed_over = "." if last else (".", CACHE_PREFIX)  # Hidden files are caches that are being written.
    kinds = {file: kind for file in files if not file.name.startswith(passed_over) and (kind := _kind(file))}
    for path, kind in kinds.items():
        if kind == (image_size, crop):
            with _hdf5.opened(path) as file:
                return _splits(file)
    if last and kinds:
        known = ", ".join(f"{path.name} has {_words(*kind)}" for path, kind in kinds.items())
        raise DataError(f"{root}: no {_words(image_size, crop)} images ({known}); set image_size and crop, or use the image files")
    return None


def cached(root: Path, name: str, key: str, crop: bool, read: Callable[[], Splits]) -> Splits:
    """What `read` returns, from the cache where one with this key is whole, else read and cached.

    The cache lies in `root`, or in the user's cache folder where `root` cannot be written; where neither can, there is none.
    """
    places = (root / f"{CACHE_PREFIX}{name}.h5", _user_cache() / f"{CACHE_PREFIX}{name}-{content_key(str(root.resolve()))[:16]}.h5")
    for path in places:
        splits = _load(path, key)
        if splits is not None:
            return splits
    splits = read()
    for path in places:
        if path.parent == root and not root.stat().st_mode & WRITE_BITS:
            continue  # Nobody may write there: meant for root users too, whom the system would let.
        try:
            with atomic(path) as temporary:
                _save(temporary, splits, key, crop)
            log.info("gtsrb: wrote %s, which later runs read", path)
            break
        except (OSError, AdvrunError) as error:
            log.debug("gtsrb: no cache at %s (%s)", path, error)
    return splits


def _kind(path: Path) -> tuple[int, bool] | None:
    """Image size and whether images are cropped, or None where the file is no prepared one."""
    with _hdf5.opened(path) as file:
        images = _hdf5.dataset(file, "train/images")
        return None if images is None or images.ndim != 4 else (int(images.shape[1]), bool(file.attrs.get("crop", True)))


def _words(size: int, crop: bool) -> str:
    return f"{size} x {size} {'cropped' if crop else 'whole'}"


def _splits(file: h5py.File) -> Splits:
    train = Split(*_required(file, "train"), _int32(file, "train/track"), _int32(file, "train/frame"))
    splits = train, Split(*_required(file, "test"), None, _int32(file, "test/number"))
    if "digest" in file.attrs and file.attrs["digest"] != _digest(splits):
        raise DataError(f"{file.filename}: its content is not what was written; delete it")
    return splits


def _required(file: h5py.File, split: str) -> tuple[np.ndarray, np.ndarray]:
    images, labels = _hdf5.array(file, f"{split}/images"), _int32(file, f"{split}/labels")
    if images is None or labels is None:
        raise DataError(f"{file.filename}: no {split}/images or no {split}/labels; see data/README.md for the layout")
    return images, labels


def _int32(file: h5py.File, name: str) -> np.ndarray | None:
    values = _hdf5.array(file, name)
    return None if values is None else values.astype(np.int32)


def _load(path: Path, key: str) -> Splits | None:
    if not path.is_file():
        return None
    try:
        with _hdf5.opened(path) as file:
            if file.attrs.get("key") == key:
                return _splits(file)
        log.info("gtsrb: the image files or the settings are not those of %s; reading again", path)
    except DataError as error:
        log.warning("gtsrb: the cache is damaged and is made again (%s)", error)
    return None


def _save(path: Path, splits: Splits, key: str, crop: bool) -> None:
    import h5py

    train, test = splits
    arrays = {
        "train/images": train.images,
        "train/labels": train.labels,
        "train/track": train.track,
        "train/frame": train.number,
        "test/images": test.images,
        "test/labels": test.labels,
        "test/number": test.number,
    }
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file.create_dataset(name, data=values)
        file.attrs.update(key=key, digest=_digest(splits), crop=crop)


def _digest(splits: Splits) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for split in splits:
        for values in split:
            if values is not None:
                digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "advrun"
