"""What the page's script knows: of every row what it is called, its images, and its confusions; as JSON that is safe inside a page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from advrun.report.album import Plates, album, packed
from advrun.report.findings import Findings, Gallery
from advrun.report.layout import attack_label, ball_label, eps_label, norm_label, percent
from advrun.report.summary import Summary, attack_of
from advrun.results import Result, Row

CONFUSIONS = 1_000_000
"""Bytes of the page for confusions."""
CHOICES = ("model", "defence", "attack", "ε", "threat", "seed")
"""What a reader chooses a row by."""
ESCAPED = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"})
"""What a page or a script could take for its own inside of a text."""


def data(findings: Findings, summary: Summary, room: int) -> dict[str, Any]:
    """Everything that a script shows beyond what the page says without one; its images in `room` bytes.

    classes: names by number. choices: names of what a row is chosen by. rows: their values of these, and a title. first: the row to begin
    with, or None. confusions: by row, (true class, answer, count) as uint32, deflated; images: `album.Plates`.
    """
    found = album(dict(_kept(findings, summary)), room)
    return {
        "classes": list(findings.class_names),
        "choices": CHOICES,
        "rows": [_row(row) for row in summary.rows],
        "first": _first(summary, found),
        "confusions": dict(_confusions(summary)),
        "images": vars(found),
    }


def safe(content: Any) -> str:
    """JSON for a `<script type="application/json">`: no text in it can end the element or begin another."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.translate(ESCAPED)


def _row(row: Row) -> list[str]:
    reach = "" if not row.norm else norm_label(row.norm) if row.eps is None else ball_label(row.norm, row.eps)
    attack = " ".join(filter(None, (attack_label(attack_of(row)), f"({norm_label(row.norm)})" if row.norm else "")))
    threat = f"{row.threat}, from {row.source}" if row.source else row.threat
    eps = eps_label(row.norm, row.eps) if row.norm else "—"
    under = ", ".join(filter(None, (attack_label(attack_of(row)), reach, row.threat if row.source == "" else threat, f"seed {row.seed}")))
    low, high = row.interval
    title = f"{row.model} / {row.defense} under {under}: {percent(row.accuracy)} % of {row.n:,} right ({percent(low)} to {percent(high)})"
    return [row.model, row.defense, attack, eps, threat, str(row.seed), title]


def _kept(findings: Findings, summary: Summary) -> Iterator[tuple[int, tuple[Gallery, Result]]]:
    """The rows that have images, with both."""
    galleries = {
        (each.model, each.defense, each.attack, each.norm, each.target, each.eps, each.threat, each.seed): each
        for each in findings.galleries
    }
    for number, result in enumerate(summary.results):
        row = result.row
        kept = galleries.get((row.model, row.defense, row.attack, row.norm, row.target, row.eps, row.threat, row.seed))
        if kept is not None and not row.source:
            yield number, (kept, result)


def _first(summary: Summary, found: Plates) -> int | None:
    """An adaptive row of a defence with images of both kinds, as many as there are; else the first with images."""

    def both(number: int) -> tuple[Any, ...]:
        result = summary.results[number]
        row, fewer = result.row, int(min(result.correct.sum(), (~result.correct).sum()))
        return row.threat == "adaptive", row.defense != "none", not row.flags, fewer

    return max(found.rows, key=both, default=None)


def _confusions(summary: Summary) -> Iterator[tuple[int, str]]:
    """Row by row while there is room: the adaptive ones first, then the others."""
    spent = 0
    for number in sorted(range(len(summary.results)), key=lambda number: summary.results[number].row.threat != "adaptive"):
        result = summary.results[number]
        pairs, counts = np.unique(np.stack([result.labels, result.predictions], 1), axis=0, return_counts=True)
        text = packed(np.column_stack([pairs, counts]).astype("<u4").T.tobytes())
        spent += len(text) + 10
        if spent > CONFUSIONS:
            return
        yield number, text
