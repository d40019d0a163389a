"""ImageNet: photographs of a thousand kinds of things, read from the disk batch by batch.

O. Russakovsky, J. Deng, H. Su, J. Krause, S. Satheesh, S. Ma, Z. Huang, A. Karpathy, A. Khosla, M. Bernstein, A. C. Berg, L. Fei-Fei.
ImageNet large scale visual recognition challenge. International Journal of Computer Vision 115, 2015, arXiv:1409.0575.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from advrun.data import Dataset
from advrun.datasets._photograph_layouts import listing
from advrun.datasets._photographs import Photographs
from advrun.datasets._synsets import known_classes, labelled
from advrun.errors import ConfigError, DataError
from advrun.types import Count, FilePath, PathName

CROP = 0.875
"""Share of the shorter side that the middle is, unless it is said otherwise: 224 of 256."""


def imagenet(
    training: bool = True,
    *,
    root: PathName,
    train: PathName | None = None,
    labels: FilePath | None = None,
    names: FilePath | None = None,
    image_size: Count = 224,
    shorter: Count | None = None,
    filter: Literal["bilinear", "bicubic"] = "bilinear",
) -> Dataset:
    """ImageNet's validation photographs, or some of one's own of the same thousand classes; for models that come trained.

    Photographs are decoded when they are looked at, in parallel and ahead of the classifier, so 50,000 need no more memory than 100. The
    shorter side is scaled, and the middle cut out. Layouts: a folder for each class, called by synset (n01440764), class number or name;
    ILSVRC2012_val_*.JPEG with a file of labels (val.txt, LOC_val_solution.csv, a synset in each line, or the development kit's ground
    truth beside its meta.mat); photographs named by class (00_243.jpg, n01440764_1.jpg, tench_1.jpg); the NIPS 2017 competition's
    images.csv with its 1,000 images. Class numbers are ImageNet's usual ones: synsets sorted, from 0.

    Args:
        root: the folder, or one above.
        train: photographs to learn from, for a defence that learns: a folder in one of these layouts, with none of the test images.
        labels: the file of labels of ILSVRC2012_val_*.JPEG; looked for in and beside the folder where it is not given.
        names: the classes' names: Keras' imagenet_class_index.json, or a line for each class, such as `n01440764 tench, Tinca tinca`;
            Keras' own, in its cache, where it is not given.
        image_size: height and width of the images in pixels.
        shorter: length of the shorter side, in pixels, before the middle is cut out; image_size / 0.875 where it is not given.
        filter: the resampling filter; some models were trained for one, some for the other.

    Raises:
        DataError: nothing is there, nothing says the classes, or photographs cannot be used, which are named.
        ConfigError: `shorter` is less than image_size.
    """
    if shorter is not None and shorter < image_size:
        raise ConfigError(f"imagenet: shorter is {shorter}, less than image_size, {image_size}; the middle is cut out of it")
    place = Path(root)
    found = listing(place, None if labels is None else Path(labels))
    keys, paths = list(found.keys), list(found.paths)
    learnt = None if train is None else listing(Path(train), None)
    if train is not None and learnt is not None:
        keys, paths = keys + learnt.keys, paths + learnt.paths
        refuse_shared(place, found.paths, Path(train), learnt.paths)
    y, class_names, by_name = labelled(keys, paths, known_classes(names), place)
    count, preparation = len(found.paths), (image_size, shorter or round(image_size / CROP), filter)
    x = Photographs(place, found.paths, *preparation)
    variant = _said(place, y[:count], found.layout)
    x_train, y_train = x[:0], y[:0]
    if train is not None and learnt:
        variant += f"; to learn from, {_said(Path(train), y[count:], learnt.layout)}"
        if training:
            x_train, y_train = Photographs(Path(train), learnt.paths, *preparation)[:], y[count:]
    return Dataset(
        name="imagenet",
        x_train=x_train,
        y_train=y_train,
        x_test=x,
        y_test=y[:count],
        class_names=class_names,
        variant=variant,
        by_name=by_name,
    )


def refuse_shared(root: Path, tested: Sequence[str], other: Path, learnt: Sequence[str]) -> None:
    """Raise DataError where photographs to learn from are test images too: by their place, or by their bytes."""
    by_size: dict[int, list[Path]] = {}
    for path in (root / each for each in tested):
        by_size.setdefault(path.stat().st_size, []).append(path)
    shared = []
    for path in (other / each for each in learnt):
        alike = by_size.get(path.stat().st_size, [])
        if any(one.samefile(path) or one.read_bytes() == path.read_bytes() for one in alike):
            shared.append(path)
    if shared:
        count = f"{len(shared):,} of the {len(learnt):,} photographs to learn from are test images too, first {shared[0].name}"
        raise DataError(f"{other}: {count}; what is learnt by heart is not robust: give train photographs that root does not have")


def _said(place: Path, y: np.ndarray, layout: str) -> str:
    """What the photographs of a folder are, in words."""
    return f"{place.name}: {len(y):,} photographs of {len(np.unique(y)):,} classes ({layout})"


def outline(*, image_size: int, **_: object) -> tuple[tuple[int, int, int], None]:
    """Shape of an image, from the settings alone; the classes are not counted."""
    return (image_size, image_size, 3), None
