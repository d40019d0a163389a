"""What CI asks of `advrun run` and `advrun report`: their options for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from advrun.options import Read

if TYPE_CHECKING:
    from advrun.report.gates import Demands, Gate


def _gate(text: str) -> Gate:
    from advrun.report import gates

    return gates.parse(text)


SUMMARY = click.option(
    "--summary",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Append it as Markdown; by default to the file in GITHUB_STEP_SUMMARY, if any.",
)
GATES = (
    click.option(
        "--fail-under",
        type=Read("gate", _gate),
        multiple=True,
        metavar="GATE",
        help="Exit 12 where fewer are right: 'hybrid/adaptive@8/255: 0.30', in full "
        "[MODEL:]DEFENCE[/ATTACK][/THREAT][@[NORM] EPS]: [optimality] VALUE. Repeatable.",
    ),
    click.option("--fail-on-flags", is_flag=True, help="A flagged number fails too: of a gate, or without gates any."),
    SUMMARY,
    click.option(
        "--ledger", type=click.Path(path_type=Path), help="Measure attacks against the closest examples known; as `ledger` in CONFIG."
    ),
)


def asked(fail_under: tuple[Gate, ...], fail_on_flags: bool, summary: Path | None) -> Demands:
    """What the options ask for."""
    from advrun.report import gates

    return gates.Demands(fail_under, fail_on_flags, summary)
