"""The commands `advrun status` and `advrun clean`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from advrun.console import write, write_json
from advrun.errors import ConfigError

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
CHANGED = ": advrun, its plugins or the data have changed since; nothing is removed; run it first, or give --all"
FEW = 10
"""So many cells of a fate are listed; with -v all."""


def bind(main: click.Group, options: Callable[..., Decorator], config: Decorator, *shared: Decorator) -> None:
    """Add the commands to the command line. config: the argument. shared: `--set`, `--plugins` and `--json`."""

    @main.command("status")
    @options(config, *shared, click.option("-v", "--verbose", is_flag=True, help="List every cell that is not done."))
    def status(config: Path, overrides: tuple[str, ...], as_json: bool, verbose: bool) -> None:
        """Show how far a configuration is: what is done, failed, damaged or to do, and how long the rest takes.

        The time is by the speed of the cells that the log tells of. Nothing is computed, and nothing written; another process may be
        at work in the folder.
        """
        from advrun.config import load
        from advrun.runs import runner
        from advrun.runs.plan import make_plan
        from advrun.runs.standing import FATES, overview

        experiment = load(config, overrides)
        seen = overview(make_plan(experiment, runner.load_data(experiment)), runner.folder(experiment).root)
        if as_json:
            cells = [
                {"cell": each.cell.label, "kind": each.cell.kind, "stage": each.cell.stage}
                | {"fate": each.fate, "reason": each.reason, "checkpoint_bytes": each.kept}
                for each in seen.cells
            ]
            counts = {fate: len(seen.of(fate)) for fate in FATES}
            write_json({"results": str(seen.root), **counts, "held_by": seen.holder, "seconds_left": seen.seconds, "cells": cells})
            return
        write("\n".join(_overview(seen, verbose)))

    @main.command("clean")
    @options(
        click.argument("configs", type=click.Path(path_type=Path), metavar="CONFIG...", nargs=-1, required=True),
        *shared,
        click.option("--dry-run", is_flag=True, help="Show what would be freed, and free nothing."),
        click.option("--yes", is_flag=True, help="Do not ask; for scripts."),
        click.option("--answers", is_flag=True, help="Also what services have answered that no CONFIG asks: it may have cost money."),
        click.option(
            "--all", "everything", is_flag=True, help="Also where nothing of what CONFIG names is there, so that every cell would go."
        ),
        click.option("-v", "--verbose", is_flag=True, help="List every file."),
    )
    def clean(
        configs: tuple[Path, ...],
        overrides: tuple[str, ...],
        as_json: bool,
        dry_run: bool,
        yes: bool,
        answers: bool,
        everything: bool,
        verbose: bool,
    ) -> None:
        """Remove cells that no configuration names any more from their results folders, after asking.

        Name every CONFIG that shares a results folder, each with what you give it by --set. An edited attack, other data or another
        version of advrun gives other cells, and the old ones stay until they are removed here. Tables, figures and the log stay.
        """
        from rich.filesize import decimal

        from advrun.config import load
        from advrun.runs import runner
        from advrun.runs.leftovers import free, leftovers
        from advrun.runs.plan import make_plan
        from advrun.runs.store import Store

        by_folder: dict[Path, list[Any]] = {}
        for config in configs:
            experiment = load(config, overrides)
            plan = make_plan(experiment, runner.load_data(experiment))
            by_folder.setdefault(runner.folder(experiment).root.resolve(), []).append(plan)
        for root, plans in by_folder.items():
            found = leftovers(Store(root), plans, answers=answers)
            if as_json:
                kinds = {kind: {"files": count, "bytes": size} for kind, (count, size) in found.by_kind().items()}
                known = {"results": str(root), "cells": found.cells, "kept": found.kept, "bytes": found.size, "kinds": kinds}
                write_json(known | ({"files": [file.name for file in found.files]} if verbose else {}))
            else:
                write("\n".join(_leftovers(root, found, verbose)))
            if dry_run or not found.files:
                continue
            if not found.kept and found.cells and not everything:
                raise ConfigError(f"{root}: none of the {found.named:,} cells that the configuration names is there{CHANGED}")
            if not yes and not click.confirm(f"Remove {len(found.files):,} files, {decimal(found.size)}?", err=as_json):
                write("nothing is removed", err=as_json)
                continue
            store = Store(root)
            with store.locked():
                freed = free(store, leftovers(store, plans, answers=answers))
                store.event("cleaned", cells=found.cells, bytes=freed)
            write(f"{decimal(freed)} freed", err=as_json)


def _overview(seen: Any, verbose: bool) -> list[str]:
    from rich.filesize import decimal

    from advrun.console.course import duration
    from advrun.runs.standing import FATES

    total = {fate: len(seen.of(fate)) for fate in FATES}
    others = "".join(f", {count:,} {fate}" for fate, count in total.items() if count and fate != "done")
    lines = [f"{seen.root}: {total['done']:,} of {len(seen.cells):,} cells are done{others}"]
    lines.append(f"{'at work':<12} {seen.holder}" if seen.holder else f"{'at work':<12} nobody")
    if total["done"] < len(seen.cells):
        left = "unknown: nothing was done yet" if seen.seconds is None else f"about {duration(seen.seconds)}"
        lines.append(f"{'left':<12} {left}")
    kept = [each for each in seen.cells if each.kept]
    if kept:
        lines.append(f"{'checkpoints':<12} of {len(kept):,} unfinished cells, {decimal(sum(each.kept for each in kept))} in partial/")
    lines += ["", f"{'stage':<8}{'kind':<9}" + "".join(f"{fate:>9}" for fate in FATES)]
    for (stage, kind), counts in seen.counts().items():
        lines.append(f"{stage:<8}{kind:<9}" + "".join(f"{counts[fate] or '-':>9}" for fate in FATES))
    for fate in (*FATES[1:3], *(FATES[3:] if verbose else ())):
        cells = seen.of(fate)
        shown = cells if verbose else cells[:FEW]
        lines += [""] * bool(shown) + [f"{fate}: {each.cell.label}{f': {each.reason}' if each.reason else ''}" for each in shown]
        if len(cells) > len(shown):
            lines.append(f"{fate}: {len(cells) - len(shown):,} more; -v lists them all")
    return lines


def _leftovers(root: Path, found: Any, verbose: bool) -> list[str]:
    from rich.filesize import decimal

    stay = f"{found.kept:,} cells stay, of {found.named:,} that are named"
    if not found.files:
        return [f"{root}: nothing to remove; {stay}"]
    lines = [f"{root}: {found.cells:,} cells that no configuration names, {len(found.files):,} files, {decimal(found.size)}; {stay}"]
    lines += [f"  {kind:<10} {count:>8,} files  {decimal(size):>10}" for kind, (count, size) in found.by_kind().items()]
    return lines + ([f"  {file.name}  {decimal(file.size)}" for file in found.files] if verbose else [])
