"""The command `advrun prove`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from advrun.console import Console
from advrun.dryrun import show_plan
from advrun.options import DRY_RUN, FAIL_FAST, POOL, WAIT, YES

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def bind(main: click.Group, options: Callable[..., Decorator], output: tuple[Decorator, ...], *shared: Callable[..., Any]) -> None:
    """Add the command to the command line. shared: what all commands with a configuration take. output: how much is said."""

    @main.command("prove")
    @options(
        *shared,
        click.option(
            "--images", type=click.IntRange(1), default=144, show_default=True, help="In so many an example is planted, where one can be."
        ),
        DRY_RUN,
        WAIT,
        FAIL_FAST,
        YES,
        POOL,
        *output,
    )
    def prove(
        config: Path,
        overrides: tuple[str, ...],
        images: int,
        dry_run: bool,
        wait: bool,
        fail_fast: bool,
        spend: bool,
        pool: str | None,
        quiet: bool,
        verbose: bool,
        as_json: bool,
    ) -> None:
        """Test the evaluation itself: does each attack find examples that are surely there?

        Each system of CONFIG is altered so that every image has an adversarial example within eps: its last layer becomes one that tells a
        planted point from all others. An attack that misses more than 5 % of them is too weak for its numbers to be believed, and is
        flagged in the report. (Zimmermann, Brendel, Tramer and Carlini, 2022, arXiv:2206.13991)
        """
        from advrun.config import load
        from advrun.runs import proving, runner
        from advrun.runs.proofs import Planting
        from advrun.runs.signals import interrupted_soon

        experiment = load(config, overrides)
        if dry_run:
            show_plan(*runner.status(experiment, pool=pool or "", portion=Planting(images)), as_json=as_json)
            return
        console = Console(quiet=quiet, verbose=verbose, as_json=as_json)
        rest: dict[str, Any] = {"wait": wait, "fail_fast": fail_fast, "spend": spend, "pool": pool or ""}
        with interrupted_soon(runner.folder(experiment)):
            proving.prove(experiment, images=images, console=console, **rest)
