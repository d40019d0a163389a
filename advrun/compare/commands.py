"""The command `advrun compare`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import click

from advrun.console import Console, write, write_json
from advrun.console.speak import strict

OUTPUTS = (".md", ".html", ".json")


def endings(ctx: click.Context, option: click.Parameter, given: tuple[Path, ...]) -> tuple[Path, ...]:
    """Refuse a file of another kind before anything is read."""
    for path in given:
        if path.suffix.lower() not in OUTPUTS:
            raise click.BadParameter(f"{path}: expected a name that ends in {', '.join(OUTPUTS[:-1])} or {OUTPUTS[-1]}")
    return given


def bind(main: click.Group, options: Callable[..., Callable[..., Any]], *shared: Callable[..., Any]) -> None:
    """Add the command to the command line. shared: `--json`, and what else all commands of its kind take."""

    @main.command("compare")
    @options(
        click.argument("folders", type=click.Path(path_type=Path), nargs=-1, metavar="FOLDER FOLDER ..."),
        click.option(
            "--out",
            "outputs",
            multiple=True,
            type=click.Path(path_type=Path),
            callback=endings,
            metavar="FILE",
            help="Write it as .md, .html or .json too. Repeatable.",
        ),
        *shared,
    )
    def compare(folders: tuple[Path, ...], outputs: tuple[Path, ...], summary: Path | None, as_json: bool) -> None:
        """Results folders side by side: what was changed, and which numbers differ by more than chance.

        The first FOLDER is what the others are compared with, such as results/before results/after. Rows are tested in pairs of images
        where the images are the same. Nothing in a folder is run, so it may be somebody else's.
        """
        from advrun.compare import shown, told
        from advrun.compare.pairs import compare_sides
        from advrun.compare.sides import read
        from advrun.files import write_text
        from advrun.report import step

        if not 2 <= len(folders) <= len(ascii_uppercase):
            raise click.UsageError(
                f"got {len(folders)} folders; give two or more (up to {len(ascii_uppercase)}), such as results/a results/b"
            )
        sides = [read(Path(os.path.expanduser(folder)), letter) for folder, letter in zip(folders, ascii_uppercase, strict=False)]
        comparison = compare_sides(sides)
        plain = told.plain(comparison)
        for path in outputs:
            text = {
                ".md": lambda: shown.md(comparison),
                ".html": lambda: shown.html(comparison),
                ".json": lambda: json.dumps(strict(plain), indent=1, allow_nan=False) + "\n",
            }[path.suffix.lower()]()
            write_text(Path(os.path.expanduser(path)), text)
        if as_json:
            write_json(plain, indent=2)
        else:
            write("\n".join([shown.terminal(comparison), *([""] if outputs else []), *map(str, outputs)]))
        step.add(shown.md(comparison), summary, Console().warn)
