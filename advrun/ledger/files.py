"""Adversarial examples of any tool, from a file of arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from advrun.closest import Closest
from advrun.errors import DataError
from advrun.geometry import GEOMETRIES
from advrun.ledger.taken import Judge, Taken
from advrun.npz import unpack
from advrun.system.classifier import check_images, check_labels

MOST = 8 << 30
"""Bytes that the arrays of a file may declare."""
ARRAYS = "expected an .npz file with x, x_adv (n, height, width, channels) and y (n,)"

READING = "where it wants other pixels than 0 to 1, or RGB, give the file that a run has kept of it, in results/NAME/models/"


def take_file(ledger: Closest, path: Path, judge: Judge, norms: tuple[str, ...], taken: Taken) -> None:
    """Take in what a file holds: x, x_adv and y, and perhaps norm, its name.

    Raises:
        DataError: for a file that is none, or whose arrays do not belong together or to the system. What is wrong with single examples is
            in `taken`.
    """
    try:
        arrays = {name.lower(): array for name, array in unpack(path, MOST).items()}
    except FileNotFoundError:
        raise DataError(f"{path}: no such file, or results folder") from None
    except ValueError as error:
        raise DataError(f"{path}: {error}; {ARRAYS}") from error
    if missing := [name for name in ("x", "x_adv", "y") if name not in arrays]:
        raise DataError(f"{path}: holds {', '.join(sorted(arrays)) or 'nothing'}, and no {missing[0]}; {ARRAYS}")
    own = str(arrays["norm"]).lower().replace("∞", "inf") if "norm" in arrays and not arrays["norm"].shape else ""
    norms = norms or ((own,) if own in GEOMETRIES else ())
    if not norms:
        raise DataError(f"{path}: nothing says in which norm its examples are near; say --norm {' or '.join(GEOMETRIES)}")
    x_adv = arrays["x_adv"]
    try:
        x = np.asarray(check_images(arrays["x"], judge.classifier.image_shape))
        y = check_labels(arrays["y"], len(x), judge.classifier.classes)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    if x_adv.shape != x.shape or (x_adv.dtype.kind != "f" and x_adv.dtype != np.uint8):
        raise DataError(f"{path}: x_adv is {x_adv.dtype} {x_adv.shape}; expected uint8, or float in [0, 1], of shape {x.shape}")
    before = taken.kept, taken.needless
    for norm in norms:
        judge.judge(ledger, norm, x, x_adv, y, taken, str(path))
    if taken.kept > before[0]:
        ledger.call(judge.key, judge.classifier.name)
    if taken.needless - before[1] > len(x) * len(norms) / 2:
        taken.minutes.note(f"{path}: {judge.classifier.name} has most of the clean images wrong; {READING}")
