"""Curves for the page, as SVG: each point says its value, and leads to its row. No script is needed for that, nor for paper.

Colours, dashes and sizes are in `page.css`, so that they follow the reader's light or dark; drawn are classes: c0 to c9 a colour, s0 to s3
the shape of a marker, `static`, `adaptive`, ... the dashes of a threat.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from advrun.flags import marks
from advrun.report.curves import PERCENT, Curve, curves, quantities, robustness_caption, titled
from advrun.report.layout import attack_and_norm, eps_label, norm_label, percent
from advrun.report.summary import Summary, System

WIDE, HIGH = 380, 250
LEFT, RIGHT, TOP, BOTTOM = 40, 14, 10, 38
LETTER = 6.2
"""Width of a letter of a tick label; all in the units of the drawing, of which the page shows one as about a pixel."""
COLORS, SHAPES = 10, 4
MARKERS = ("M-3.4 0a3.4 3.4 0 1 0 6.8 0a3.4 3.4 0 1 0-6.8 0z", "M-3-3h6v6h-6z", "M0-4.2L4.2 0 0 4.2-4.2 0z", "M0-4L3.8 3h-7.6z")


@dataclass(frozen=True)
class Mark:
    """A point: low and high are its band; text is what it says; row is its line in the table of all measurements."""

    x: float
    y: float
    text: str
    low: float
    high: float
    row: int | None = None
    doubtful: bool = False


@dataclass(frozen=True)
class Trace:
    """A line through its points, ascending in x; looks are its classes."""

    looks: str
    shape: int
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Sample:
    """A line of the legend: what looks so means that."""

    looks: str
    shape: int | None
    text: str


@dataclass(frozen=True)
class Axis:
    """From `low` to `high`, with ticks at these places and their labels."""

    title: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Chart:
    """A drawn chart. model: whose it is. caption: a paragraph of text. leading: one that is shown before all others."""

    model: str
    title: str
    caption: str
    svg: Markup
    legend: tuple[Sample, ...]
    leading: bool = False


def robustness(summary: Summary) -> Iterator[Chart]:
    """Accuracy against eps, per model and attack that was run at some."""
    looks = _looks(summary.systems)
    for panel in (panel for panel in summary.panels if not panel.minimal):
        for model in summary.models:
            found = curves(summary, panel, model)
            if not found:
                continue
            largest = max(eps or 0.0 for eps in panel.radii)
            ticks = ((0.0, "0"), *((eps or 0.0, eps_label(panel.attack.norm, eps)) for eps in panel.radii))
            traces = [_trace(curve, looks[curve.system.defense], panel.attack.norm) for curve in found]
            across = Axis(f"ε ({norm_label(panel.attack.norm)})", 0.0, largest * 1.02, ticks)
            svg = drawn(traces, across, _PERCENT, f"Accuracy of {model} under {attack_and_norm(panel.attack)} against ε")
            defenses = dict.fromkeys(curve.system.defense for curve in found)
            legend = [Sample(f"c{looks[name][0]}", looks[name][1], name) for name in defenses]
            legend += [Sample(threat, None, threat) for threat in dict.fromkeys(curve.threat for curve in found)]
            caption = robustness_caption(summary, panel, model, doubtful=any(curve.doubtful.any() for curve in found))
            title = f"{model}: " if len(summary.models) > 1 else ""
            title += attack_and_norm(panel.attack)
            yield Chart(model, title, caption, svg, tuple(legend), panel.attack.is_worst_case)


def training(histories: Mapping[str, Mapping[str, Sequence[float]]]) -> Iterator[Chart]:
    """Losses, accuracies, and what an attack that trains comes to, by epoch."""
    for label, history in histories.items():
        for quantity, names in quantities(history):
            words = list(dict.fromkeys(titled(name, quantity)[0] for name in names))
            traces, legend = [], []
            for name in names:
                word, validation = titled(name, quantity)
                looks = f"c{words.index(word) % COLORS} {'validation' if validation else 'training'}"
                marks_ = [*_epochs(history, name, quantity)]
                said = ", ".join(filter(None, ("validation" if validation else "training", word)))
                traces.append(Trace(looks, 0, tuple(marks_)))
                legend.append(Sample(looks, 0, said))
            points = [mark for trace in traces for mark in trace.marks]
            if points:
                across = Axis("epoch", *_span(mark.x for mark in points), _whole(mark.x for mark in points))
                up = _PERCENT if quantity in PERCENT else _scale(quantity, [mark.y for mark in points])
                caption = f"Training of {label}: {quantity} by epoch."
                yield Chart(label, f"{label}: {quantity}", caption, drawn(traces, across, up, caption), tuple(legend))


def drawn(traces: Iterable[Trace], across: Axis, up: Axis, name: str) -> Markup:
    """The SVG of the lines, doubtful points hollow, over their bands. `name`: what a screen reader calls it."""
    traces = list(traces)

    def x(value: float) -> str:
        return _place(LEFT + (WIDE - LEFT - RIGHT) * (value - across.low) / (across.high - across.low or 1))

    def y(value: float) -> str:
        return _place(HIGH - BOTTOM - (HIGH - TOP - BOTTOM) * (value - up.low) / (up.high - up.low or 1))

    parts = [
        Markup('<svg viewBox="0 0 {} {}" role="group" aria-label="{}">').format(WIDE, HIGH, name),
        Markup('<g class="axes" aria-hidden="true">'),
    ]
    for value, label in up.ticks:
        parts.append(
            Markup('<path d="M{} {}H{}"/><text x="{}" y="{}" class="up">{}</text>').format(
                LEFT, y(value), WIDE - RIGHT, LEFT - 6, y(value), label
            )
        )
    for value, label in _clear(across, x):
        parts.append(
            Markup('<path d="M{0} {1}v4"/><text x="{0}" y="{2}" class="across">{3}</text>').format(
                x(value), HIGH - BOTTOM, HIGH - BOTTOM + 16, label
            )
        )
    parts.append(Markup('<text x="{}" y="{}" class="across">{}</text></g>').format((LEFT + WIDE - RIGHT) / 2, HIGH - 5, across.title))
    for trace in traces:
        if any(mark.low < mark.high for mark in trace.marks):
            edge = [(mark.x, mark.high) for mark in trace.marks] + [(mark.x, mark.low) for mark in reversed(trace.marks)]
            parts.append(Markup('<path class="band {}" d="M{}z"/>').format(trace.looks, "L".join(f"{x(a)} {y(b)}" for a, b in edge)))
    for trace in traces:
        parts.append(Markup('<g class="trace {}">').format(trace.looks))
        for first, second in pairwise(trace.marks):
            doubt = ' class="doubtful"' if first.doubtful or second.doubtful else ""
            parts.append(Markup(f'<path{doubt} d="M{x(first.x)} {y(first.y)}L{x(second.x)} {y(second.y)}"/>'))
        for mark in trace.marks:
            dot = Markup('<path class="dot{}" transform="translate({} {})" d="{}"/><title>{}</title>').format(
                " doubtful" if mark.doubtful else "", x(mark.x), y(mark.y), MARKERS[trace.shape], mark.text
            )
            if mark.row is None:
                parts += [Markup("<g>"), dot, Markup("</g>")]
            else:
                parts += [Markup('<a href="#row-{}" aria-label="{}">').format(mark.row, mark.text), dot, Markup("</a>")]
        parts.append(Markup("</g>"))
    return Markup("").join([*parts, Markup("</svg>")])


def _trace(curve: Curve, look: tuple[int | str, int], norm: str) -> Trace:
    def mark(place: int) -> Mark:
        eps, value, low, high = (float(array[place]) for array in (curve.x, curve.y, curve.low, curve.high))
        where = f"{curve.system.defense}, {curve.threat}, ε = {eps_label(norm, eps)}" if eps else f"{curve.system.defense}, clean"
        doubt = f", flagged {marks(curve.flags[place])}" if curve.flags[place] else ""
        said = f"{where}: {percent(value / 100)} % ({percent(low / 100)} to {percent(high / 100)}){doubt}"
        return Mark(eps, value, said, low, high, curve.rows[place], bool(curve.flags[place]))

    return Trace(f"c{look[0]} {curve.threat}", look[1], tuple(map(mark, range(len(curve.x)))))


def _looks(systems: Iterable[System]) -> dict[str, tuple[int | str, int]]:
    """Colour and shape of each defence; the undefended model is grey with discs. Of 20 any two differ in one of both."""
    others = dict.fromkeys(system.defense for system in systems if not system.undefended)
    return {"none": ("n", 0)} | {name: (i % COLORS, (i + i // COLORS + 1) % SHAPES) for i, name in enumerate(others)}


def _epochs(history: Mapping[str, Sequence[float]], name: str, quantity: str) -> Iterator[Mark]:
    word, validation = titled(name, quantity)
    scale, unit = (100, " %") if quantity in PERCENT else (1, "")
    said = " ".join(filter(None, ("validation" if validation else "training", word, quantity)))
    for epoch, value in zip(history.get("epoch", range(1, len(history[name]) + 1)), history[name], strict=False):
        if math.isfinite(value):
            yield Mark(epoch, value * scale, f"{said}, epoch {epoch:g}: {value * scale:.4g}{unit}", value * scale, value * scale)


def _place(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _span(values: Iterable[float]) -> tuple[float, float]:
    known = list(values)
    return min(known), max(known)


def _whole(values: Iterable[float]) -> tuple[tuple[float, str], ...]:
    """At most seven of the epochs, evenly spread, the last among them."""
    known = sorted(set(values))
    step = -(-len(known) // 7)
    return tuple((value, f"{value:g}") for value in reversed(known[::-1][::step]))


def _scale(title: str, values: Sequence[float]) -> Axis:
    """From 0, or the least value below it, in round steps."""
    low, high = min(0.0, *values), max(values)
    rough = (high - low or 1.0) / 4
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= rough * 0.999)
    first, last = math.floor(low / step), math.ceil(high / step) or 1
    return Axis(title, first * step, last * step, tuple((place * step, f"{place * step:.3g}") for place in range(first, last + 1)))


def _clear(axis: Axis, where: Callable[[float], str]) -> list[tuple[float, str]]:
    """The ticks whose labels touch no other; the first and the last stay."""
    half = [len(label) * LETTER / 2 + 2 for _, label in axis.ticks]
    spots = [float(where(value)) for value, _ in axis.ticks]
    kept = [len(spots) - 1]
    for index in reversed(range(len(spots) - 1)):
        free = spots[index] + half[index] <= spots[kept[-1]] - half[kept[-1]]
        if free and (index == 0 or spots[index] - half[index] >= spots[0] + half[0]):
            kept.append(index)
    return [axis.ticks[index] for index in sorted(kept)]


_PERCENT = Axis("accuracy, %", 0.0, 100.0, tuple((float(tick), f"{tick} %" if tick == 100 else str(tick)) for tick in range(0, 101, 25)))
