"""Tables as LaTeX: `\\input` the file in a document that loads booktabs (and longtable, for the full table)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from advrun.report.layout import Entry, Group, Line, Table
from advrun.report.notes import Note

WIDEST = 3
"""So many eps side by side fit the text width of an ordinary article."""

SYMBOLS = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "[": "{[}",
    "*": "{*}",
    "—": "---",
    "±": r"$\pm$",
    "×": r"$\times$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "∞": r"$_\infty$",
    "ε": r"$\varepsilon$",
    "†": r"$^{\dagger}$",
    "‡": r"$^{\ddagger}$",
    "§": r"$^{\S}$",
    "¶": r"$^{\P}$",
    "‖": r"$^{\|}$",
    "◊": r"$^{\diamond}$",
    "★": r"$^{\star}$",
    "♯": r"$^{\sharp}$",
    "△": r"$^{\triangle}$",
    "○": r"$^{\circ}$",
    "◇": r"$^{\bigtriangledown}$",
    "∝": r"$^{\propto}$",
    "⊤": r"$^{\top}$",
    "♮": r"$^{\natural}$",
    "♭": r"$^{\flat}$",
    "∂": r"$^{\partial}$",
    "∇": r"$^{\nabla}$",
    "∅": r"$^{\emptyset}$",
    "⊥": r"$^{\bot}$",
    "⊗": r"$^{\otimes}$",
    "≠": r"$^{\neq}$",
    "∄": r"$^{\not\exists}$",
    "‼": r"$^{!!}$",
} | {character: f"\\{character}" for character in "&%$#_{}"}
SPECIAL = re.compile("|".join(map(re.escape, SYMBOLS)))


def escape(text: str) -> str:
    """Any text as one line of LaTeX that prints as itself, also after the line break `\\\\`, which takes * and [."""
    return SPECIAL.sub(lambda match: SYMBOLS[match.group()], " ".join(text.split()))


def summary(title: str, sentences: Sequence[str], tables: Sequence[Table], notes: Sequence[Note]) -> str:
    """A floating table: what was found as its caption, one block per table, notes below."""
    several = len({line.system.model for table in tables for line in table.lines}) > 1
    explained = " ".join(rf"\textbf{{{escape(note.term)}}} {escape(note.text)}" for note in notes)
    lines = [
        r"% Needs \usepackage[T1]{fontenc} and \usepackage{booktabs}.",
        r"\begin{table}[tp]",
        r"\centering",
        rf"\caption[{{{escape(title)}}}]{{{escape(' '.join([f'{title}.', *sentences]))}}}",
        r"\label{tab:summary}",
        r"\footnotesize",
        r"\setlength{\tabcolsep}{3pt}",
        *(line for table in tables for line in _block(table, several)),
        rf"\parbox{{\linewidth}}{{\scriptsize {explained}}}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def accuracy(title: str, lines: list[list[str]], columns: Sequence[str], notes: Sequence[Note]) -> str:
    """The chosen columns of the full table, over as many pages as it takes."""
    chosen = [lines[0].index(column) for column in columns]
    header, *body = [[escape(line[index]) for index in chosen] for line in lines]
    explained = " ".join(rf"{escape(note.term)} {escape(note.text)}" for note in notes)
    content = [
        r"% Needs \usepackage[T1]{fontenc}, \usepackage{booktabs} and \usepackage{longtable}.",
        r"{\scriptsize\setlength{\tabcolsep}{2pt}",
        rf"\begin{{longtable}}{{@{{}}{'l' * len(chosen)}@{{}}}}",
        rf"\caption[{{{escape(title)}}}]{{{escape(title)}: all measurements.}}\label{{tab:accuracy}}\\",
        r"\toprule",
        " & ".join(header) + r" \\",
        r"\midrule\endfirsthead",
        r"\toprule",
        " & ".join(header) + r" \\",
        r"\midrule\endhead",
        r"\bottomrule\endfoot",
        *(" & ".join(line) + r" \\" for line in body),
        r"\end{longtable}",
        rf"\noindent {explained}}}",
    ]
    return "\n".join(content) + "\n"


def _block(table: Table, several: bool) -> list[str]:
    labels = 2 if several else 1
    spec = "l" * labels + "r" * len(table.heads)
    title = rf"\multicolumn{{{labels}}}{{@{{}}l}}{{\textbf{{{escape(table.caption)}}}}}"
    heads = [*["model", "defence"][2 - labels :], *(escape(head) for group in table.groups for head in group.heads)]
    return [
        rf"\begin{{tabular*}}{{\linewidth}}{{@{{}}{spec[:labels]}@{{\extracolsep{{\fill}}}}{spec[labels:]}@{{}}}}",
        r"\toprule",
        " & ".join([title, *map(_spanner, table.groups)]) + r" \\",
        *_rules(table.groups, first=labels + 1),
        " & ".join(heads) + r" \\",
        r"\midrule",
        *(_line(line, several) for line in table.lines),
        r"\bottomrule",
        r"\end{tabular*}",
        r"\par\medskip",
    ]


def _spanner(group: Group) -> str:
    return rf"\multicolumn{{{len(group.heads)}}}{{c}}{{{escape(group.title)}}}"


def _rules(groups: Sequence[Group], first: int) -> list[str]:
    rules = []
    for group in groups:
        last = first + len(group.heads) - 1
        if group.title:
            rules.append(rf"\cmidrule(lr){{{first}-{last}}}")
        first = last + 1
    return rules


def _line(line: Line, several: bool) -> str:
    labels = [line.system.model, line.system.defense] if several else [line.system.defense]
    return " & ".join([*map(escape, labels), *map(_entry, line.entries)]) + r" \\"


def _entry(entry: Entry) -> str:
    margin = rf"{{\tiny$\,\pm${entry.margin}}}" if entry.margin else ""
    number = f"({escape(entry.number)})" if entry.few else escape(entry.number)
    number = rf"\textbf{{{number}}}" if entry.best else number
    text = f"{number}{margin}{escape(entry.marks)}"
    return rf"\multicolumn{{{entry.span}}}{{c}}{{{text}}}" if entry.span > 1 else text
