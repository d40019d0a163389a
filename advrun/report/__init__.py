"""The report: from measured rows to tables, figures and one HTML page. Reads data only; loads no model.

The same findings give the same bytes, except for the columns of seconds in accuracy.json and accuracy.csv.
"""

from __future__ import annotations

from pathlib import Path

from advrun.files import inside, write_bytes
from advrun.report.findings import Findings, Gallery
from advrun.report.summary import Summary, summarise

__all__ = ["Findings", "Gallery", "Summary", "summarise", "write"]


def write(findings: Findings, folder: Path, summary: Summary | None = None) -> list[Path]:
    """Write tables/, figures/ and report.html into `folder`, each file whole or not at all.

    Args:
        findings: the experiment.
        folder: the results folder; made where missing.
        summary: of the findings' results, where it is known already.

    Returns:
        The paths written: the page first, then tables, then figures (each as PNG, and as PDF for LaTeX).
    """
    from advrun.report import figures, page, tables

    summary = summary or summarise(findings.results, findings.sweeps, findings.planned)
    drawn = figures.pictures(findings, summary)
    files = {"report.html": page.html(findings, summary, drawn).encode()}
    files |= {f"tables/{name}": text.encode() for name, text in tables.files(findings, summary).items()}
    for picture in drawn:
        files |= {f"figures/{picture.name}.png": picture.png, f"figures/{picture.name}.pdf": picture.pdf}
    for name, content in files.items():
        write_bytes(inside(folder, name), content)
    return [folder / name for name in files]
