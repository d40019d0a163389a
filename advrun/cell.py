"""The command `advrun cell`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from advrun.console import Console
from advrun.dryrun import show_plan
from advrun.options import WAIT, YES

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def bind(main: click.Group, options: Callable[..., Decorator], output: tuple[Decorator, ...], *shared: Callable[..., Any]) -> None:
    """Add the command to the command line. shared: what all commands with a configuration take. output: how much is said."""

    @main.command("cell")
    @options(
        *shared,
        click.argument("key", default="", metavar="[KEY]"),
        click.option("--dry-run", is_flag=True, help="Show the keys of all cells, or of KEY and what it needs; compute nothing."),
        WAIT,
        YES,
        *output,
    )
    def cell(
        config: Path,
        overrides: tuple[str, ...],
        key: str,
        dry_run: bool,
        wait: bool,
        spend: bool,
        quiet: bool,
        verbose: bool,
        as_json: bool,
    ) -> None:
        """Do one cell of CONFIG, whose key begins with KEY, and what it needs.

        Any number of such commands may fill one results folder at once, on one machine or on several that share it; what two of them
        need, one does. The one after which nothing is missing writes the report.
        """
        from advrun.config import load
        from advrun.runs import runner
        from advrun.runs.shares import OneCell
        from advrun.runs.signals import interrupted_soon

        if not (key or dry_run):
            raise click.UsageError("Missing argument 'KEY'; --dry-run lists the keys.")
        experiment, portion = load(config, overrides), OneCell(key) if key else None
        if dry_run:
            show_plan(*runner.status(experiment, portion=portion), as_json=as_json, keys=True)
            return
        console = Console(quiet=quiet, verbose=verbose, as_json=as_json)
        with interrupted_soon(runner.folder(experiment)):
            runner.run(experiment, console=console, wait=wait, spend=spend, portion=portion)
