"""What crosses over, as a picture: sources down, targets across; how many are fooled, and how often to the same wrong class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from advrun.report.crossing import Crossing, Matrix
from advrun.report.layout import percent
from advrun.report.lettering import folded, height, shortened, widest
from advrun.report.style import COLUMN, FAINT, INK, SHADES
from advrun.report.transfer import name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE, TITLE = 7, 8
"""Points: of names and numbers, and of titles."""
LONGEST, PLACE, LOWEST = 1.3, 0.55, 0.34
"""Inches: room for a name; the width of a place at most, and its height."""
PAD, WORD = 0.08, 0.17
"""Inches: the space between two things, and the words at the axes."""


def heatmap(matrix: Matrix) -> tuple[Figure, str]:
    """Two panels: the share fooled; below it, for pairs of different systems, the share of equal wrong classes over that by chance."""
    from matplotlib.figure import Figure

    sources, targets = ([shortened(str(each), SIZE, LONGEST) for each in names] for names in (matrix.sources, matrix.targets))
    left, below = WORD + widest(sources, SIZE) + 2 * PAD, widest(targets, SIZE) + 2 * PAD
    side = min(PLACE, (2 * COLUMN - left - PAD) / len(targets))
    across, upright = max(left + side * len(targets) + PAD, COLUMN), LOWEST * len(sources)
    title = folded(name(matrix), TITLE, across - 2 * PAD, 2, "bold")
    words = [folded(text, SIZE, across - 2 * PAD, 2) for text in ("fooled, % of what both got right", "same wrong class, % (by chance)")]
    heads = [height(len(each), SIZE) + PAD for each in words]
    total = height(len(title), TITLE) + 2 * PAD + sum(heads) + 2 * upright + below + PAD + WORD
    figure = Figure(figsize=(across, total))
    figure.text(PAD / across, 1 - PAD / total, "\n".join(title), fontsize=TITLE, fontweight="bold", va="top")
    top = total - height(len(title), TITLE) - 2 * PAD
    for number, (said, head, text) in enumerate(zip(words, heads, (_share, _same), strict=True)):
        figure.text(PAD / across, top / total, "\n".join(said), fontsize=SIZE, va="top")
        top -= head + upright
        axes = figure.add_axes((left / across, top / total, side * len(targets) / across, upright / total))
        _draw(axes, matrix, text)
        axes.set_yticks(range(len(sources)), sources)
        axes.set_xticks(range(len(targets)), targets if number else [""] * len(targets), rotation=90)
        figure.text(PAD / 2 / across, (top + upright / 2) / total, "source", ha="left", va="center", rotation=90, fontsize=SIZE)
        top -= PAD
    figure.text((left + side * len(targets) / 2) / across, PAD / 2 / total, "target", ha="center", va="bottom", fontsize=SIZE)
    return figure, _caption(matrix)


def _draw(axes: Axes, matrix: Matrix, text: object) -> None:
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.patches import Rectangle

    shares = np.full((len(matrix.sources), len(matrix.targets)), np.nan)
    labels: dict[tuple[int, int], tuple[str, bool]] = {}
    for row, source in enumerate(matrix.sources):
        for column, target in enumerate(matrix.targets):
            each = matrix.at(source, target)
            if each is not None:
                shares[row, column], label = text(each)  # type: ignore[operator]
                labels[row, column] = label, source == target
    colors = LinearSegmentedColormap.from_list("advrun", SHADES).with_extremes(bad="#eeeeee")
    axes.imshow(shares, cmap=colors, vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    axes.grid(False)
    axes.spines[:].set(visible=True, color=FAINT)
    axes.tick_params(labelsize=SIZE, length=2, pad=2)
    for (row, column), (label, own) in labels.items():
        ink = "white" if np.isfinite(shares[row, column]) and shares[row, column] > 0.45 else INK
        axes.text(column, row, label, ha="center", va="center", fontsize=SIZE, color=ink, linespacing=0.95)
        if own:
            axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=INK, linewidth=1.2))


def _share(each: Crossing) -> tuple[float, str]:
    return (np.nan, "") if each.share is None else (each.share, percent(each.share))


def _same(each: Crossing) -> tuple[float, str]:
    """Nothing for a system and its own examples, which it answers as it does."""
    same, chance = each.found.same_share, each.found.chance
    if each.source == each.target or same is None or chance is None:
        return np.nan, ""
    return same, f"{round(100 * same)}{'*' if each.beyond else ''}\n({round(100 * chance)})"


def _caption(matrix: Matrix) -> str:
    images = sorted({each.found.n for each in matrix.crossings})
    n = " to ".join(f"{value:,}" for value in dict.fromkeys((images[0], images[-1])))
    seeds = max(each.seeds for each in matrix.crossings)
    over = f"; {seeds} seeds together" if seeds > 1 else ""
    return (
        f"{name(matrix)}: examples of each source (rows) on each target (columns), over the {n} images that both got right{over}. Framed: "
        "a system under its own examples. Below: of the images that fooled both, how many got the same wrong class from both, and in "
        "parentheses what independent answers would give; * clearly more than that. Grey: nothing to compare."
    )
