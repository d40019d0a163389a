"""Line figures: accuracy against eps, and training curves."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from advrun.flags import marks
from advrun.report.layout import attack_label, eps_label, norm_label
from advrun.report.lettering import folded, height, shortened, widest, width
from advrun.report.strengths import shown
from advrun.report.style import COLUMN, INK, PALETTE, look
from advrun.report.summary import Panel, Score, Summary, System

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DASHES: dict[str, Any] = {"static": (0, (3, 2)), "adaptive": "-", "transfer": (0, (1, 1)), "blackbox": (0, (5, 1, 1, 1))}
OTHER_DASHES: Any = (0, (4, 1, 1, 1, 1, 1))
"""Of threats of one's own."""
QUANTITIES = ("loss", "accuracy", "success", "norm")
PERCENT = ("accuracy", "success")
DOUBTFUL: dict[str, Any] = {"linewidth": 0.7, "alpha": 0.6}
HOLLOW: dict[str, Any] = {"markerfacecolor": "white", "markeredgewidth": 0.9}
"""How a number with a flag is drawn: on a thin, pale line, its marker hollow."""
CROWD = 8
"""From so many lines on, bands are paler and the axes higher."""
LEFT, RIGHT, BOTTOM, HANDLE = 0.46, 0.13, 0.43, 0.4
"""Inches: the space beside and below the axes, and a sample of a line in the legend."""
SMALL, TITLE = 7, 8
"""Size of tick labels and legends, and of titles, in points."""


@dataclass(frozen=True)
class Curve:
    """One system under one threat: x is eps, y the accuracy in percent, low and high its band; flags and row of each point."""

    system: System
    threat: str
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray
    high: np.ndarray
    flags: tuple[tuple[str, ...], ...]
    rows: tuple[int, ...]

    @property
    def doubtful(self) -> np.ndarray:
        """Which points have flags."""
        return np.array([bool(flags) for flags in self.flags])

    @property
    def last(self) -> int:
        """The doubtful point of the largest eps."""
        return int(np.flatnonzero(self.doubtful)[-1])


def robustness(summary: Summary, panel: Panel, model: str) -> tuple[Figure, str]:
    """Accuracy of the systems of one model against eps under one attack, of a swept defence at its best; clean accuracy at eps 0.

    What is flagged is drawn as doubtful, with the flag in the legend.
    """
    from matplotlib.figure import Figure

    systems = shown(summary, model)
    found = curves(summary, panel, model)
    styles = look([system.defense for system in summary.systems])
    flags = [flag for flag in summary.flags if any(flag in raised for curve in found for raised in curve.flags)]
    samples = [({**styles[system.defense]}, system.defense) for system in systems]
    samples += [({"color": INK, "linestyle": DASHES.get(threat, OTHER_DASHES)}, threat) for threat in panel.threats]
    samples += [({"color": INK, "marker": "o", **DOUBTFUL, **HOLLOW}, f"{marks([flag])} {flag}") for flag in flags]
    signs = [marks(curve.flags[curve.last]) for curve in found if curve.doubtful.any()]
    across = COLUMN - LEFT - max(RIGHT, widest(signs, SMALL))
    title = folded(attack_label(panel.attack), TITLE, across, 3, "bold")
    plot = 2.1 if len(found) < CROWD else 2.7
    figure = Figure(figsize=(COLUMN, 1))
    legend = legend_above(figure, samples)
    total = legend + height(len(title), TITLE) + 0.06 + plot + BOTTOM
    figure.set_figheight(total)
    axes = figure.add_axes((LEFT / COLUMN, BOTTOM / total, across / COLUMN, plot / total))
    axes.set(ylim=(0, 100), ylabel="accuracy, %", xlabel=f"ε ({norm_label(panel.attack.norm)})", title="\n".join(title))
    _eps_ticks(axes, panel, across)
    for curve in found:
        style = styles[curve.system.defense]
        axes.fill_between(curve.x, curve.low, curve.high, color=style["color"], alpha=0.12 if len(found) < CROWD else 0.05, linewidth=0)
        _draw(axes, curve, style)
        if curve.doubtful.any():
            _sign(axes, curve, marks(curve.flags[curve.last]), style["color"])
    return figure, robustness_caption(summary, panel, model, doubtful=bool(flags))


