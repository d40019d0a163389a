"""The German Traffic Sign Recognition Benchmark: 43 classes of traffic signs, photographed from a moving car.

J. Stallkamp, M. Schlipsing, J. Salmen, C. Igel. Man vs. computer: Benchmarking machine learning algorithms for traffic
sign recognition. Neural Networks 32, 2012, pages 323-332, doi:10.1016/j.neunet.2012.02.016.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np

from advrun.data import Dataset
from advrun.datasets._annotations import Annotation
from advrun.datasets._images import Source, read_images
from advrun.datasets._layouts import REMEDY, Listing, kaggle, official
from advrun.datasets._prepared import CACHE_PREFIX, Split, Splits, cached, prepared
from advrun.datasets._udacity import udacity
from advrun.download import Archive
from advrun.errors import DataError
from advrun.files import content_key
from advrun.types import Count, PathName

log = logging.getLogger("advrun")

CLASS_NAMES = (
    "Speed limit (20km/h)",
    "Speed limit (30km/h)",
    "Speed limit (50km/h)",
    "Speed limit (60km/h)",
    "Speed limit (70km/h)",
    "Speed limit (80km/h)",
    "End of speed limit (80km/h)",
    "Speed limit (100km/h)",
    "Speed limit (120km/h)",
    "No passing",
    "No passing for vehicles over 3.5 metric tons",
    "Right-of-way at the next intersection",
    "Priority road",
    "Yield",
    "Stop",
    "No vehicles",
    "Vehicles over 3.5 metric tons prohibited",
    "No entry",
    "General caution",
    "Dangerous curve to the left",
    "Dangerous curve to the right",
    "Double curve",
    "Bumpy road",
    "Slippery road",
    "Road narrows on the right",
    "Road work",
    "Traffic signals",
    "Pedestrians",
    "Children crossing",
    "Bicycles crossing",
    "Beware of ice/snow",
    "Wild animals crossing",
    "End of all speed and passing limits",
    "Turn right ahead",
    "Turn left ahead",
    "Ahead only",
    "Go straight or right",
    "Go straight or left",
    "Keep right",
    "Keep left",
    "Roundabout mandatory",
    "End of no passing",
    "End of no passing by vehicles over 3.5 metric tons",
)

CACHE_FORM = 2
"""Changes with what a cache holds."""
OFFICIAL_COUNTS = (39_209, 12_630)
VARIANTS = {
    OFFICIAL_COUNTS: "official",
    (26_640, 12_569): "competition (IJCNN 2011)",
    (26_640, 12_630): "competition training set with the official test set, as torchvision has it",
}
LISTED = 8
"""So many missing classes are listed by number; more are counted."""
UDACITY_COUNTS = (34_799 + 4_410, 12_630)

ERDA = "https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370/"
WAYBACK = "https://web.archive.org/web/2024id_/"
ARCHIVES = (
    Archive(
        name="GTSRB_Final_Training_Images.zip",
        size=276_294_756,
        sha256="d32ac4b5fa9a1cbd1994768413902e8193599d9434cf0a8eb9cfd00a6d3a290c",
        urls=(f"{ERDA}GTSRB_Final_Training_Images.zip", f"{WAYBACK}{ERDA}GTSRB_Final_Training_Images.zip"),
    ),
    Archive(
        name="GTSRB_Final_Test_Images.zip",
        size=88_978_620,
        sha256="48ba6fab7e877eb64eaf8de99035b0aaecfbc279bee23e35deca4ac1d0a837fa",
        urls=(
            f"{ERDA}GTSRB_Final_Test_Images.zip",
            "https://huggingface.co/datasets/Zzyy2000/GTSRB/resolve/main/GTSRB_Final_Test_Images.zip",
            f"{WAYBACK}{ERDA}GTSRB_Final_Test_Images.zip",
        ),
    ),
    Archive(
        name="GTSRB_Final_Test_GT.zip",
        size=99_620,
        sha256="f94e5a7614d75845c74c04ddb26b8796b9e483f43541dd95dd5b726504e16d6d",
        urls=(f"{ERDA}GTSRB_Final_Test_GT.zip", f"{WAYBACK}{ERDA}GTSRB_Final_Test_GT.zip"),
    ),
)
"""What `advrun data fetch gtsrb` downloads; data/README.md says where sizes and hashes come from."""


def gtsrb(training: bool = True, *, root: PathName = "data/gtsrb", image_size: Count = 32, crop: bool = True) -> Dataset:
    """German Traffic Sign Recognition Benchmark: 39,209 training and 12,630 test images of 43 classes.

    Reads what stands at `root`: a prepared HDF5 file, the official folders (.ppm with GT-*.csv), Kaggle's (Train.csv,
    Test.csv), or Udacity's pickles (train.p, valid.p, test.p). Image files are read once and kept as an HDF5 cache
    beside them. A validation split never separates the images of one track, which show one physical sign.

    Args:
        root: a folder or a prepared HDF5 file; `advrun data fetch gtsrb` fills the default.
        image_size: height and width of the images in pixels; other than 32 needs the image files.
        crop: cut to the annotated region of interest, both ends included, before resizing.

    Raises:
        DataError: nothing is there, or files are missing, damaged or of the wrong kind; names the first few.
    """
    place = Path(root)
    splits = prepared(place, image_size, crop, training) or _from_images(place, image_size, crop, training)
    if splits is None and (pickles := udacity(place)):
        variant = _udacity_variant(place, pickles, image_size)
        return _dataset(place, pickles if training else (pickles[0]._replace(images=None), pickles[1]), variant)
    splits = splits or prepared(place, image_size, crop, training, last=True)
    if splits is None:
        raise DataError(
            f"{place}: {'no GTSRB here' if place.exists() else 'no such file or folder'}; expected GTSRB/Final_Training and "
            "GTSRB/Final_Test, Kaggle's Train.csv and Test.csv, Udacity's train.p and test.p, or a prepared .h5 file; "
            "run: advrun data fetch gtsrb"
        )
    return _dataset(place, splits, _variant(place, splits, crop))


def _from_images(root: Path, image_size: int, crop: bool, training: bool) -> Splits | None:
    listing = official(root, len(CLASS_NAMES)) or kaggle(root, len(CLASS_NAMES))
    if listing is None:
        return None
    key = _key(listing, image_size, crop)
    return cached(root, image_size, key, crop, training, lambda: _read(root, listing, image_size, crop, training))


def _read(root: Path, listing: Listing, image_size: int, crop: bool, training: bool) -> Splits:
    # Both splits at once, so that an error names the bad files of both.
    rows: Sequence[Annotation] = [*(listing.train if training else []), *listing.test]
    log.info("gtsrb: reading %d images from %s", len(rows), root)
    sources = [Source(row.path, row.box if crop else None) for row in rows]
    images = read_images(sources, image_size, ("PPM", "PNG"), root, REMEDY)
    (label, track, number), (test_label, _, test_number) = (np.array([row[:3] for row in split], np.int32).T for split in listing)
    n = len(images) - len(listing.test)
    return Split(images[:n] if training else None, label, track, number), Split(images[n:], test_label, None, test_number)


def _key(listing: Listing, image_size: int, crop: bool) -> str:
    """Changes with the annotations, the settings, and any image file's presence, size or time."""
    rows = [(*row[:3], row.path.name, row.box) for split in listing for row in split]
    folders = sorted({row.path.parent for split in listing for row in split})
    return content_key([CACHE_FORM, image_size, crop, rows, [_state(folder) for folder in folders]])


