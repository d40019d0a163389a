"""The command `advrun verify`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from advrun.console import write, write_json

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def bind(main: click.Group, options: Callable[..., Decorator], *shared: Callable[..., Any]) -> None:
    """Add the command to the command line. shared: `--set`, `--plugins` and `--json`."""

    @main.command("verify")
    @options(
        click.argument("results", type=click.Path(path_type=Path), metavar="RESULTS"),
        click.option("--model", type=click.Path(path_type=Path), help="A Keras file of your own, asked in place of the stored model."),
        click.option("--system", default="", metavar="LABEL", help="Which system --model is, where there are several."),
        click.option("--quick", is_flag=True, help="Hashes, rows and tables alone: no figure is drawn, no model asked."),
        *shared,
    )
    def verify(results: Path, model: Path | None, system: str, quick: bool, overrides: tuple[str, ...], as_json: bool) -> None:
        """Check a results folder again, without attacking.

        RESULTS is a folder RESULTS/NAME that a run has left, your own or somebody else's. Hashes and seals, box, norm and label of
        every stored example, the answers of the stored models, accuracies, intervals and flags, tables and page are checked, and a
        line says what each thing that is found says, and what it should say (exit code 11). Nothing in the folder is run or changed.
        `--set data.root=PATH` says where the data set is on this machine.
        """
        from advrun import process
        from advrun.errors import TamperedError
        from advrun.verify.whole import verify as check

        if system and model is None:
            raise click.UsageError("--system says which system --model is; give --model FILE, or leave it out")
        root = Path(os.path.expanduser(results))
        with process.terminated_as_interrupt():
            said = check(root, quick=quick, model=Path(os.path.expanduser(model)) if model else None, system=system, overrides=overrides)
        minutes = said.minutes
        if as_json:
            found = [vars(entry) for entry in minutes.found]
            counts = {name: getattr(minutes, name) for name in ("examples", "cells", "tables")}
            write_json({"verified": not found, **counts, "fingerprint": said.fingerprint, "found": found, "notes": minutes.notes}, indent=2)
        else:
            for note in minutes.notes:
                write(f"note: {note}", err=True)
            for entry in minutes.found:
                write(str(entry))
            write(minutes.line)
            write(f"fingerprint: {said.fingerprint}")
        if minutes.found:
            raise TamperedError(f"{results}: {minutes.verdict}")
