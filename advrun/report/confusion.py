"""The confusion matrix under attack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from advrun.report.layout import eps_label, norm_label, percent
from advrun.report.style import COLUMN, FAINT
from advrun.results import Result, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMED = 5
"""Confusions named in the caption."""
FEW = 12
"""Up to so many classes have their names at the axes, more have numbers."""


def confusion(result: Result, class_names: Sequence[str]) -> tuple[Figure, str]:
    """Share of each true class (rows) given to each class (columns), on a square-root scale."""
    from matplotlib.colors import LinearSegmentedColormap, PowerNorm
    from matplotlib.figure import Figure

    counts = matrix(result.labels, result.predictions, len(class_names))
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.where(totals > 0, counts / np.maximum(totals, 1), np.nan)
    side = 2.45
    figure = Figure(figsize=(COLUMN, side + 0.48))
    height = figure.get_figheight()
    axes = figure.add_axes((0.45 / COLUMN, 0.4 / height, side / COLUMN, side / height))
    colors = LinearSegmentedColormap.from_list("advrun", ["#ffffff", "#bcd7ec", "#3f8fc6", "#0b3c68", "#051c33"])
    image = axes.imshow(shares, cmap=colors.with_extremes(bad="#eeeeee"), norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
    _ticks(axes, class_names)
    axes.set(xlabel="answer", ylabel="true class")
    bar = figure.add_axes((2.97 / COLUMN, 0.4 / height, 0.08 / COLUMN, side / height))
    figure.colorbar(image, cax=bar, ticks=[0, 0.05, 0.2, 0.5, 1], format=lambda value, _: f"{100 * value:.0f} %")
    bar.tick_params(labelsize=6, pad=1, length=2)
    bar.grid(False)
    return figure, _caption(result.row, counts, class_names)


def matrix(labels: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    """Counts by true class and answer, (classes, classes) int."""
    return np.bincount(labels.astype(int) * classes + predictions, minlength=classes**2).reshape(classes, classes)


def confusions(counts: np.ndarray, most: int) -> list[tuple[int, int, int]]:
    """The most frequent (true class, wrong answer, count), ties in the order of the classes."""
    wrong = counts * ~np.eye(len(counts), dtype=bool)
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = [divmod(int(place), len(counts)) for place in order]
    return [(true, answer, int(wrong[true, answer])) for true, answer in pairs if wrong[true, answer]]


def strongest(results: Sequence[Result]) -> Result:
    """The attack that leaves least; the first of them when several do."""
    return min(results, key=lambda result: result.row.accuracy)


def _ticks(axes: Axes, class_names: Sequence[str]) -> None:
    axes.grid(False)
    axes.spines[:].set(visible=True, color=FAINT)
    if len(class_names) <= FEW:
        axes.set_xticks(range(len(class_names)), class_names, rotation=90)
        axes.set_yticks(range(len(class_names)), class_names)
    else:
        axes.set_xticks(range(0, len(class_names), 5))
        axes.set_yticks(range(0, len(class_names), 5))


def _caption(row: Row, counts: np.ndarray, class_names: Sequence[str]) -> str:
    reach = f" {norm_label(row.norm)} {eps_label(row.norm, row.eps)}" if row.eps else ""
    named = "; ".join(
        f"{class_names[true]} taken for {class_names[answer]} ({count} of {counts[true].sum()})"
        for true, answer, count in confusions(counts, NAMED)
    )
    frequent = f" Most frequent: {named}." if named else " No image was confused."
    return (
        f"{row.model} / {row.defense} under {row.attack}{reach} ({row.threat}, seed {row.seed}): {percent(row.accuracy)} % of "
        f"{row.n:,} right. Rows add up to one; square-root colour scale; grey rows had no images.{frequent}"
    )
