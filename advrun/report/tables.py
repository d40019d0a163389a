"""The files of `tables/`: the summary for people, and the full table for programs and for looking things up."""

from __future__ import annotations

from collections.abc import Sequence

from advrun.report import accuracy, latex, markdown
from advrun.report.findings import Findings
from advrun.report.layout import MISSING, Line, Table, tables
from advrun.report.notes import flag_notes, headline, notes
from advrun.report.summary import Summary


def files(findings: Findings, summary: Summary) -> dict[str, str]:
    """Content by file name."""
    explained = notes(summary, findings.glossary)
    flags = flag_notes(summary, findings.glossary)
    lines = accuracy.readable(summary)
    return {
        "summary.md": markdown.summary(findings.title, headline(summary), tables(summary), explained),
        "summary.tex": latex.summary(findings.title, tables(summary, widest=latex.WIDEST), explained),
        "summary.csv": summary_csv(summary),
        "accuracy.md": markdown.accuracy(findings.title, lines, flags),
        "accuracy.tex": latex.accuracy(findings.title, lines, accuracy.READABLE[len(summary.models) == 1 :], flags),
        "accuracy.csv": accuracy.to_csv(summary.rows),
        "accuracy.json": accuracy.to_json(summary.rows),
    }


def summary_csv(summary: Summary) -> str:
    """One line per system; per place of the summary its percentage (or distance) and, in the next column, what follows ±.

    Without a defence the static columns repeat the adaptive ones; what was not measured is empty.
    """
    shown = tables(summary)
    names = [_csv_head(table, head) for table in shown for head in table.heads]
    header = ["model", "defense", *(column for name in names for column in (name, f"{name} +-")), "flags"]
    return accuracy.write_csv([header, *(_csv_line(lines) for lines in zip(*(table.lines for table in shown), strict=True))])


def _csv_head(table: Table, head: str) -> str:
    """`clean`, `fgsm Linf, eps = 8/255 static`: ASCII, for spreadsheets that guess encodings wrong."""
    name = head if head == "clean" else f"{table.title.replace(', ', ' ')}, {head}"
    return name.replace("∞", "inf").replace("ε", "eps")


def _csv_line(lines: Sequence[Line]) -> list[str]:
    entries = [entry for line in lines for entry in line.entries for _ in range(entry.span)]
    numbers = [text for entry in entries for text in (entry.number.replace(MISSING, ""), entry.margin)]
    flags = dict.fromkeys(flag for entry in entries for flag in entry.flags)
    return [lines[0].system.model, lines[0].system.defense, *numbers, "; ".join(flags)]
