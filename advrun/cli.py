"""The command line: parse, call one function, print. Errors become one line and an exit code here, and only here."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from advrun import __version__
from advrun.errors import GOES_ON, AdvrunError

CONFIG = click.argument("config", type=click.Path(path_type=Path), metavar="CONFIG")
SET = click.option("--set", "overrides", multiple=True, metavar="PATH=VALUE", help="Override a setting: attacks.0.eps=4/255. Repeatable.")
OUTPUT = (
    click.option("-q", "--quiet", is_flag=True, help="Errors only."),
    click.option("-v", "--verbose", is_flag=True, help="Say more; tracebacks for errors."),
    click.option("--json", "as_json", is_flag=True, help="JSON lines on stdout."),
)


class Commands(click.Group):
    """Commands in the order of a run, and advrun's errors as one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except AdvrunError as error:
            if "-v" in sys.argv or "--verbose" in sys.argv:
                raise
            click.echo(f"advrun: {error}", err=True)
            sys.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo(f"advrun: interrupted; {GOES_ON}", err=True)
            exec("")  # an interrupt inside exec (dataclasses, imports) has marked `python -m` to die of the signal; this clears the mark
            sys.exit(130)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="advrun")
def main() -> None:
    """Train, attack and defend Keras classifiers, and measure honestly what is left.

    Start with `advrun run configs/demo.yaml`. One YAML file names data, models, attacks and defences; each command does
    what is missing before it and skips what is done.
    """


def options(*decorators: Callable[..., Any]) -> Callable[..., Any]:
    """Several click options as one decorator, in the order given."""
    return lambda function: functools.reduce(lambda wrapped, option: option(wrapped), reversed(decorators), function)


def stage(name: str, upto: str, text: str, *, compute: bool = True) -> None:
    """Define one of the five commands that work through the plan."""

    @main.command(name, help=text)
    @options(
        CONFIG,
        SET,
        click.option("--dry-run", is_flag=True, help="Show the plan and what is done; compute nothing."),
        click.option("--wait", is_flag=True, help="Wait while another process writes the same results folder."),
        click.option("--fail-fast", is_flag=True, help="Stop at the first cell that fails."),
        *OUTPUT,
    )
    def command(
        config: Path, overrides: tuple[str, ...], dry_run: bool, wait: bool, fail_fast: bool, quiet: bool, verbose: bool, as_json: bool
    ) -> None:
        from advrun.config import load
        from advrun.console import Console
        from advrun.runs import runner
        from advrun.runs.signals import interrupted_soon

        experiment = load(config, overrides)
        console = Console(quiet=quiet, verbose=verbose, as_json=as_json)
        if dry_run:
            show_plan(runner.status(experiment, upto), as_json)
        else:
            with interrupted_soon(runner.folder(experiment)):
                runner.run(experiment, upto=upto, compute=compute, console=console, wait=wait, fail_fast=fail_fast)


stage("train", "train", "Train the undefended classifiers.")
stage("attack", "attack", "Craft adversarial examples against them, and measure.")
stage("defend", "defend", "Build the defences, attack each defended system, and measure.")
stage("report", "defend", "Tables, figures and one HTML page from what is on disk.", compute=False)
stage("run", "defend", "All of it, in order.")


def show_plan(cells: list[Any], as_json: bool) -> None:
    """One line for each cell: done or to do."""
    if as_json:
        for each in cells:
            click.echo(json.dumps({"cell": each.cell.label, "kind": each.cell.kind, "stage": each.cell.stage, "done": each.done}))
        return
    for each in cells:
        if each.cell.kind != "metric":
            click.echo(f"{'done' if each.done else 'to do':<6} {each.cell.stage:<7} {each.cell.kind:<8} {each.cell.label}")
    metrics = [each.done for each in cells if each.cell.kind == "metric"]
    click.echo(f"{sum(metrics)} of {len(metrics)} metrics of these rows are done")
    click.echo(f"{sum(each.done for each in cells)} of {len(cells)} cells are done")


