"""The sandwich: the share of images that is certified up to each eps, the share that attacks left, and between them what is undecided."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from advrun.certificates import Certificate
from advrun.report.bounds import Sandwich, doubts, name, radii, sandwich_of
from advrun.report.curves import BOTTOM, LEFT, RIGHT, SMALL, TITLE, legend_above, thinned
from advrun.report.findings import Findings
from advrun.report.layout import eps_label, marked, norm_label
from advrun.report.lettering import folded, height
from advrun.report.strengths import hidden
from advrun.report.style import COLUMN, INK, look
from advrun.report.summary import Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PLOT = 2.3
"""Height of the axes, in inches."""
POINTS = 400
ERROR = "#c00018"
FLOOR: dict[str, Any] = {"linestyle": "-", "linewidth": 1.4}
GUESS: dict[str, Any] = {"linestyle": (0, (1, 1)), "linewidth": 1.4}
"""How what is certified is drawn, and how what is estimated."""
CEILING: dict[str, Any] = {"linestyle": (0, (4, 1.5)), "linewidth": 1.0}
"""How what attacks left is drawn."""


def grouped(findings: Findings) -> list[list[Certificate]]:
    """Those that share a figure: one model, one bound, one norm; of all systems and seeds, the refused left out."""
    groups: dict[tuple[str, ...], list[Certificate]] = {}
    for each in findings.certificates:
        if not each.refused:
            groups.setdefault((each.model, each.bound, each.norm, each.target), []).append(each)
    return list(groups.values())


def sandwich(summary: Summary, group: Sequence[Certificate]) -> tuple[Figure, str]:
    """The figure of one model and bound, and its caption: a colour for each system, means over seeds."""
    from matplotlib.figure import Figure

    first = group[0]
    styles = look([system.defense for system in summary.systems])
    shown = [each for each in group if each.defense not in hidden(summary, first.model)] or list(group)
    defenses = list(dict.fromkeys(each.defense for each in shown))
    eps = radii(first, summary)
    largest = _largest(shown, eps)
    line = FLOOR if first.sound else GUESS
    word = marked("certified" if first.sound else "beyond the estimate", [flag for each in shown for flag in doubts(each)])
    samples: list[tuple[dict[str, Any], str]] = [({"color": _color(styles, defense), "linewidth": 2.5}, defense) for defense in defenses]
    samples += [({"color": INK, **line}, word)]
    if first.bounds_attacks:
        samples += [({"color": INK, **CEILING, "marker": "o", "markersize": 3}, "left by attacks")]
        samples += [({"color": INK, "alpha": 0.15, "linewidth": 7}, "undecided")]
    across = COLUMN - LEFT - RIGHT
    about = f" of {first.about}" if first.about else ""
    title = folded(f"{name(first)}{about}, {norm_label(first.norm)}", TITLE, across, 3, "bold")
    figure = Figure(figsize=(COLUMN, 1))
    total = legend_above(figure, samples) + height(len(title), TITLE) + 0.06 + PLOT + BOTTOM
    figure.set_figheight(total)
    axes = figure.add_axes((LEFT / COLUMN, BOTTOM / total, across / COLUMN, PLOT / total))
    axes.set(ylim=(0, 100), ylabel="images, %", xlabel=f"ε ({norm_label(first.norm)})", title="\n".join(title))
    wrong = False
    for defense in defenses:
        both = [sandwich_of(each, summary.results) for each in shown if each.defense == defense]
        wrong |= _draw(axes, both, eps, largest, _color(styles, defense), line)
    ticks = [0.0, *(each for each in eps if each <= largest)]
    labels = ["0", *(eps_label(first.norm, each) for each in ticks[1:])]
    axes.set_xlim(0, largest)
    axes.set_xticks(ticks, thinned([tick / largest * across for tick in ticks], labels, SMALL))
    return figure, _caption(first, summary, wrong=wrong)


def _color(styles: Any, defense: str) -> str:
    return str(styles.get(defense, styles["none"])["color"])


def _largest(group: Sequence[Certificate], eps: Sequence[float]) -> float:
    """Where the axis ends: behind the eps that were attacked, and behind nearly all radii."""
    radius = np.concatenate([each.radius for each in group])
    return max(*eps, float(np.quantile(radius, 0.99)), 1e-6) * 1.04


def _draw(axes: Axes, both: Sequence[Sandwich], eps: Sequence[float], largest: float, color: str, line: Any) -> bool:
    """One system: floor, ceiling, and the gap. Returns whether anything certified lies above what attacks left."""
    grid = np.union1d(np.linspace(0, largest, POINTS), eps)
    floor = 100 * np.mean([[each.beyond(x) for x in grid] for each in both], axis=0)
    axes.plot(grid, floor, color=color, clip_on=False, zorder=3, **line)
    if both[0].left(0.0) is None:
        axes.fill_between(grid, 0, floor, color=color, alpha=0.08, linewidth=0)
        return False
    reach = max(eps)  # beyond it nothing was attacked
    inside = grid <= reach * 1.0001
    ceiling = 100 * np.array([[each.left(x) for x in grid] for each in both], float).mean(0)
    axes.plot(grid[inside], ceiling[inside], color=color, clip_on=False, zorder=3, **CEILING)
    spots = 100 * np.array([[each.left(x) for x in eps] for each in both], float).mean(0)
    axes.plot(eps, spots, color=color, linestyle="", marker="o", markersize=3, clip_on=False, zorder=4)
    axes.fill_between(
        grid[inside], floor[inside], ceiling[inside], where=list(ceiling[inside] >= floor[inside]), color=color, alpha=0.15, linewidth=0
    )
    crossed = inside & (floor > ceiling + 1e-6)
    if both[0].certificate.sound and crossed.any():
        axes.fill_between(grid, floor, ceiling, where=list(crossed), color=ERROR, alpha=0.7, linewidth=0, zorder=5)
        return True
    return False


def _caption(first: Certificate, summary: Summary, *, wrong: bool) -> str:
    what = "certified" if first.sound else "estimated, and no bound"
    said = [f"{name(first)} ({what}) on {first.model}: the share of images that are right and that nothing within ε changes."]
    if first.about:
        said.append(f"It is about {first.about}, whose answers differ from those of the system that the attacks met.")
    elif first.bounds_attacks:
        said.append("Above it the share of the same images that no attack of the run changed within ε; shaded, what is undecided.")
    if len(summary.seeds) > 1:
        said.append(f"Means over {len(summary.seeds)} seeds.")
    if wrong:
        said.append("ERROR, in red: more is certified than attacks left.")
    return " ".join(said)
