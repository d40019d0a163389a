"""The few images of a measured row that the figures show."""

from __future__ import annotations

import numpy as np

from advrun.engine import to_unit
from advrun.images import AnyImages
from advrun.metrics import Outcome, softmax
from advrun.report.findings import Gallery
from advrun.runs.columns import aim
from advrun.runs.plan import Cell

FEWEST, MOST = 6, 16
"""Images stored per row: enough for the figure to find some that every system had right."""
BYTES = 1_500_000
"""A row stores up to MOST images within so many bytes, before compression, and FEWEST of larger ones: of 224 x 224 pixels."""
LARGEST = 256
"""Pixels: of images with a longer side every second pixel, or third, ... is stored; figures show no more."""


def gallery(outcome: Outcome, attacked: AnyImages, cell: Cell) -> Gallery:
    """The first images of the evaluation order, right or not: the same ones for every system, attack and eps."""
    shown = slice(stored(outcome.images.shape[1:]))
    x, x_adv = to_unit(np.asarray(outcome.images[shown])), np.asarray(attacked[shown])
    before, after = softmax(outcome.before[shown]), softmax(outcome.after[shown])
    defended = outcome.classifier.purify(x_adv) if len(x_adv) else None
    return Gallery(
        model=cell.model.label,
        defense=cell.defense_label,
        attack=cell.attack_label,
        eps=cell.eps,
        norm=cell.norm,
        target=aim(cell),
        threat=cell.threat,
        seed=cell.seed,
        x=_thinned(x),
        x_adv=_thinned(x_adv),
        defended=None if defended is None else _thinned(defended),
        label=outcome.y[shown],
        predicted=before.argmax(-1).astype(np.int32),
        predicted_adv=after.argmax(-1).astype(np.int32),
        confidence=before.max(-1),
        confidence_adv=after.max(-1),
    )


def stored(shape: tuple[int, ...]) -> int:
    """How many images (height, width, channels) a row stores, at three bytes a value: of the image, its change, and its purified form."""
    height, width, channels = shape
    step = _step(height, width)
    return int(np.clip(BYTES // (3 * -(-height // step) * -(-width // step) * channels), FEWEST, MOST))


def _step(height: int, width: int) -> int:
    return -(-max(height, width) // LARGEST)


def _thinned(images: np.ndarray) -> np.ndarray:
    """Not averaged: noise would vanish."""
    step = _step(*images.shape[1:3])
    return images[:, ::step, ::step]
