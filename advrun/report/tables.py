"""The files of `tables/`: the summary for people, and the full table for programs and for looking things up."""

from __future__ import annotations

from collections.abc import Sequence

from advrun.flags import in_order
from advrun.report import accuracy, bounds, detection, latex, leaderboard, markdown, proofs, stickers, strengths, transfer
from advrun.report.findings import Findings
from advrun.report.headline import headline
from advrun.report.layout import MISSING, PERCENT, Line, Table, tables
from advrun.report.notes import flag_notes, notes
from advrun.report.summary import Summary


def files(findings: Findings, summary: Summary) -> dict[str, str]:
    """Content by file name."""
    explained = notes(summary)
    flags = flag_notes(summary)
    lines, entries = accuracy.readable(summary), accuracy.records(summary.rows)
    swept = {}
    if summary.sweeps:
        best = strengths.lines(summary)
        swept = {"strengths.md": markdown.strengths(findings.title, best), "strengths.csv": accuracy.write_csv(best)}
    signs = {"stickers.csv": accuracy.write_csv([stickers.HEADER, *stickers.lines(findings.signs)])} if findings.signs else {}
    return {
        **swept,
        **signs,
        "summary.md": markdown.summary(findings.title, headline(summary), tables(summary), explained),
        "summary.tex": latex.summary(findings.title, headline(summary), tables(summary, widest=latex.WIDEST), explained),
        "summary.csv": summary_csv(summary),
        "accuracy.md": markdown.accuracy(findings.title, lines, flags),
        "accuracy.tex": latex.accuracy(findings.title, lines, accuracy.READABLE[len(summary.models) == 1 :], flags),
        "accuracy.csv": accuracy.to_csv(entries),
        "accuracy.json": accuracy.to_json(entries),
        **leaderboard.files(summary, findings.title),
        **transfer.files(summary, findings.title),
        **detection.files(summary, findings.title),
        **bounds.files(findings, summary),
        **proofs.files(findings),
    }


def summary_csv(summary: Summary) -> str:
    """One line per system; per place of the summary its percentage and, in the next column, what follows ±; or its distance or number.

    Without a defence the static columns repeat the adaptive ones; what was not measured is empty.
    """
    shown = tables(summary)
    names = [name for table in shown for head in table.heads for name in _csv_names(table, head)]
    header = ["model", "defense", *names, "flags"]
    return accuracy.write_csv([header, *(_csv_line(shown, lines) for lines in zip(*(table.lines for table in shown), strict=True))])


def _csv_names(table: Table, head: str) -> list[str]:
    """`clean, %`, `fgsm Linf, eps = 8/255 static, %`: ASCII, for spreadsheets that guess encodings wrong."""
    name = head.replace(PERCENT, "accuracy").removesuffix(", %")
    name = name if name == "clean" else f"{table.title.replace(', ', ' ')}, {name}"
    name = name.replace("∞", "inf").replace("ε", "eps")
    return [f"{name}, %", f"{name}, % +-"] if _is_percent(table, head) else [name]


def _is_percent(table: Table, head: str) -> bool:
    return bool(table.unit) or "%" in head


def _csv_line(shown: Sequence[Table], lines: Sequence[Line]) -> list[str]:
    numbers: list[str] = []
    for table, line in zip(shown, lines, strict=True):
        entries = [entry for entry in line.entries for _ in range(entry.span)]
        for head, entry in zip(table.heads, entries, strict=True):
            numbers += [entry.number.replace(MISSING, ""), *([entry.margin] if _is_percent(table, head) else [])]
    flags = in_order(flag for line in lines for entry in line.entries for flag in entry.flags)
    return [lines[0].system.model, lines[0].system.defense, *numbers, "; ".join(flags)]