def training(label: str, history: Mapping[str, Sequence[float]]) -> tuple[Figure, str]:
    """Losses, accuracies, and what an attack that trains comes to, by epoch, side by side."""
    from matplotlib.figure import Figure

    panels = quantities(history)
    figure = Figure(figsize=(COLUMN * len(panels), 2.4), layout="constrained")
    for axes, (quantity, names) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _curves(axes, history, names, quantity)
    return figure, f"Training of {label}: {' and '.join(quantity for quantity, _ in panels)} by epoch."


def quantities(history: Mapping[str, Sequence[float]]) -> list[tuple[str, list[str]]]:
    """What a training knows of, and the names of its curves."""
    found = ((quantity, [name for name in history if name.endswith(quantity)]) for quantity in QUANTITIES)
    return [(quantity, names) for quantity, names in found if names]


def titled(name: str, quantity: str) -> tuple[str, bool]:
    """What the name of a curve says beside its quantity, such as "adversarial", and whether it is of validation images."""
    return re.sub(r"\bval\b", "", name.removesuffix(quantity).replace("_", " ")).strip(), "val_" in name


def thinned(places: Sequence[float], labels: Sequence[str], size: float) -> list[str]:
    """The labels of an axis, with "" for those that would touch another; the first and the last stay.

    Args:
        places: the middle of each, in inches, ascending.
        labels: their texts.
        size: in points.
    """
    half = [width(label, size) / 2 + 0.03 for label in labels]
    kept = [len(labels) - 1]
    for index in reversed(range(1, len(labels) - 1)):
        clear = places[index] + half[index] <= places[kept[-1]] - half[kept[-1]]
        if clear and places[index] - half[index] >= places[0] + half[0]:
            kept.append(index)
    return [label if index in (0, *kept) else "" for index, label in enumerate(labels)]


def curves(summary: Summary, panel: Panel, model: str) -> list[Curve]:
    """Of the systems that are shown, under every threat."""
    systems = shown(summary, model)
    return [curve for system in systems for threat in panel.threats if (curve := _curve(summary, panel, system, threat))]


def _curve(summary: Summary, panel: Panel, system: System, threat: str) -> Curve | None:
    points: list[tuple[float, Score | None]] = [(0.0, summary.clean(system))]
    points += [(eps or 0.0, summary.cell(system, panel.attack, eps, threat)) for eps in panel.radii]
    known = [(eps, cell) for eps, cell in points if cell]
    if not any(eps for eps, _ in known):
        return None
    mean, low, high = np.array([(cell.accuracy, cell.low, cell.high) for _, cell in known]).T * 100
    flags, rows = tuple(cell.flags for _, cell in known), tuple(cell.row for _, cell in known)
    return Curve(system, threat, np.array([eps for eps, _ in known]), mean, low, high, flags, rows)


def _draw(axes: Axes, curve: Curve, style: Mapping[str, Any]) -> None:
    """The sound part of a line with its markers; under it, where something is flagged, the whole line thin and pale."""
    doubtful, dashes = curve.doubtful, DASHES.get(curve.threat, OTHER_DASHES)
    sound = np.where(doubtful, np.nan, curve.y)
    axes.plot(curve.x, sound, linestyle=dashes, markeredgecolor="white", markeredgewidth=0.5, clip_on=False, zorder=3, **style)
    if doubtful.any():
        axes.plot(curve.x, curve.y, color=style["color"], linestyle=dashes, clip_on=False, zorder=2, **DOUBTFUL)
        axes.plot(curve.x, np.where(doubtful, curve.y, np.nan), linestyle="", clip_on=False, zorder=4, **style, **HOLLOW)


