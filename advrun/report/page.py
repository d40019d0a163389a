"""The HTML page: one file with everything in it, no script, nothing loaded from elsewhere."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from advrun.flags import mark
from advrun.report import accuracy, bounds, detection, proofs, transfer
from advrun.report.findings import Findings
from advrun.report.headline import sentences
from advrun.report.layout import tables
from advrun.report.notes import anchor, notes
from advrun.report.style import Picture
from advrun.report.summary import Summary

TEMPLATE = "page.html.j2"
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


def html(findings: Findings, summary: Summary, pictures: list[Picture]) -> str:
    """The page as text; every label is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup, escape

    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    shown = tables(summary)
    header, *lines = accuracy.readable(summary)
    links = {mark(flag): anchor(flag) for flag in reversed(summary.flags)}

    def linked(text: str) -> Markup:
        """Text with its footnote marks as links to their explanation."""
        parts = (
            Markup('<a href="#{}">{}</a>').format(links[letter], letter) if letter in links else escape(letter)
            for letter in text.replace(" %", "\u00a0%")
        )
        return Markup("").join(parts)

    environment.filters["linked"] = linked
    return environment.get_template(TEMPLATE).render(
        findings=findings,
        headline=sentences(summary),
        headlines=[table for table in shown if table.headline],
        others=[table for table in shown if not table.headline],
        notes=notes(summary),
        crossings=transfer.grids(summary),
        crossing_notes=transfer.notes(summary),
        detections=detection.lines(summary),
        detection_notes=detection.NOTES,
        bounded=bounds.lines(findings, summary),
        bound_errors=bounds.errors(findings, summary),
        bound_notes=bounds.notes(findings, summary),
        proofs=proofs.lines(findings),
        proof_notes=proofs.said(findings),
        several=len(summary.models) > 1,
        sections=[(title, [_figure(picture) for picture in pictures if picture.kind == kind]) for kind, title in SECTIONS],
        header=header,
        flags=header.index("flags"),
        lines=lines,
    )


def _figure(picture: Picture) -> dict[str, Any]:
    source = "data:image/png;base64," + base64.b64encode(picture.png).decode("ascii")
    return {"source": source, "caption": picture.caption, "width": round(picture.width * PIXELS[picture.kind]), "kind": picture.kind}
