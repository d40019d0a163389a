"""The summary in the terminal: a section per system, a line per attack and eps, within 80 columns however many of them there are."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from advrun.console import spelt
from advrun.report import bounds
from advrun.report.findings import Findings
from advrun.report.headline import sentences
from advrun.report.layout import MISSING, SAME, Entry, Line, attack_label, attacked, ball_label, clean, distances, measured_in
from advrun.report.notes import notes
from advrun.report.summary import Panel, Summary, System

if TYPE_CHECKING:
    from rich.console import RenderableType

WIDTH = 96
"""Columns of running text."""
LABEL = 26
"""Columns of an attack's name; longer ones are folded."""


def render(findings: Findings, summary: Summary) -> RenderableType:
    """The summary for stdout: with bold type on a terminal, else as plain text."""
    return table(findings, summary) if sys.stdout.isatty() else plain(findings, summary)


def table(findings: Findings, summary: Summary) -> RenderableType:
    """For a rich console: the best numbers in bold, then the notes and, last, the headline."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    grid = _Grid(summary)
    body = Text("\n").join(Text.assemble(*line) for line in grid.lines)
    explained = Table.grid(padding=(0, 2))
    for note in notes(summary):
        explained.add_row(Text(spelt(note.term), "bold"), Text(spelt(note.text), "dim"))
    said = [part for paragraph in sentences(summary) for part in (Text(), *map(Text, map(spelt, paragraph)))]
    bounded = [part for line in bounds.terminal(findings, summary) for part in [Text(spelt(line))]]
    errors = [Text(spelt(error), "bold red") for error in bounds.errors(findings, summary)]
    return Group(Text(spelt(findings.title), "bold"), Text(), body, *bounded, Text(), explained, *said, *errors)


def plain(findings: Findings, summary: Summary) -> str:
    """For logs and pipes: text without colour."""
    body = "\n".join("".join(text for text, _ in line).rstrip() for line in _Grid(summary).lines).rstrip()
    explained = "\n".join(_wrapped(f"{note.term}  {note.text}", "    ") for note in notes(summary) if note.term != "bold")
    said = ["\n".join(_wrapped(sentence, "    ") for sentence in paragraph) for paragraph in sentences(summary)]
    bounded = "\n".join(map(spelt, bounds.terminal(findings, summary)))
    errors = [_wrapped(error, "    ") for error in bounds.errors(findings, summary)]
    return "\n\n".join(filter(None, [_wrapped(findings.title), body, bounded, explained, *said, *errors])) + "\n"


@dataclass(frozen=True)
class _Place:
    """One place of the grid, spelt as the terminal can show it before its width is counted."""

    text: str
    best: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", spelt(self.text))


class _Grid:
    """Aligned lines of (text, style); the first names the columns."""

    def __init__(self, summary: Summary) -> None:
        self.summary = summary
        self.threats = list(dict.fromkeys(threat for panel in summary.panels for threat in panel.threats))
        self.panels = sorted(summary.panels, key=lambda panel: panel.attack.is_worst_case)
        self.sections = [(system, list(self._section(system))) for system in summary.systems]

    @property
    def lines(self) -> Iterator[list[tuple[str, str]]]:
        header = [_Place(name) for name in ("  attack", "within", *(f"{threat}, %" for threat in self.threats))]
        rows = [line for _, section in self.sections for line in section]
        widths = [max(len(place.text) for place in column) for column in zip(header, *rows, strict=True)]
        if rows:
            yield _aligned(header, widths)
            yield [("-" * (sum(widths) + 2 * len(widths) - 2), "dim")]
        for system, section in self.sections:
            for part in textwrap.wrap(spelt(self._name(system)), WIDTH, subsequent_indent="    "):
                yield [(part, "underline" if rows else "")]
            yield from (_aligned(line, widths) for line in section)
            if rows:
                yield []

    def _name(self, system: System) -> str:
        """`hybrid: clean 94.7 ± 1.1 %`."""
        name = f"{system.model} / {system.defense}" if len(self.summary.models) > 1 else system.defense
        shown = clean(self.summary, system)
        number = f"{shown.number} ± {shown.margin}" if shown.margin else shown.number
        return " ".join(filter(None, (f"{name}: clean", number if shown.number == MISSING else f"{number} %", shown.marks)))

    def _section(self, system: System) -> Iterator[list[_Place]]:
        for panel in self.panels:
            for eps in panel.radii:
                size = measured_in(panel.attack.norm) if panel.minimal else ball_label(panel.attack.norm, eps)
                first, *folded = textwrap.wrap(attack_label(panel.attack), LABEL) or [""]
                yield [_Place(f"  {first}"), _Place(size), *self._row(system, panel, attacked(self.summary, panel, system, eps))]
                yield from ([_Place(f"    {part}"), *[_Place("")] * (1 + len(self.threats))] for part in folded)
            if panel.minimal:
                yield from self._distances(system, panel)

    def _distances(self, system: System, panel: Panel) -> Iterator[list[_Place]]:
        mean, median, fooled = distances(self.summary, panel, system)
        both = [_both(*pair) for pair in zip(_texts(system, mean), _texts(system, median), strict=True)]
        for label, texts in (("mean, median distance", both), ("images fooled", _texts(system, fooled))):
            known = dict(zip(panel.threats, texts, strict=True))
            yield [_Place(f"    {label}"), _Place(""), *(_Place(known.get(threat, "")) for threat in self.threats)]

    def _row(self, system: System, panel: Panel, entries: Sequence[Entry]) -> list[_Place]:
        places = Line(system, tuple(entries)).places
        known = {threat: _Place(place.text, place.best) for threat, place in zip(panel.threats, places, strict=True)}
        return [known.get(threat, _Place("")) for threat in self.threats]


def _texts(system: System, entries: Sequence[Entry]) -> list[str]:
    return Line(system, tuple(entries)).texts


def _both(mean: str, median: str) -> str:
    """`0.97, 0.94`, `(0.08, 0.07)`, or one where they are the same sign."""
    if mean == median and mean in (SAME, MISSING, "none"):
        return mean
    if mean.startswith("(") and median.startswith("("):
        return f"({mean[1:-1]}, {median[1:-1]})"
    return f"{mean}, {median}"


def _aligned(line: Sequence[_Place], widths: Sequence[int]) -> list[tuple[str, str]]:
    """The first two columns to the left, numbers to the right."""
    parts: list[tuple[str, str]] = []
    for index, (place, width) in enumerate(zip(line, widths, strict=True)):
        text = place.text.ljust(width) if index < 2 else place.text.rjust(width)
        parts += [("  " if index else "", ""), (text, "bold" if place.best else "")]
    return parts


def _wrapped(text: str, indent: str = "") -> str:
    filled = textwrap.fill(spelt(text).replace(" %", "\u00a0%"), WIDTH, subsequent_indent=indent, break_on_hyphens=False)
    return filled.replace("\u00a0", " ")