def _sign(axes: Axes, curve: Curve, sign: str, color: str) -> None:
    """The marks of its flags behind the end of a line."""
    place: dict[str, Any] = {"xytext": (4, 0), "textcoords": "offset points", "va": "center", "annotation_clip": False}
    axes.annotate(sign, (curve.x[curve.last], curve.y[curve.last]), color=color, fontsize=SMALL, zorder=5, **place)


def _eps_ticks(axes: Axes, panel: Panel, across: float) -> None:
    """A tick at every eps, as a fraction; labels only where they have room."""
    largest = max(eps or 0.0 for eps in panel.radii) * 1.04
    ticks = [0.0, *(eps or 0.0 for eps in panel.radii)]
    labels = ["0", *(eps_label(panel.attack.norm, eps) for eps in panel.radii)]
    axes.set_xlim(0, largest)
    axes.set_xticks(ticks, thinned([tick / largest * across for tick in ticks], labels, SMALL))


def legend_above(figure: Figure, samples: Sequence[tuple[Mapping[str, Any], str]]) -> float:
    """Above the axes, in two columns where the names are short enough; returns its height in inches."""
    from matplotlib.lines import Line2D

    half, full = COLUMN / 2 - HANDLE - 0.1, COLUMN - HANDLE - 0.15
    columns = 2 if widest((label for _, label in samples), SMALL) <= half * 1.9 else 1
    labels = ["\n".join(folded(label, SMALL, half if columns == 2 else full, 3)) for _, label in samples]
    handles = [Line2D([], [], **style) for style, _ in samples]
    placed: dict[str, Any] = {
        "loc": "upper left",
        "ncols": columns,
        "borderaxespad": 0.1,
        "handlelength": 2.4,
        "labelspacing": 0.3,
        "columnspacing": 1,
    }
    legend = figure.legend(handles, labels, **placed)
    return float(legend.get_window_extent().height) / figure.dpi + 0.05


def robustness_caption(summary: Summary, panel: Panel, model: str, *, doubtful: bool) -> str:
    """What is drawn. doubtful: whether something is flagged."""
    name = "the worst case over all attacks" if panel.attack.is_worst_case else attack_label(panel.attack)
    band = "the 95 % interval" if len(summary.seeds) == 1 else f"one standard deviation over {len(summary.seeds)} seeds"
    doubts = " Thin lines with hollow markers: flagged, not to be trusted." if doubtful else ""
    swept = " Of a defence at several strengths that which gives back most." if summary.sweeps else ""
    return f"Accuracy of {model} under {name} against ε ({norm_label(panel.attack.norm)}); ε = 0 is clean. Bands: {band}.{doubts}{swept}"


def _curves(axes: Axes, history: Mapping[str, Sequence[float]], names: Sequence[str], quantity: str) -> None:
    """Validation solid, training dashed; one colour for each further word in the name, such as "adversarial"."""
    from matplotlib.ticker import MaxNLocator

    scale, unit = (100, ", %") if quantity in PERCENT else (1, "")
    words = [titled(name, quantity)[0] for name in names]
    colors = dict(zip(dict.fromkeys(words), cycle(PALETTE), strict=False))
    for name, word in zip(names, words, strict=True):
        values = np.array(history[name], dtype=float) * scale
        epochs = history.get("epoch", range(1, len(values) + 1))
        validation = titled(name, quantity)[1]
        style: dict[str, Any] = {"linestyle": "-" if validation else DASHES["static"], "alpha": 1.0 if validation else 0.6}
        label = shortened(", ".join(filter(None, ("validation" if validation else "training", word))), SMALL, 1.1)
        axes.plot(epochs, values, color=colors[word], marker=".", label=label, **style)
    axes.set(ylabel=quantity + unit, xlabel="epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2, borderaxespad=0.1, labelspacing=0.3)
