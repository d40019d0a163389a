"""The confusion matrix under attack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from advrun.report.layout import attack_label, eps_label, norm_label, percent
from advrun.report.lettering import class_labels, folded, height, shortened, widest
from advrun.report.style import COLUMN, FAINT, INK, SHADES
from advrun.report.summary import attack_of
from advrun.results import Result, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMED = 5
"""Confusions named in the caption."""
FEW, MANY, MOST = 12, 50, 30
"""Classes: up to FEW fit into one column, up to MANY into two; of still more, the MOST that are confused most are shown."""
WRITTEN = 8
"""Up to so many classes, the shares are written into the matrix as well."""
SIZE, SMALL, TITLE = 7, 5.5, 8
"""Of names in one column and in two, and of the title, in points."""
LONGEST, LARGEST = 1.2, 5.0
"""Inches: room for a class name, and the side of a matrix at most."""
WORD, PAD, BAR, SCALE = 0.17, 0.07, 0.08, 0.36
"""Inches: the words at the axes, the space between two things, the colour bar, and its numbers."""


def confusion(result: Result, class_names: Sequence[str]) -> tuple[Figure, str]:
    """Share of each true class (rows) given to each class (columns), on a square-root scale.

    All margins are measured, so that the names fit; a name that no font can write is replaced by the number of the class.
    """
    from matplotlib.figure import Figure

    counts = matrix(result.labels, result.predictions, len(class_names))
    shown = shown_classes(counts)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.where(totals > 0, counts / np.maximum(totals, 1), np.nan)[np.ix_(shown, shown)]
    room, size = (COLUMN, SIZE) if len(shown) <= FEW else (2 * COLUMN, SMALL)
    labels = class_labels(class_names)
    names = [shortened(labels[index], size, LONGEST) for index in shown]
    margin = widest(names, size) + PAD
    left, behind = WORD + margin + PAD, 2 * PAD + BAR + SCALE
    side = min(room - left - behind, LARGEST)
    across = left + side + behind
    title = folded(_title(result.row), TITLE, across - 2 * PAD, 3, "bold")
    upright = widest(names, size) > side / len(shown) - PAD
    below = (margin if upright else height(1, size) + PAD) + WORD
    total = height(len(title), TITLE) + 2 * PAD + side + below + PAD
    figure = Figure(figsize=(across, total))
    axes = figure.add_axes((left / across, (below + PAD) / total, side / across, side / total))
    _draw(figure, axes, shares, names, size, upright)
    bar = figure.add_axes(((left + side + PAD) / across, (below + PAD) / total, BAR / across, side / total))
    _scale(figure, axes, bar)
    figure.text(PAD / across, 1 - PAD / total, "\n".join(title), fontsize=TITLE, fontweight="bold", va="top")
    figure.text((left + side / 2) / across, PAD / 2 / total, "answer", ha="center", va="bottom", fontsize=TITLE)
    middle = (below + PAD + side / 2) / total
    figure.text(PAD / 2 / across, middle, "true class", ha="left", va="center", rotation=90, fontsize=TITLE)
    return figure, _caption(result.row, counts, class_names, len(shown))


def matrix(labels: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    """Counts by true class and answer, (classes, classes) int."""
    return np.bincount(labels.astype(int) * classes + predictions, minlength=classes**2).reshape(classes, classes)


def confusions(counts: np.ndarray, most: int) -> list[tuple[int, int, int]]:
    """The most frequent (true class, wrong answer, count), ties in the order of the classes."""
    wrong = counts * ~np.eye(len(counts), dtype=bool)
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = [divmod(int(place), len(counts)) for place in order]
    return [(true, answer, int(wrong[true, answer])) for true, answer in pairs if wrong[true, answer]]


def shown_classes(counts: np.ndarray) -> list[int]:
    """All classes, or the MOST that take part in the most frequent confusions, in the order of the classes."""
    if len(counts) <= MANY:
        return list(range(len(counts)))
    involved = [index for true, answer, _ in confusions(counts, MOST * MOST) for index in (true, answer)]
    frequent = np.argsort(-counts.sum(axis=1), kind="stable").tolist()
    return sorted(list(dict.fromkeys([*involved, *frequent]))[:MOST])


def telling(results: Sequence[Result]) -> Result:
    """The attack that says most: the one with the most images right and wrong, whichever of both are fewer; the first of several.

    Where nearly all is right there is little to see, and where nothing is, a matrix no longer shows which classes are weak.
    Attacks without a target come first, since a target says what the confusion is; then those without a flag.
    """

    def fewer(result: Result) -> int:
        return int(min(result.correct.sum(), (~result.correct).sum()))

    return max(results, key=lambda result: (not result.row.target, not result.row.flags, fewer(result)))


def _draw(figure: Figure, axes: Axes, shares: np.ndarray, names: Sequence[str], size: float, upright: bool) -> None:
    from matplotlib.colors import LinearSegmentedColormap, PowerNorm

    colors = LinearSegmentedColormap.from_list("advrun", SHADES)
    axes.imshow(shares, cmap=colors.with_extremes(bad="#eeeeee"), norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
    axes.grid(False)
    axes.spines[:].set(visible=True, color=FAINT)
    axes.tick_params(labelsize=size, length=2, pad=2)
    axes.set_xticks(range(len(names)), names, rotation=90 if upright else 0)
    axes.set_yticks(range(len(names)), names)
    if len(names) <= WRITTEN:
        for (row, column), share in np.ndenumerate(shares):
            if np.isfinite(share):
                ink = "white" if share > 0.25 else INK
                axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=size, color=ink)


def _scale(figure: Figure, axes: Axes, bar: Axes) -> None:
    figure.colorbar(axes.images[0], cax=bar, ticks=[0, 0.05, 0.2, 0.5, 1], format=lambda value, _: f"{100 * value:.0f} %")
    bar.tick_params(labelsize=6, pad=1, length=2)
    bar.grid(False)


def _reach(row: Row) -> str:
    return f"{norm_label(row.norm)} {eps_label(row.norm, row.eps)}" if row.eps else norm_label(row.norm) if row.norm else ""


def _title(row: Row) -> str:
    return f"{row.model} / {row.defense} under {', '.join(filter(None, (attack_label(attack_of(row)), _reach(row))))}; n = {row.n:,}"


def _caption(row: Row, counts: np.ndarray, class_names: Sequence[str], shown: int) -> str:
    named = "; ".join(
        f"{class_names[true]} taken for {class_names[answer]} ({count} of {counts[true].sum()})"
        for true, answer, count in confusions(counts, NAMED)
    )
    frequent = f" Most frequent: {named}." if named else " No image was confused."
    part = f" The {shown} of {len(class_names):,} classes that are confused most." if shown < len(class_names) else ""
    sums = "Shares of the true class" if part else "Rows add up to one"
    doubt = f" Flagged: {', '.join(row.flags)}." if row.flags else ""
    return (
        f"{_title(row)} ({row.threat}, seed {row.seed}): {percent(row.accuracy)} % right; the attack "
        f"that says most, since right and wrong answers are both many.{part} {sums}; square-root colour scale; grey rows had no "
        f"images.{frequent}{doubt}"
    )
