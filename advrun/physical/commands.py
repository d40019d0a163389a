"""The commands `advrun print` and `advrun photos`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from advrun import process
from advrun.console import Console, write, write_json
from advrun.options import Read


def _width(text: str) -> float:
    from advrun.physical.sheet import width

    return width(text)


STICKER = (
    click.option("--attack", metavar="LABEL", help="Which attack of the configuration; its first with stickers by default."),
    click.option("--model", metavar="LABEL", help="The model that it was made against; the first by default."),
    click.option("--target", type=click.IntRange(0), metavar="CLASS", help="The class to reach, where there are several stickers."),
)

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def bind(main: click.Group, options: Callable[..., Decorator], *shared: Callable[..., Any]) -> None:
    """Add the commands to the command line. shared: what all commands with a configuration take."""

    @main.command("print")
    @options(
        *shared,
        *STICKER,
        click.option(
            "--sign-cm", type=Read("width", _width), metavar="CM", default=60.0, show_default=True, help="Width of the sign, in cm."
        ),
        click.option("--paper", type=click.Choice(("a4", "letter"), case_sensitive=False), default="a4", show_default=True),
        click.option("--out", type=click.Path(path_type=Path), help="The PDF; RESULTS/NAME/figures/LABEL.pdf by default."),
    )
    def print_sticker(
        config: Path,
        overrides: tuple[str, ...],
        attack: str | None,
        model: str | None,
        target: int | None,
        sign_cm: float,
        paper: str,
        out: Path | None,
    ) -> None:
        """Make a PDF of a sticker, to scale, with cut lines, its four markers, and a plan of where it goes.

        CONFIG is one that `advrun attack` has worked through.
        """
        from advrun.config import load
        from advrun.files import inside, write_bytes
        from advrun.physical.chosen import choose
        from advrun.physical.sheet import sheet

        chosen = choose(load(config, overrides), attack, model, target)
        made = sheet(chosen.survey, chosen.number, sign_cm, paper)
        name = f"figures/{chosen.cell.stem}-{sign_cm:g}cm-{paper}.pdf"
        path = Path(os.path.expanduser(out)) if out else inside(chosen.store.root, name)
        write_bytes(path, made.pdf(f"{chosen.names}: {chosen.cell.label}"))
        covered = float(chosen.survey.cover[chosen.number])
        write(
            f"{chosen.names}: {len(made.pieces)} pieces on {made.pages} pages after the plan, {covered:.1%} of a sign {sign_cm:g} cm wide"
        )
        write(str(path))

    @main.command("photos")
    @options(
        click.argument("folder", type=click.Path(path_type=Path), metavar="FOLDER"),
        *shared,
        *STICKER,
        click.option(
            "--table", type=click.Path(path_type=Path), help="A CSV: file, distance, angle, left, ...; FOLDER/photos.csv by default."
        ),
        click.option("--sheet", type=click.Path(path_type=Path), help="Draw what the classifier saw, as a PNG."),
        click.option("--json", "as_json", is_flag=True, help="JSON on stdout."),
    )
    def photos(
        folder: Path,
        config: Path,
        overrides: tuple[str, ...],
        attack: str | None,
        model: str | None,
        target: int | None,
        table: Path | None,
        sheet: Path | None,
        as_json: bool,
    ) -> None:
        """Classify photographs of a sign that wears its sticker, and count successes by distance and angle.

        The sign is found by the four markers, or by a box or corners in the table. Distance and angle are read from names such as
        stop_5m_30deg.jpg, or from the table. CONFIG is the one that the sticker was printed from.
        """
        from advrun.config import load
        from advrun.errors import DataError
        from advrun.files import write_bytes
        from advrun.physical import photos as work
        from advrun.physical.chosen import choose

        folder = Path(os.path.expanduser(folder))
        known = work.photographs(folder, Path(os.path.expanduser(table)) if table else None)
        chosen = choose(load(config, overrides), attack, model, target)
        console = Console(quiet=True)
        with process.terminated_as_interrupt(), console.listening():
            seen, shown = work.read_back(chosen, known)
        if as_json:
            write_json({"names": chosen.names, "photos": work.rows(seen), "shares": work.counts(seen)}, indent=2)
        else:
            write(f"{chosen.names}: {chosen.cell.label}")
            write("\n".join(work.in_words(seen, chosen)))
        if not len(shown):
            raise DataError(f"{folder}: in none of the {len(seen)} photographs the sign was found")
        if sheet is not None:
            path = Path(os.path.expanduser(sheet))
            write_bytes(path, work.contact_sheet(shown))
            write(f"what the classifier saw: {path}", err=as_json)
