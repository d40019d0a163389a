"""Labels of any usual kind as class numbers, judged before they are believed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from advrun.datasets._declared import Declared
from advrun.errors import DataError

MOST_CLASSES = 100_000


class ClassNumbers(NamedTuple):
    """labels: (n,) int32. classes: so many are spoken of, the highest label plus one, or the columns of one-hot rows."""

    labels: np.ndarray
    classes: int


def read_labels(declared: Declared, count: int, most: int = MOST_CLASSES) -> ClassNumbers:
    """Labels (n,) or (n, 1) of whole numbers, or one-hot (n, classes), of any numeric type.

    Args:
        declared: the array.
        count: so many images there are.
        most: so many classes there may be.

    Raises:
        DataError: another number of labels, another shape, fractions, negative numbers, or classes beyond `most`.
    """
    place, shape = declared.place, declared.shape
    if len(shape) not in (1, 2) or 0 in shape or declared.dtype.kind not in "biuf":
        raise DataError(f"{place} is {declared.dtype} {shape}; expected whole numbers (n,), or one-hot (n, classes)")
    if shape[0] != count:
        raise DataError(f"{place}: there are {count} images and {shape[0]} labels; write one label for each image")
    if len(shape) == 2 and shape[1] > 1:
        if shape[1] > most:
            raise DataError(f"{place} is one-hot for {shape[1]:,} classes; expected at most {most:,}")
        return ClassNumbers(np.concatenate([_one_hot(block, declared) for block in declared.blocks()]), shape[1])
    return _numbers(declared.read().reshape(-1), place, most)


def _one_hot(values: np.ndarray, declared: Declared) -> np.ndarray:
    if not (np.isin(values, (0, 1)).all() and (values.sum(axis=1) == 1).all()):
        raise DataError(f"{declared.place} has shape {declared.shape} but is not one-hot: each row must hold a single 1 among zeros")
    return values.argmax(axis=1).astype(np.int32)


def _numbers(values: np.ndarray, place: str, most: int) -> ClassNumbers:
    wrong = np.flatnonzero(~(np.isfinite(values) & (values == np.rint(values)) & (values >= 0)) if values.dtype.kind != "b" else [])
    if len(wrong):
        raise DataError(
            f"{place} holds {values[wrong[0]]:g} (row {wrong[0]}), and values like it are no class numbers; expected 0, 1, 2, ..."
        )
    if values.max() >= most:
        raise DataError(f"{place} runs up to {int(values.max()):,}; expected class numbers from 0, below {most:,}")
    return ClassNumbers(values.astype(np.int32), int(values.max()) + 1)
