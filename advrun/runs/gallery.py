"""The few images of a measured row that the figures and the page show."""

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
TELLING = 4
"""For so many of those that every row stores, it stores one more at either end: of those that fell first, and that stood last."""
LARGEST = 256
"""Pixels: of images with a longer side every second pixel, or third, ... is stored; figures show no more."""


def gallery(outcome: Outcome, attacked: AnyImages, distances: np.ndarray, cell: Cell) -> Gallery:
    """The first images of the evaluation order, right or not: the same ones for every system, attack and eps; then those that fell
    first and that stood last.

    distances: (n,) float32, how far each image was moved, in the row's norm.
    """
    count = stored(outcome.images.shape[1:])
    ranks = np.full(len(outcome.y), -1, np.int32)
    common = np.arange(min(count, len(outcome.y)))
    order = falling(outcome, distances, cell.eps)
    ranks[order] = np.arange(len(order))
    ends = np.concatenate([order[: count // TELLING], order[count // TELLING :][-(count // TELLING) :]])
    shown = np.concatenate([common, ends[~np.isin(ends, common)]])
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
        place=shown.astype(np.int32),
        distance=distances[shown],
        rank=ranks[shown],
    )


def falling(outcome: Outcome, distances: np.ndarray, eps: float | None) -> np.ndarray:
    """(k,) int: places of the images that were right before the attack, from that which fell first to that which stood last.

    The fallen come first, the nearest before all and of equally near ones (to 1 % of eps) the most surely wrong; then those that stood, the
    least surely right first. Equals stand in the order of evaluation.
    """
    own = np.arange(outcome.after.shape[1]) == outcome.y[:, None]
    margin = np.where(own, outcome.after, -np.inf).max(-1) - np.where(own, -np.inf, outcome.after).max(-1)
    reach = np.where(outcome.fooled, np.round(distances / eps, 2) if eps else distances, np.inf)
    order = np.lexsort((margin, reach, ~outcome.fooled))
    return order[outcome.right[order]]


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