def _state(folder: Path) -> tuple[int, int, int]:
    """Number of files, their total size in bytes, and the latest modification time in ns."""
    if not folder.is_dir():
        return 0, 0, 0
    stats = [entry.stat() for entry in os.scandir(folder) if entry.is_file() and not entry.name.startswith(CACHE_PREFIX)]
    return len(stats), sum(stat.st_size for stat in stats), max((stat.st_mtime_ns for stat in stats), default=0)


def _dataset(root: Path, splits: Splits, variant: str) -> Dataset:
    train, test = splits
    log.info("gtsrb: %s: %s", root, variant)
    x_test = cast("np.ndarray", test.images)
    known = train.images is not None
    return Dataset(
        name="gtsrb",
        x_train=x_test[:0] if train.images is None else train.images,
        y_train=train.labels if known else train.labels[:0],
        x_test=x_test,
        y_test=test.labels,
        class_names=CLASS_NAMES,
        # Track numbers start again in each class and have five digits.
        group=train.labels * 100_000 + train.track if known and train.track is not None else None,
        variant=variant,
    )


def _variant(root: Path, splits: Splits, crop: bool) -> str:
    train, test = splits
    counts = len(train.labels), len(test.labels)
    whole = "" if crop else "; whole images, not cropped"
    if counts in VARIANTS:
        return f"{VARIANTS[counts]} ({counts[0]:,} training, {counts[1]:,} test{whole})"
    published = zip(counts, OFFICIAL_COUNTS, ("training", "test"), strict=True)
    parts = [f"{count:,} of {full:,} {name} images" for count, full, name in published]
    parts += [
        f"no {name} images of class {', '.join(map(str, missing))}"
        if len(missing) <= LISTED
        else f"no {name} images of {len(missing)} classes"
        for split, name in ((train, "training"), (test, "test"))
        if (missing := sorted(set(range(len(CLASS_NAMES))) - set(split.labels.tolist())))
    ]
    variant = f"incomplete ({'; '.join(parts)}{whole})"
    log.warning("gtsrb: %s is %s; run: advrun data fetch gtsrb", root, variant)
    return variant


def _udacity_variant(root: Path, splits: Splits, image_size: int) -> str:
    train, test = splits
    height, width = cast("np.ndarray", train.images).shape[1:3]
    if (height, width) != (image_size, image_size):
        raise DataError(f"{root}: Udacity's images are {height} x {width}; set image_size: {height}, or use the official images")
    counts = len(train.labels), len(test.labels)
    training = "34,799 + 4,410" if counts == UDACITY_COUNTS else f"{counts[0]:,}"
    tracks = "tracks inferred from the order of the rows"
    if train.track is None:
        log.warning("gtsrb: the rows of %s are shuffled: tracks are unknown, and validation images show training signs", root)
        tracks = "tracks unknown, so validation images show training signs"
    return f"Udacity ({training} training, {counts[1]:,} test; whole images, not cropped; {tracks})"


def outline(*, root: str, image_size: int, crop: bool) -> tuple[tuple[int, int, int], int]:
    """Shape of an image and number of classes; no image is read. Raises DataError where only prepared files of other images are there."""
    from advrun.datasets._hdf5 import SUFFIXES
    from advrun.datasets._prepared import _kind

    place = Path(root).expanduser()
    files = [place] if place.is_file() else sorted(file for end in SUFFIXES for file in place.glob(f"*{end}"))
    known = {kind for file in files if (kind := _kind(file))}
    if known and (image_size, crop) not in known and not (official(place, len(CLASS_NAMES)) or kaggle(place, len(CLASS_NAMES))):
        raise DataError(f"{place}: no images of {image_size} x {image_size}")
    return (image_size, image_size, 3), len(CLASS_NAMES)
