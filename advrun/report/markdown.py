"""Tables as GitHub Markdown."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from advrun.meanings import MEANINGS, OTHER
from advrun.report.layout import Table
from advrun.report.notes import Note

ESCAPED = str.maketrans({"<": "&lt;", ">": "&gt;", "&": "&amp;"} | {mark: f"\\{mark}" for mark in "\\`*_{}[]#|~$"})
MARKS = "".join(found.mark for found in MEANINGS.values()) + OTHER.mark
NUMBER = re.compile(rf"\(?[-\d.,]+\)?( to [\d.,]+| ± [\d.]+)?( [{re.escape(MARKS)}\\]+)?|[—=]|none|")


def escape(text: str) -> str:
    """Any text as one line of plain Markdown: no formatting, no HTML, no new table cells, no formulas."""
    return " ".join(text.split()).translate(ESCAPED)


def summary(title: str, sentences: Sequence[str], tables: Sequence[Table], notes: Sequence[Note]) -> str:
    """Title, headline, one Markdown table per table, notes."""
    parts = [f"# {escape(title)}", *(escape(sentence) for sentence in sentences)]
    for table in tables:
        lines = [[line.system.model, line.system.defense, *line.texts] for line in table.lines]
        bold = {(number, place + 2) for number, line in enumerate(table.lines, 1) for place, entry in enumerate(line.places) if entry.best}
        parts += [f"## {escape(table.caption)}", pipes([["model", "defence", *table.heads], *lines], bold)]
    parts.append("\n".join(f"- **{escape(note.term)}** {escape(note.text)}" for note in notes))
    return "\n\n".join(parts) + "\n"


def accuracy(title: str, lines: list[list[str]], notes: Sequence[Note]) -> str:
    """The full table with the flags explained below it."""
    explained = "\n".join(f"- {escape(note.term)} {escape(note.text)}" for note in notes)
    return "\n\n".join(filter(None, (f"# {escape(title)}", pipes(lines), explained))) + "\n"


def strengths(title: str, lines: list[list[str]]) -> str:
    """The best strength of each swept defence, for each eps."""
    best = "Best strength by the static accuracy, chosen on the images that it is measured on; differences in points to no defence."
    return "\n\n".join((f"# {escape(title)}", escape(best), pipes(lines))) + "\n"


def pipes(lines: list[list[str]], bold: Collection[tuple[int, int]] = ()) -> str:
    """A pipe table, its columns aligned in the source too; columns of numbers are set to the right.

    Args:
        lines: the header first; every line has the same length.
        bold: line and place of what is set in bold.
    """
    cells = [[escape(cell) for cell in line] for line in lines]
    numeric = [all(NUMBER.fullmatch(cell) for cell in column[1:]) for column in zip(*cells, strict=True)]
    for line, place in bold:
        cells[line][place] = f"**{cells[line][place]}**"
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    rule = ["-" * (width - 1) + ":" if right else "-" * width for width, right in zip(widths, numeric, strict=True)]
    return "\n".join(_line(line, widths, numeric) for line in (cells[0], rule, *cells[1:]))


def _line(cells: Sequence[str], widths: list[int], numeric: list[bool]) -> str:
    padded = (cell.rjust(width) if right else cell.ljust(width) for cell, width, right in zip(cells, widths, numeric, strict=True))
    return f"| {' | '.join(padded)} |"
