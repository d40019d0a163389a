"""The HTML page: one file with everything in it, nothing loaded from elsewhere, whole without scripts, and more with the one it has."""

from __future__ import annotations

import base64
import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from advrun.flags import mark
from advrun.report import accuracy, bounds, charts, detection, leaderboard, proofs, transfer
from advrun.report.explorer import data, safe
from advrun.report.findings import Findings
from advrun.report.headline import sentences
from advrun.report.layout import Table, percent, tables
from advrun.report.notes import anchor, notes
from advrun.report.style import Picture
from advrun.report.summary import Summary

HERE = Path(__file__).parent
TEMPLATE, STYLE, SCRIPTS = "page.html.j2", "page.css", ("looking.js", "page.js")
SECTIONS = (
    ("strength", "Strength of a defence"),
    ("robustness", "Accuracy against ε"),
    ("sandwich", "Between what is certified and what attacks leave"),
    ("transfer", "From model to model"),
    ("detection", "What detectors see"),
    ("gallery", "Examples"),
    ("sticker", "Stickers, by distance and angle"),
    ("confusion", "Confusion under attack"),
    ("training", "Training"),
    ("growth", "What generators made, epoch by epoch"),
)
PIXELS = {**dict.fromkeys((name for name, _ in SECTIONS), 97), "gallery": 112}
"""CSS pixels per inch of a figure: three of one column, or a gallery and its caption, then stand side by side."""
FIGURES, ROOM = 2_500_000, 7_000_000
"""Bytes of the page, in base64, for figures that are no curves, and for these and the images of the rows together: figures beyond that lie
beside the page, in figures/, and of every row fewer images are in it."""
OPEN = {"gallery": 2, "confusion": 3}
"""Figures of a section that stand open, 6 elsewhere; those behind them are folded by model."""
UNFOLDED = {"paragraphs": 4, "tables_open": 4, "notes_open": 24, "config_open": 80}
"""Longer ones are folded: findings, tables, notes, and lines of the configuration."""


@dataclass
class Chapter:
    """Figures and charts under one title: those that stand open, the folded ones by title, and the names of those that are left out."""

    anchor: str
    title: str
    shown: list[Any] = field(default_factory=list)
    folded: list[tuple[str, list[Any]]] = field(default_factory=list)
    files: list[str] = field(default_factory=list)

    @property
    def pictures(self) -> list[dict[str, Any]]:
        """The figures that are in the page as pixels."""
        every = [*self.shown, *(each for _, figures in self.folded for each in figures)]
        return [each for each in every if isinstance(each, dict)]


