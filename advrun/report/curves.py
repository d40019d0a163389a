"""Line figures: accuracy against eps, and training curves."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from advrun.report.layout import attack_label, eps_label, norm_label
from advrun.report.style import COLUMN, INK, PALETTE, look
from advrun.report.summary import Panel, Score, Summary, System

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DASHES: dict[str, Any] = {"static": (0, (3, 2)), "adaptive": "-", "transfer": (0, (1, 1)), "blackbox": (0, (5, 1, 1, 1))}
QUANTITIES = ("loss", "accuracy")
TICKS = 5
"""Up to so many eps are written at the axis as they are; more get evenly spaced numbers."""


def robustness(summary: Summary, panel: Panel, model: str) -> tuple[Figure, str]:
    """Accuracy of all systems of one model against eps under one attack; clean accuracy at eps 0."""
    from matplotlib.figure import Figure

    systems = [system for system in summary.systems if system.model == model]
    styles = look([system.defense for system in summary.systems])
    rows = -(-(len(systems) + len(panel.threats)) // 2)
    legend, plot = 0.17 * rows + 0.2, 2.1
    figure = Figure(figsize=(COLUMN, legend + plot + 0.43))
    height = figure.get_figheight()
    axes = figure.add_axes((0.135, 0.43 / height, 0.835, plot / height))
    for system in systems:
        for threat in panel.threats:
            _line(axes, summary, panel, system, threat, styles[system.defense])
    axes.set(ylim=(0, 100), ylabel="accuracy, %", xlabel=f"ε ({norm_label(panel.attack.norm)})", title=attack_label(panel.attack))
    axes.set_xlim(left=0)
    if len(panel.radii) <= TICKS:
        axes.set_xticks([0.0, *(eps or 0.0 for eps in panel.radii)], ["0", *(eps_label(panel.attack.norm, eps) for eps in panel.radii)])
    _legend(figure, systems, panel.threats, styles)
    return figure, _robustness_caption(summary, panel, model)


def training(label: str, history: Mapping[str, Sequence[float]]) -> tuple[Figure, str]:
    """Losses and accuracies by epoch, side by side."""
    from matplotlib.figure import Figure

    panels = [(quantity, curves) for quantity in QUANTITIES if (curves := [name for name in history if name.endswith(quantity)])]
    legend = 0.16 * -(-max(len(curves) for _, curves in panels) // 2) + 0.08
    width, height = COLUMN * len(panels), 1.9 + legend
    figure = Figure(figsize=(width, height))
    for index, (quantity, curves) in enumerate(panels):
        axes = figure.add_axes(((0.5 + COLUMN * index) / width, 0.4 / height, 2.82 / width, 1.5 / height))
        _curves(axes, history, curves, quantity)
    return figure, f"Training of {label}: {' and '.join(quantity for quantity, _ in panels)} by epoch."


def _line(axes: Axes, summary: Summary, panel: Panel, system: System, threat: str, style: Mapping[str, Any]) -> None:
    points: list[tuple[float, Score | None]] = [(0.0, summary.clean(system))]
    points += [(eps or 0.0, summary.cell(system, panel.attack, eps, threat)) for eps in panel.radii]
    known = [(eps, cell) for eps, cell in points if cell]
    if not any(eps for eps, _ in known):
        return
    x = [eps for eps, _ in known]
    mean, low, high = np.array([(cell.accuracy, cell.low, cell.high) for _, cell in known]).T * 100
    axes.fill_between(x, low, high, color=style["color"], alpha=0.12, linewidth=0)
    axes.plot(x, mean, linestyle=DASHES[threat], markeredgecolor="white", markeredgewidth=0.5, clip_on=False, zorder=3, **style)


def _legend(figure: Figure, systems: Sequence[System], threats: Sequence[str], styles: Mapping[str, Any]) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], **styles[system.defense]) for system in systems]
    handles += [Line2D([], [], color=INK, linestyle=DASHES[threat]) for threat in threats]
    labels = [*(system.defense for system in systems), *threats]
    figure.legend(handles, labels, loc="upper center", ncols=2, borderaxespad=0.2, handlelength=2.4, labelspacing=0.3)


def _robustness_caption(summary: Summary, panel: Panel, model: str) -> str:
    name = "the worst case over all attacks" if panel.attack.is_worst_case else attack_label(panel.attack)
    band = "the 95 % interval" if len(summary.seeds) == 1 else f"one standard deviation over {len(summary.seeds)} seeds"
    return f"Accuracy of {model} under {name} against ε ({norm_label(panel.attack.norm)}); ε = 0 is clean. Bands: {band}."


def _curves(axes: Axes, history: Mapping[str, Sequence[float]], names: Sequence[str], quantity: str) -> None:
    """Validation solid, training dashed; one colour for each further word in the name, such as "adversarial"."""
    from matplotlib.ticker import MaxNLocator

    scale, unit = (100, ", %") if quantity == "accuracy" else (1, "")
    words = [re.sub(r"\bval\b", "", name.removesuffix(quantity).replace("_", " ")).strip() for name in names]
    colors = dict(zip(dict.fromkeys(words), cycle(PALETTE), strict=False))
    for name, word in zip(names, words, strict=True):
        values = np.array(history[name], dtype=float) * scale
        epochs = history.get("epoch", range(1, len(values) + 1))
        validation = "val_" in name
        style: dict[str, Any] = {"linestyle": "-" if validation else DASHES["static"], "alpha": 1.0 if validation else 0.6}
        label = ", ".join(filter(None, ("validation" if validation else "training", word)))
        axes.plot(epochs, values, color=colors[word], marker=".", label=label, **style)
    axes.set(ylabel=quantity + unit, xlabel="epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2, borderaxespad=0.1, labelspacing=0.3)
