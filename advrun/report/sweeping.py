"""The figure of a sweep: strength of a defence against accuracy, clean, static and adaptive, with the best strength marked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from advrun.config import Sweep
from advrun.config.yamlfile import number
from advrun.report.curves import BOTTOM, DASHES, LEFT, RIGHT, SMALL, TITLE, legend_above, thinned
from advrun.report.layout import ball_label, norm_label
from advrun.report.lettering import folded, height
from advrun.report.strengths import best_value, over, systems_of
from advrun.report.style import COLUMN, FAINT, INK, PALETTE
from advrun.report.summary import UNDEFENDED, Panel, Score, Summary, System

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = {"none": INK, "static": PALETTE[4], "adaptive": PALETTE[0]}
NAMES = {"none": "clean", "static": "static", "adaptive": "adaptive"}
PLOT = 1.5
"""Height of the axes, in inches."""
ACROSS = 2
"""Axes side by side."""
BEST: dict[str, Any] = {"marker": "*", "markersize": 11, "markeredgecolor": "white", "markeredgewidth": 0.6, "linestyle": ""}


def sweeping(summary: Summary, sweep: Sweep, panel: Panel, model: str) -> tuple[Figure, str]:
    """Axes for each eps; the undefended model as thin lines across."""
    from matplotlib.figure import Figure

    systems = systems_of(summary, sweep, model)
    radii = [eps for eps in panel.radii if any(summary.cell(system, panel.attack, eps, "adaptive") for _, system in systems)]
    columns = min(ACROSS, len(radii))
    rows = -(-len(radii) // columns)
    wide = COLUMN * columns
    title = folded(f"{sweep.defense}: {over(panel, summary)}, {norm_label(panel.attack.norm)}", TITLE, wide - LEFT - RIGHT, 3, "bold")
    figure = Figure(figsize=(wide, 1))
    threats = ("none", *panel.threats)
    samples: list[Any] = [
        ({"color": COLORS[threat], "linestyle": DASHES.get(threat, ":"), "marker": "o"}, NAMES[threat]) for threat in threats
    ]
    samples += [({"color": INK, **BEST}, "best strength"), ({"color": FAINT, "linewidth": 0.8}, "no defence, under attack")]
    head = legend_above(figure, samples) + height(len(title), TITLE) + 0.1
    each = PLOT + BOTTOM + 0.2
    total = head + rows * each
    figure.set_figheight(total)
    figure.text(LEFT / wide, 1 - (head - 0.08) / total, "\n".join(title), fontsize=TITLE, fontweight="bold", va="bottom")
    across = COLUMN - LEFT - RIGHT
    for place, eps in enumerate(radii):
        row, column = divmod(place, columns)
        bottom = total - head - (row + 1) * each + BOTTOM
        axes = figure.add_axes(((LEFT + column * COLUMN) / wide, bottom / total, across / wide, PLOT / total))
        _draw(axes, summary, panel, eps, systems, threats)
        _undefended(axes, summary, panel, eps, model)
        values = [value for value, _ in systems]
        reach = (values[-1] - values[0]) * 0.06
        axes.set(ylim=(0, 100), xlim=(values[0] - reach, values[-1] + reach), xlabel=sweep.setting, ylabel="accuracy, %")
        axes.set_title(ball_label(panel.attack.norm, eps), fontsize=SMALL)
        spots = [(value - values[0] + reach) / (values[-1] - values[0] + 2 * reach) * across for value in values]
        axes.set_xticks(values, thinned(spots, [number(value) for value in values], SMALL))
    return figure, _caption(summary, sweep, panel, model)


def _draw(axes: Axes, summary: Summary, panel: Panel, eps: float | None, systems: list[tuple[float, System]], threats: Any) -> None:
    for threat in threats:
        known = [(value, cell) for value, system in systems if (cell := _score(summary, panel, eps, system, threat))]
        if not known:
            continue
        x = np.array([value for value, _ in known])
        y, low, high = np.array([(cell.accuracy, cell.low, cell.high) for _, cell in known]).T * 100
        style: Any = {"color": COLORS[threat], "linestyle": DASHES.get(threat, ":"), "clip_on": False}
        axes.fill_between(x, low, high, color=COLORS[threat], alpha=0.12, linewidth=0)
        axes.plot(x, y, markeredgecolor="white", markeredgewidth=0.5, marker="o", zorder=3, **style)
        doubtful = np.array([bool(cell.flags) for _, cell in known])
        hollow: Any = {"marker": "o", "linestyle": "", "markerfacecolor": "white", "markeredgecolor": COLORS[threat], "clip_on": False}
        axes.plot(x[doubtful], y[doubtful], zorder=4, **hollow)
        best = None if threat == "none" else best_value(summary, panel, eps, systems, threat)
        if best is not None:
            place = int(np.flatnonzero(x == best)[0])
            axes.plot(x[place], y[place], color=COLORS[threat], zorder=5, clip_on=False, **BEST)
            label: Any = {"xytext": (0, 7), "textcoords": "offset points", "ha": "center", "fontsize": SMALL, "annotation_clip": False}
            axes.annotate(f"{y[place]:.0f}", (x[place], y[place]), color=COLORS[threat], zorder=6, **label)


def _score(summary: Summary, panel: Panel, eps: float | None, system: System, threat: str) -> Score | None:
    return summary.clean(system) if threat == "none" else summary.cell(system, panel.attack, eps, threat)


def _undefended(axes: Axes, summary: Summary, panel: Panel, eps: float | None, model: str) -> None:
    cell = summary.cell(System(model, UNDEFENDED), panel.attack, eps, "adaptive")
    if cell:
        axes.axhline(100 * cell.accuracy, color=FAINT, linewidth=0.8, zorder=1)


def _caption(summary: Summary, sweep: Sweep, panel: Panel, model: str) -> str:
    band = "the 95 % interval" if len(summary.seeds) == 1 else f"one standard deviation over {len(summary.seeds)} seeds"
    return (
        f"Accuracy of {model} behind {sweep.defense} against its {sweep.setting}, under {over(panel, summary)} "
        f"({norm_label(panel.attack.norm)}), for each ε. A star marks the best strength, chosen on these same images, with its accuracy. "
        f"Static: examples of the undefended model, replayed; adaptive: crafted through the defence. Bands: {band}. Hollow: flagged."
    )