def html(findings: Findings, summary: Summary, pictures: Iterable[Picture]) -> str:
    """The page as text; every label is escaped. The same findings give the same text. The pictures are looked at last."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup, escape

    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    shown = tables(summary)
    header, *lines = accuracy.readable(summary)
    links = {mark(flag): anchor(flag) for flag in reversed(summary.flags)}
    script = "\n" + "".join((HERE / name).read_text(encoding="utf-8") for name in SCRIPTS)

    def linked(text: str) -> Markup:
        """Text with its footnote marks as links to their explanation."""
        parts = (
            Markup('<a href="#{}">{}</a>').format(links[letter], letter) if letter in links else escape(letter)
            for letter in text.replace(" %", "\u00a0%")
        )
        return Markup("").join(parts)

    def row(number: int, line: list[str]) -> str:
        """A line of the long table, which has half a million places: a template would take longer than all else on the page."""
        flags = header.index("flags")
        few = [text.startswith("(") and place != flags for place, text in enumerate(line)]
        shown = [linked(text) if place == flags else escape(text[1:-1] if few[place] else text) for place, text in enumerate(line)]
        places = "".join(
            [f'<td class="few">{text}</td>' if is_few else f"<td>{text}</td>" for text, is_few in zip(shown, few, strict=True)]
        )
        return f'<tr id="row-{number}"><th scope="row">{number}</th>{places}</tr>\n'

    environment.filters |= {"linked": linked, "range": reached}
    explained = notes(summary)
    leaders, leader_notes = leaderboard.shown(summary)
    said = {
        **UNFOLDED,
        "findings": findings,
        "style": Markup((HERE / STYLE).read_text(encoding="utf-8")),
        "script": Markup(script),
        "digest": "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        "headline": sentences(summary),
        "leaders": leaders,
        "leader_notes": leader_notes,
        "headlines": [table for table in shown if table.headline],
        "others": [table for table in shown if not table.headline],
        "notes": [note for note in explained if not note.anchor],
        "doubts": [note for note in explained if note.anchor],
        "crossings": transfer.grids(summary),
        "crossing_notes": transfer.notes(summary),
        "detections": detection.lines(summary),
        "detection_notes": detection.NOTES,
        "bounded": bounds.lines(findings, summary),
        "bound_errors": bounds.errors(findings, summary),
        "bound_notes": bounds.notes(findings, summary),
        "proofs": proofs.lines(findings),
        "proof_notes": proofs.said(findings),
        "several": len(summary.models) > 1,
        "markers": charts.MARKERS,
        "header": header,
        "rows": Markup("".join([row(number, line) for number, line in enumerate(lines)])),
    }
    drawn = sections(findings, summary, pictures)
    taken = sum(len(each["source"]) for section in drawn for each in section.pictures)
    known = Markup(safe(data(findings, summary, ROOM - taken)))
    return environment.get_template(TEMPLATE).render(said, sections=drawn, data=known)


def sections(findings: Findings, summary: Summary, pictures: Iterable[Picture]) -> list[Chapter]:
    """What is drawn, in the order of `SECTIONS`; curves as charts, and of the other figures as many as have room."""
    kinds: dict[str, list[Any]] = defaultdict(list)
    kinds["robustness"], kinds["training"] = list(charts.robustness(summary)), list(charts.training(findings.histories))
    left: dict[str, list[str]] = defaultdict(list)
    spent = 0
    for picture in (each for each in pictures if each.kind not in ("robustness", "training")):
        size = 4 * len(picture.png) // 3
        if spent + size > FIGURES:
            left[picture.kind].append(f"{picture.name}.png")
            continue
        spent += size
        kinds[picture.kind].append(_figure(picture))
    found = []
    for number, (kind, title) in enumerate(SECTIONS, 1):
        if kinds[kind] or left[kind]:
            shown, folded = _folded(kinds[kind], OPEN.get(kind, 6), partial(_whose, summary=summary))
            found.append(Chapter(f"section-{number}", title, shown, folded, left[kind]))
    return found


def reached(table: Table) -> str:
    """What a folded table comes to: `12.0 to 45.2 % at ε = 8/255 adaptive`, or nothing."""
    last: dict[str, list[float]] = defaultdict(list)
    for line in table.lines:
        for head, entry in zip(table.heads, line.places, strict=True):
            if entry.share is not None and entry.threat != "none":
                last[head].append(entry.share)
    heads = [head for head in table.heads if head in last]
    if not heads:
        return ""
    shares = sorted({percent(min(last[heads[-1]])), percent(max(last[heads[-1]]))}, key=float)
    return f"{' to '.join(shares)} % at {heads[-1]}".replace("accuracy, % ", "")


def _folded(figures: list[Any], most: int, whose: Any) -> tuple[list[Any], list[tuple[str, list[Any]]]]:
    """Those that stand open, the leading ones first, and the others by model."""
    if len(figures) <= most:
        return figures, []
    leading = [each for each in figures if getattr(each, "leading", False)]
    shown = (leading or figures)[:most]
    groups: dict[str, list[Any]] = defaultdict(list)
    for each in figures:
        if not any(each is other for other in shown):
            groups[whose(each)].append(each)
    return shown, list(groups.items())


def _whose(figure: Any, summary: Summary) -> str:
    """The model that a chart or figure is of, "more" where its caption names none."""
    if isinstance(figure, charts.Chart):
        return figure.model
    named = [model for model in summary.models if figure["caption"].startswith((f"{model} ", f"{model}:"))]
    return max(named, key=len, default="more")


def _figure(picture: Picture) -> dict[str, Any]:
    source = "data:image/png;base64," + base64.b64encode(picture.png).decode("ascii")
    width = round(picture.width * PIXELS[picture.kind])
    return {"source": source, "caption": picture.caption, "width": width, "kind": picture.kind, "name": picture.name, "svg": ""}
