"""GTSRB as one HDF5 file of resized images: reading prepared files, and the cache that the first read of image files leaves.

    train/images  (n, s, s, 3) uint8     test/images  (m, s, s, 3) uint8
    train/labels  (n,)                   test/labels  (m,)
    train/track   (n,) int32             test/number  (m,) int32
    train/frame   (n,) int32

A cache is such a file with four attributes more: `key`, what it was made from; `train` and `test`, hashes of their content; `crop`.
Where nothing learns from training images, one of the test images alone is made, whose `train` has labels and no images.
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
from advrun.datasets._annotations import HIGHEST
from advrun.datasets._labels import read_labels
from advrun.errors import AdvrunError, DataError
from advrun.files import atomic, content_key

if TYPE_CHECKING:
    import h5py

log = logging.getLogger("advrun")

CLASSES = 43
CACHE_PREFIX = "advrun-cache-"
WRITE_BITS = 0o222


class Split(NamedTuple):
    """Images (n, s, s, 3) uint8, labels (n,) int32, and, where known, track and number in the file name, (n,) int32.

    images: None for training images that were not asked for.
    """

    images: np.ndarray | None
    labels: np.ndarray
    track: np.ndarray | None = None
    number: np.ndarray | None = None


Splits = tuple[Split, Split]
"""Training and test."""


def prepared(root: Path, image_size: int, crop: bool, training: bool, *, last: bool = False) -> Splits | None:
    """The splits of a prepared HDF5 file, or None where no file has the images asked for.

    Args:
        root: the file, or a folder that holds one or several.
        image_size: height and width that the images must have.
        crop: True asks for images cropped to the sign, False for whole ones.
        training: False leaves the training images unread.
        last: there is nothing else at `root`: take what the cache left, though the image files are gone, and refuse
            files with other images.

    Raises:
        DataError: the file is damaged, or its arrays are not of the type, shape, range or number that they must be; or, with `last`,
            holds images of another size or cropping.
    """
    files = [root] if root.is_file() else sorted(file for end in _hdf5.SUFFIXES for file in root.glob(f"*{end}"))
    passed_over = "." if last else (".", CACHE_PREFIX)  # Hidden files are caches that are being written.
    kinds = {file: kind for file in files if not file.name.startswith(passed_over) and (kind := _kind(file))}
    for path, kind in kinds.items():
        if kind == (image_size, crop):
            with _hdf5.opened(path) as file:
                return _splits(file, image_size, training)
    if last and kinds:
        known = ", ".join(f"{path.name} has {_words(*kind)}" for path, kind in kinds.items())
        raise DataError(f"{root}: no {_words(image_size, crop)} images ({known}); set image_size and crop, or use the image files")
    return None


def cached(root: Path, size: int, key: str, crop: bool, training: bool, read: Callable[[], Splits]) -> Splits:
    """What `read` returns, from the cache where one with this key is whole, else read and cached.

    Args:
        root: the folder of the data set.
        size: height and width of the images.
        key: of everything that the images are made from.
        crop: whether images are cropped to the sign.
        training: False for test images alone, which come from a cache of both splits where there is one.
        read: reads and resizes the image files.

    The cache lies in `root`, or in the user's cache folder where `root` cannot be written; where neither can, there is none.
    """
    whole = f"{size}" if crop else f"{size}-whole"
    names = (whole,) if training else (whole, f"{whole}-test")
    for path in (path for name in names for path in _places(root, name)):
        splits = _load(path, key, size, training)
        if splits is not None:
            return splits
    splits = read()
    for path in _places(root, names[-1]):
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


def _places(root: Path, name: str) -> tuple[Path, Path]:
    own = content_key(os.fsencode(root.resolve()).hex())[:16]
    return root / f"{CACHE_PREFIX}{name}.h5", _user_cache() / f"{CACHE_PREFIX}{name}-{own}.h5"


def _kind(path: Path) -> tuple[int, bool] | None:
    """Image size and whether images are cropped, or None where the file is no prepared one."""
    with _hdf5.opened(path) as file:
        images = _hdf5.dataset(file, "train/images")
        return None if images is None or images.ndim != 4 else (int(images.shape[1]), bool(file.attrs.get("crop", True)))


def _words(size: int, crop: bool) -> str:
    return f"{size} x {size} {'cropped' if crop else 'whole'}"


def _splits(file: h5py.File, size: int, training: bool) -> Splits:
    splits = _split(file, "train", size, training), _split(file, "test", size, True)
    for name, split in zip(("train", "test"), splits, strict=True):
        if split.images is not None and name in file.attrs and file.attrs[name] != _digest(split):
            raise DataError(f"{file.filename}: its content is not what was written; delete it")
    return splits


def _split(file: h5py.File, name: str, size: int, wanted: bool) -> Split:
    """Everything is judged before an image is read: type, shape, number, range. wanted: False leaves the images unread."""
    images, labels = (_hdf5.declared(file, f"{name}/{part}") for part in ("images", "labels"))
    if labels is None or (images is None and wanted):
        raise DataError(f"{file.filename}: no {name}/images or no {name}/labels; see data/README.md for the layout")
    if images is not None and (images.dtype != np.uint8 or images.shape[1:] != (size, size, 3)):
        raise DataError(f"{images.place} is {images.dtype} {images.shape}; expected uint8 (n, {size}, {size}, 3)")
    count = labels.shape[0] if images is None and labels.shape else images.shape[0] if images is not None else 0
    numbers = read_labels(labels, count, CLASSES).labels
    track, number = (_numbers(file, f"{name}/{part}", count) for part in ("track", "frame" if name == "train" else "number"))
    return Split(images.read() if images is not None and wanted else None, numbers, track, number)


def _numbers(file: h5py.File, name: str, count: int) -> np.ndarray | None:
    """Numbers from file names, (count,) int32, or None where there are none."""
    array = _hdf5.declared(file, name)
    if array is None:
        return None
    if array.shape != (count,) or array.dtype.kind not in "iu":
        raise DataError(f"{array.place} is {array.dtype} {array.shape}; expected whole numbers ({count},)")
    values = array.read()
    if count and not (values.min() >= -1 and values.max() <= HIGHEST):
        raise DataError(f"{array.place} runs from {values.min()} to {values.max()}; expected numbers of at most five digits")
    return values.astype(np.int32)


def _load(path: Path, key: str, size: int, training: bool) -> Splits | None:
    if not path.is_file():
        return None
    try:
        with _hdf5.opened(path) as file:
            if file.attrs.get("key") == key:
                return _splits(file, size, training)
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
            if values is not None:
                file.create_dataset(name, data=values)
        file.attrs.update(key=key, train=_digest(train), test=_digest(test), crop=crop)


def _digest(split: Split) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for values in split:
        if values is not None:
            digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "advrun"
