"""Tables as GitHub Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from advrun.report.layout import Table
from advrun.report.notes import Note

ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
NUMBER = re.compile(r"[-\d.,]+( to [\d.,]+| ± [\d.]+)?( [†‡§¶]+)?|[—=]|")


def escape(text: str) -> str:
    """Any text as one line of plain Markdown: no formatting, no HTML, no new table cells, no formulas."""
    line = re.sub(r"[&<>]", lambda match: ENTITIES[match.group()], " ".join(text.split()))
    return re.sub(r"([\\`*_{}\[\]#|~$])", r"\\\1", line)


def summary(title: str, sentences: Sequence[str], tables: Sequence[Table], notes: Sequence[Note]) -> str:
    """Title, headline, one Markdown table per table, notes."""
    parts = [f"# {escape(title)}", *(escape(sentence) for sentence in sentences)]
    for table in tables:
        lines = [[line.system.model, line.system.defense, *line.texts] for line in table.lines]
        parts += [f"## {escape(table.title)}", pipes([["model", "defence", *table.heads], *lines])]
    parts.append("\n".join(f"- **{escape(note.term)}** {escape(note.text)}" for note in notes))
    return "\n\n".join(parts) + "\n"


def accuracy(title: str, lines: list[list[str]], notes: Sequence[Note]) -> str:
    """The full table with the flags explained below it."""
    explained = "\n".join(f"- {escape(note.term)} {escape(note.text)}" for note in notes)
    return "\n\n".join(filter(None, (f"# {escape(title)}", pipes(lines), explained))) + "\n"


def pipes(lines: list[list[str]]) -> str:
    """A pipe table, its columns aligned in the source too; columns of numbers are set to the right.

    Args:
        lines: the header first; every line has the same length.
    """
    cells = [[escape(cell) for cell in line] for line in lines]
    columns = list(zip(*cells, strict=True))
    widths = [max(3, *map(len, column)) for column in columns]
    numeric = [all(NUMBER.fullmatch(cell) for cell in column[1:]) for column in columns]
    rule = ["-" * (width - 1) + ":" if right else "-" * width for width, right in zip(widths, numeric, strict=True)]
    return "\n".join(_line(line, widths, numeric) for line in (cells[0], rule, *cells[1:]))


def _line(cells: Sequence[str], widths: list[int], numeric: list[bool]) -> str:
    padded = (cell.rjust(width) if right else cell.ljust(width) for cell, width, right in zip(cells, widths, numeric, strict=True))
    return f"| {' | '.join(padded)} |"
