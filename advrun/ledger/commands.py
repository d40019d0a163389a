"""The commands `advrun ledger add`, `show`, `merge` and `verify`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from advrun.console import write, write_json

if TYPE_CHECKING:
    from advrun.closest import Closest
    from advrun.ledger.taken import Judge
    from advrun.verify.minutes import Minutes

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
FEW = 20
"""So many lines are shown of what may be thousands."""
NORMS = ("linf", "l2", "l1", "l0")
LEDGER = click.argument("ledger", type=click.Path(path_type=Path), metavar="LEDGER")
VERBOSE = click.option("-v", "--verbose", is_flag=True, help="List every line.")


def bind(main: click.Group, options: Callable[..., Decorator], settings: Decorator, plugins: Decorator, as_json: Decorator) -> None:
    """Add the commands to the command line. settings, plugins, as_json: the options `--set`, `--plugins` and `--json`."""

    @main.group()
    def ledger() -> None:
        """The closest adversarial examples known, of any run and any tool, checked before they are believed.

        `ledger: LEDGER` in a configuration, or `advrun run CONFIG --ledger LEDGER`, measures every attack against them.
        """

    @ledger.command()
    @options(
        LEDGER,
        click.argument("sources", type=click.Path(path_type=Path), metavar="RESULTS|FILE...", nargs=-1, required=True),
        click.option("--model", type=click.Path(path_type=Path), help="The Keras file that the examples of a FILE are of."),
        click.option(
            "--norm", "norms", type=click.Choice(NORMS, case_sensitive=False), multiple=True, help="In which those of a FILE are near."
        ),
        settings,
        plugins,
        VERBOSE,
        as_json,
    )
    def add(
        ledger: Path,
        sources: tuple[Path, ...],
        model: Path | None,
        norms: tuple[str, ...],
        overrides: tuple[str, ...],
        verbose: bool,
        as_json: bool,
    ) -> None:
        """Take in what is closer than what is known, after checking it.

        RESULTS is a folder RESULTS/NAME that a run has left; FILE an .npz file of any tool, with x, x_adv and y, whose system is --model.
        Box and distance are computed anew and the system is asked again; a line says of each example that is refused why (exit code 11).
        `--set data.root=PATH` says where the data set of RESULTS is on this machine.
        """
        from advrun import process
        from advrun.closest import Closest
        from advrun.errors import DataError
        from advrun.ledger.taken import Judge, Taken

        given = [_expanded(source) for source in sources]
        for path in given:
            if not path.exists():
                raise DataError(f"{path}: no such file or folder; give RESULTS/NAME of a run, or an .npz file")
        files = [path for path in given if not path.is_dir()]
        if files and model is None:
            raise click.UsageError(f"{files[0]}: say which system its examples are of, by --model FILE")
        folder, taken = Closest.at(_expanded(ledger)), Taken()
        with process.terminated_as_interrupt():
            judge = Judge.of_file(_expanded(model)) if files and model is not None else None
            for path in given:
                if path.is_dir():
                    from advrun.ledger.results import take_results

                    take_results(folder, path, overrides, taken)
                elif judge is not None:
                    from advrun.ledger.files import take_file

                    take_file(folder, path, judge, tuple(norm.lower() for norm in norms), taken)
        counts = {name: getattr(taken, name) for name in ("offered", "kept", "farther", "needless", "unsure")}
        _say(taken.minutes, counts, f"{ledger}: {taken.line}", verbose, as_json)

    @ledger.command()
    @options(LEDGER, as_json)
    def show(ledger: Path, as_json: bool) -> None:
        """Of each system and norm: how many images an example is known of, and how far they are."""
        from advrun.ledger.shown import in_lines, told

        entries = told(_opened(ledger))
        if as_json:
            write_json(entries, indent=2)
        else:
            write("\n".join(in_lines(entries)) if entries else f"{ledger}: nothing is known yet; advrun ledger add LEDGER RESULTS")

    @ledger.command()
    @options(
        click.argument("into", type=click.Path(path_type=Path), metavar="INTO"),
        click.argument("sources", type=click.Path(path_type=Path), metavar="FROM...", nargs=-1, required=True),
        VERBOSE,
        as_json,
    )
    def merge(into: Path, sources: tuple[Path, ...], verbose: bool, as_json: bool) -> None:
        """Take the closest examples of other ledgers into one: the same bytes in any order, and however often.

        Every file must be what its name says. No system is asked; `advrun ledger verify INTO --model FILE` does.
        """
        from advrun.closest import Closest
        from advrun.ledger.shown import merged
        from advrun.verify.minutes import Minutes

        minutes = Minutes()
        folder = Closest.at(_expanded(into))
        kept = sum(merged(folder, source, minutes) for source in [_opened(source) for source in sources])
        line = f"{into}: {kept:,} of {minutes.examples:,} examples are closer than what was known" + _refused(minutes)
        _say(minutes, {"offered": minutes.examples, "kept": kept}, line, verbose, as_json)

    @ledger.command()
    @options(
        LEDGER,
        click.option("--model", "models", type=click.Path(path_type=Path), multiple=True, help="The file of a system to ask. Repeatable."),
        plugins,
        VERBOSE,
        as_json,
    )
    def verify(ledger: Path, models: tuple[Path, ...], verbose: bool, as_json: bool) -> None:
        """Check every example again: its hash, image, box and distance, and the answers of the systems that are given (exit code 11)."""
        from advrun import process
        from advrun.ledger.shown import check
        from advrun.verify.minutes import Minutes

        folder, minutes = _opened(ledger), Minutes()
        judges: dict[str, Judge] = {}
        with process.terminated_as_interrupt():
            for model in models:
                from advrun.ledger.taken import Judge

                judge = Judge.of_file(_expanded(model))
                judges[judge.key] = judge
                if judge.key not in folder.systems:
                    minutes.note(f"{model}: nothing is known of this system, {judge.key}")
            check(folder, judges, minutes)
        _say(minutes, {"examples": minutes.examples}, f"{ledger}: {minutes.examples:,} examples{_refused(minutes)}", verbose, as_json)


def _say(minutes: Minutes, counts: dict[str, int], line: str, verbose: bool, as_json: bool) -> None:
    """What came of a command. Raises TamperedError where something is false."""
    from advrun.errors import TamperedError

    found = minutes.found
    if as_json:
        write_json({**counts, "refused": [vars(entry) for entry in found], "notes": minutes.notes}, indent=2)
    else:
        for note in minutes.notes:
            write(f"note: {note}", err=True)
        for entry in found if verbose else found[:FEW]:
            write(str(entry))
        if len(found) > FEW and not verbose:
            write(f"{len(found) - FEW:,} more; -v lists them all")
        write(line)
    if found:
        raise TamperedError(minutes.verdict)


def _refused(minutes: Minutes) -> str:
    return f"; {minutes.count} false" if minutes.found else ""


def _opened(path: Path) -> Closest:
    """A ledger that is there. Raises DataError where it is not."""
    from advrun.closest import Closest
    from advrun.errors import DataError

    place = _expanded(path)
    if not place.exists():
        raise DataError(f"{path}: no such folder; `advrun ledger add {path} RESULTS` begins one")
    return Closest.at(place)


def _expanded(path: Path) -> Path:
    return Path(os.path.expanduser(path))