@main.command()
@options(CONFIG, SET, click.option("--json", "as_json", is_flag=True, help="JSON on stdout."))
def check(config: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """Validate a configuration, and print it with every default filled in.

    Models that come trained are opened: what is found in them comes first, as comments; one that does not fit the data is refused.
    """
    from advrun.config import load
    from advrun.runs import runner

    experiment = load(config, overrides)
    found = runner.inspect(experiment)
    if as_json:
        click.echo(json.dumps({"models": found, "config": experiment.to_plain()}, indent=2))
        return
    for label, facts in found.items():
        click.echo("\n".join([f"# model {label}", *(f"#   {name:<12} {value}" for name, value in facts.items())]))
    click.echo(experiment.to_yaml(), nl=False)


@main.command()
def schema() -> None:
    """Print the JSON Schema of configurations, for editors."""
    from advrun import config

    click.echo(json.dumps(config.schema(), indent=2))


@main.command("list")
@click.argument("kind", type=click.Choice(["attacks", "defenses", "models", "datasets", "metrics"]))
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
def list_plugins(kind: str, as_json: bool) -> None:
    """List what a configuration can name."""
    from advrun.config import describe

    rows = describe.table(kind)
    click.echo(json.dumps(rows, indent=2) if as_json else describe.aligned(rows))


@main.command()
@click.argument("name")
def show(name: str) -> None:
    """Explain one attack, defence, model, data set or metric: source, settings, defaults, presets."""
    from advrun.config import describe

    click.echo("\n\n".join(describe.text(kind, found) for kind, found in describe.find(name)))


@main.group()
def data() -> None:
    """Fetch data sets, and look at them."""


@data.command()
@click.argument("name")
@click.option("--to", "folder", type=click.Path(path_type=Path), help="Folder; data/NAME by default.")
@click.option("-q", "--quiet", is_flag=True, help="Errors only.")
def fetch(name: str, folder: Path | None, quiet: bool) -> None:
    """Download a data set from its official archive, or a mirror: resumed, checked, safely extracted."""
    from advrun import download
    from advrun.console import Console

    folder = folder or Path("data") / name
    console = Console(quiet=quiet)
    with console.live(), console.bar(f"fetch {name}", 1) as bar:
        download.fetch(name, folder, progress=bar.at)
    console.result(str(folder))


@data.command()
@options(CONFIG, SET)
@click.option("--out", type=click.Path(path_type=Path), help="Contact sheet; RESULTS/NAME/figures/data.png by default.")
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
def info(config: Path, overrides: tuple[str, ...], out: Path | None, as_json: bool) -> None:
    """Show counts and classes of a configuration's data set, and draw a contact sheet."""
    from advrun.config import load
    from advrun.datasets import _sheet
    from advrun.runs import runner

    experiment = load(config, overrides)
    dataset = runner.load_data(experiment)
    out = out or runner.folder(experiment).root / "figures" / "data.png"
    described = _sheet.describe(dataset)
    click.echo(json.dumps(described, indent=2) if as_json else in_words(described))
    _sheet.contact_sheet(dataset, out)
    click.echo(f"contact sheet: {out}", err=as_json)


def in_words(described: dict[str, Any]) -> str:
    """Facts of a data set, one a line, then a line for each class."""
    facts = [f"{name:<12} {value}" for name, value in described.items() if name != "counts" and value not in (None, "")]
    classes = [f"{entry['label']:>5}  {entry['train']:>6}  {entry['test']:>5}  {entry['name']}" for entry in described["counts"]]
    return "\n".join([*facts, "class   train   test  name", *classes])


@main.command()
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
def doctor(as_json: bool) -> None:
    """Print versions, devices and what is missing; exit code 1 if something is."""
    from advrun.doctor import examine

    report, problems = examine()
    if as_json:
        click.echo(json.dumps({**report, "problems": problems}, indent=2))
    else:
        width = max(map(len, report))
        click.echo("\n".join(f"{name:<{width}}  {value}" for name, value in report.items()))
        click.echo("\n".join(f"problem: {problem}" for problem in problems) or "nothing is missing")
    sys.exit(1 if problems else 0)
