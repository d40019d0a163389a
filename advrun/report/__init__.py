"""The report: from measured rows to tables, figures and one HTML page. Reads data only; loads no model.

The same findings give the same bytes, except for the columns of seconds in accuracy.json and accuracy.csv.
"""

from __future__ import annotations

from pathlib import Path

from advrun.files import inside, write_bytes
from advrun.report.findings import Findings, Gallery
from advrun.report.summary import Summary, summarise

__all__ = ["Findings", "Gallery", "Summary", "files", "summarise", "texts", "write"]


def write(findings: Findings, folder: Path, summary: Summary | None = None) -> list[Path]:
    """Write tables/, figures/ and report.html into `folder`, each file whole or not at all.

    Args:
        findings: the experiment.
        folder: the results folder; made where missing.
        summary: of the findings' results, where it is known already.

    Returns:
        The paths written: the page first, then tables, then figures (each as PNG, and as PDF for LaTeX).
    """
    content = files(findings, summary)
    for name, each in content.items():
        write_bytes(inside(folder, name), each)
    return [folder / name for name in content]


def files(findings: Findings, summary: Summary | None = None) -> dict[str, bytes]:
    """What `write` writes, by name."""
    from advrun.report import figures, page

    summary = summary or summarise(findings.results, findings.sweeps, findings.planned)
    with figures.drawn(findings, summary) as drawn:
        tables = texts(findings, summary)
        found = {"report.html": page.html(findings, summary, drawn).encode()} | tables
        for picture in drawn:
            found |= {f"figures/{picture.name}.png": picture.png, f"figures/{picture.name}.pdf": picture.pdf}
    return found


def texts(findings: Findings, summary: Summary) -> dict[str, bytes]:
    """The tables alone, by name; nothing is drawn."""
    from advrun.report import tables

    return {f"tables/{name}": text.encode() for name, text in tables.files(findings, summary).items()}
