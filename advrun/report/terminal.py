"""The summary in the terminal: a line per system, attack and eps, about 90 columns however many of them there are."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING

from advrun.console import spelt
from advrun.report.findings import Findings
from advrun.report.layout import Line, attack_label, attacked, clean, distance_label, eps_label, norm_label
from advrun.report.notes import headline, notes
from advrun.report.summary import Panel, Summary, System, summarise

if TYPE_CHECKING:
    from rich.console import RenderableType

LABELS = ("system", "clean", "attack", "ε")


def render(findings: Findings) -> RenderableType:
    """The summary for stdout: a rich table on a terminal, else aligned text, which no width folds."""
    return table(findings) if sys.stdout.isatty() else plain(findings)


def table(findings: Findings) -> RenderableType:
    """For a rich console: a section per system, worst cases in bold, then the notes and the headline."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    summary = summarise(findings.results)
    threats, sections = _content(summary)
    grid = Table(box=box.SIMPLE_HEAD, title=Text(spelt(findings.title)), title_justify="left", title_style="bold")
    for name in map(spelt, LABELS):
        grid.add_column(name, overflow="fold")
    for threat in threats:
        grid.add_column(threat, justify="right", no_wrap=True)
    for lines in sections:
        for line in lines:
            style = "bold" if line[2].startswith("worst case") else None
            grid.add_row(*map(Text, line), style=style, end_section=line is lines[-1])
    explained = Table.grid(padding=(0, 2))
    for note in notes(summary, findings.glossary):
        explained.add_row(Text(spelt(note.term), "bold"), Text(spelt(note.text), "dim"))
    return Group(grid, explained, Text(), *(Text(spelt(sentence)) for sentence in headline(summary)))


def plain(findings: Findings) -> str:
    """For logs and pipes: aligned text without colour."""
    summary = summarise(findings.results)
    threats, sections = _content(summary)
    header = [*map(spelt, LABELS), *threats]
    widths = [max(map(len, column)) for column in zip(header, *chain.from_iterable(sections), strict=True)]
    sections = [[header, ["-" * width for width in widths]], *sections]
    body = "\n\n".join("\n".join(_aligned(line, widths) for line in lines) for lines in sections)
    explained = "\n".join(f"{note.term}  {note.text}" for note in notes(summary, findings.glossary))
    return "\n\n".join([findings.title, body, explained, *headline(summary)]) + "\n"


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    pairs = list(zip(line, widths, strict=True))
    left = [text.ljust(width) for text, width in pairs[: len(LABELS)]]
    return "  ".join([*left, *(text.rjust(width) for text, width in pairs[len(LABELS) :])]).rstrip()


def _content(summary: Summary) -> tuple[list[str], list[list[list[str]]]]:
    """Threats, and for each system its lines: LABELS, then one accuracy per threat."""
    threats = list(dict.fromkeys(threat for panel in summary.panels for threat in panel.threats))
    panels = sorted(summary.panels, key=lambda panel: panel.attack.is_worst_case)

    def line(system: System, panel: Panel, eps: float | None) -> list[str]:
        texts = Line(system, tuple(attacked(summary, panel, system, eps))).texts
        accuracies = dict(zip(panel.threats, texts, strict=True))
        return [attack_label(panel.attack), _size(summary, system, panel, eps), *(accuracies.get(name, "") for name in threats)]

    def section(system: System) -> list[list[str]]:
        lines = [line(system, panel, eps) for panel in panels for eps in panel.radii] or [["", ""]]
        starts = [[_name(summary, system), clean(summary, system).text], *[["", ""]] * (len(lines) - 1)]
        return [start + rest for start, rest in zip(starts, lines, strict=True)]

    return threats, [[list(map(spelt, line)) for line in section(system)] for system in summary.systems]


def _name(summary: Summary, system: System) -> str:
    return f"{system.model} / {system.defense}" if len(summary.models) > 1 else system.defense


def _size(summary: Summary, system: System, panel: Panel, eps: float | None) -> str:
    """`L∞ 8/255`, or `L2 mean 0.65` for an attack without eps."""
    norm = norm_label(panel.attack.norm)
    if not panel.minimal:
        return f"{norm} {eps_label(panel.attack.norm, eps)}"
    cell = summary.cell(system, panel.attack, None, panel.threats[-1])
    return f"{norm} mean {distance_label(cell.distance)}" if cell and cell.distance is not None else norm
