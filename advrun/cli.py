"""The command line: parse, call one function, print. Errors become one line and an exit code here, and only here."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from advrun import __version__, cell, process, prove, registry, upkeep, verdicts
from advrun.compare import commands as compare_commands
from advrun.console import Console, write, write_json
from advrun.console.spelling import accept_everything
from advrun.dryrun import show_plan
from advrun.errors import GOES_ON, AdvrunError
from advrun.ledger import commands as ledger_commands
from advrun.options import DRY_RUN, FAIL_FAST, POOL, SET, SHARD, WAIT, YES, Read
from advrun.physical import commands
from advrun.picture import commands as picture_commands
from advrun.verify import commands as verify_commands

CONFIG = click.argument("config", type=click.Path(path_type=Path), metavar="CONFIG")


def add_plugins(ctx: click.Context, option: click.Parameter, given: tuple[str, ...]) -> None:
    """Add folders of one's own, before anything asks for their units."""
    from advrun import folders

    for folder in given:
        folders.plugins(folder)


PLUGINS = click.option(
    "--plugins",
    multiple=True,
    is_eager=True,
    expose_value=False,
    callback=add_plugins,
    metavar="FOLDER",
    help="Add the attacks, defences, ... of a folder; its files are run. Repeatable.",
)
OUTPUT = (
    click.option("-q", "--quiet", is_flag=True, help="Errors only."),
    click.option("-v", "--verbose", is_flag=True, help="Say more; tracebacks for errors."),
    click.option("--json", "as_json", is_flag=True, help="JSON lines on stdout."),
)


def find_units(name: str) -> list[tuple[str, str]]:
    """What is called so, by kind and name; ConfigError where nothing is."""
    from advrun.config import describe

    return describe.find(name)


UNIT = Read("unit", find_units)
NORMS = ("linf", "l2", "l1", "l0")
ACCESS = ("gradients", "scores", "decisions", "blind")
BUDGETS = ("ball", "minimal", "own")
AS_JSON = click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")


class Commands(click.Group):
    """Commands in the order of a run, and errors as one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def main(self, args: Sequence[str] | None = None, *, standalone_mode: bool = True, **more: Any) -> Any:  # type: ignore[override]
        """Run a command; a wrong command line is said by the console too, for click knows fewer encodings."""
        accept_everything()
        with process.ended_at_once(), one_line():
            if not standalone_mode:
                return super().main(args, standalone_mode=False, **more)
            try:
                done = super().main(args, standalone_mode=False, **more)
                sys.exit(done if isinstance(done, int) else 0)
            except click.ClickException as error:
                said = io.StringIO()
                error.show(said)
                write(said.getvalue().rstrip("\n"), err=True)
                sys.exit(error.exit_code)
            except click.Abort:
                write("advrun: aborted", err=True)
                sys.exit(1)

    def invoke(self, ctx: click.Context) -> Any:
        with one_line():
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result


@contextlib.contextmanager
def one_line() -> Iterator[None]:
    """Errors end the process with one line and their exit code; with -v, with where they came from."""
    try:
        yield
    except AdvrunError as error:
        if "-v" in sys.argv or "--verbose" in sys.argv:
            raise
        write(f"advrun: {error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        process.silence()
        sys.exit(process.READER_GONE)
    except OSError as error:
        write(f"advrun: {error.filename or 'standard output'}: {error.strerror or error}", err=True)
        process.silence()
        sys.exit(AdvrunError.exit_code)
    except KeyboardInterrupt:
        write(f"advrun: interrupted; {GOES_ON}", err=True)
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


def stage(name: str, upto: str, text: str, *gates: Callable[..., Any], compute: bool = True) -> None:
    """Define one of the five commands that work through the plan. gates: options of those that CI asks for a verdict."""

    @main.command(name, help=text)
    @options(
        CONFIG,
        SET,
        PLUGINS,
        DRY_RUN,
        WAIT,
        FAIL_FAST,
        YES,
        *((POOL, SHARD) if compute else ()),
        *gates,
        *OUTPUT,
    )
    def command(
        config: Path,
        overrides: tuple[str, ...],
        dry_run: bool,
        wait: bool,
        fail_fast: bool,
        spend: bool,
        quiet: bool,
        verbose: bool,
        as_json: bool,
        pool: str | None = None,
        portion: Any = None,
        ledger: Path | None = None,
        **given: Any,
    ) -> None:
        from advrun.config import load
        from advrun.runs import runner
        from advrun.runs.signals import interrupted_soon

        experiment = load(config, overrides)
        if ledger is not None:
            experiment = experiment.model_copy(update={"ledger": os.path.expanduser(ledger)})
        asked = verdicts.asked(**given) if given else None
        console = Console(quiet=quiet, verbose=verbose, as_json=as_json)
        if dry_run:
            planned, foreseen, doer = runner.status(experiment, upto, pool=pool or "", portion=portion)
            if asked:
                asked.check(runner.spots(each.cell for each in planned))
            show_plan(planned, foreseen, doer, as_json)
            return
        rest: dict[str, Any] = {
            "wait": wait,
            "fail_fast": fail_fast,
            "spend": spend,
            "pool": pool or "",
            "portion": portion,
            "asked": asked,
        }
        with interrupted_soon(runner.folder(experiment)):
            runner.run(experiment, upto=upto, compute=compute, console=console, **rest)


stage("train", "train", "Train the undefended classifiers.")
stage("attack", "attack", "Craft adversarial examples against them, and measure.")
stage("defend", "defend", "Build the defences, attack each defended system, and measure.")
stage("report", "defend", "Tables, figures and one HTML page from what is on disk.", *verdicts.GATES, compute=False)
stage("run", "defend", "All of it, in order.", *verdicts.GATES)
prove.bind(main, options, OUTPUT, CONFIG, SET, PLUGINS)
cell.bind(main, options, OUTPUT, CONFIG, SET, PLUGINS)


@main.command()
@options(
    click.argument("config", type=click.Path(path_type=Path), metavar="[CONFIG]", required=False),
    SET,
    PLUGINS,
    click.option(
        "--contract",
        "units",
        type=UNIT,
        metavar="[KIND/]NAME",
        help="Hold a unit to the contract instead; --set NAME=VALUE gives its settings.",
    ),
    AS_JSON,
)
def check(config: Path | None, overrides: tuple[str, ...], units: list[tuple[str, str]] | None, as_json: bool) -> None:
    """Validate a configuration, and print it with every default filled in.

    Models that come trained are opened: what is found in them comes first, as comments; one that does not fit the data is refused.
    """
    if units is not None:
        check_contract(units, overrides)
        return
    if config is None:
        raise click.UsageError("Missing argument 'CONFIG'.")
    from advrun.config import load
    from advrun.runs import runner

    experiment = load(config, overrides)
    with Console().listening():
        found = runner.inspect(experiment)
    if as_json:
        write_json({"models": found, "config": experiment.to_plain()}, indent=2)
        return
    for label, facts in found.items():
        write("\n".join([f"# model {label}", *(f"#   {name:<12} {value}" for name, value in facts.items())]))
    write(experiment.to_yaml().rstrip("\n"))


def check_contract(units: list[tuple[str, str]], assignments: tuple[str, ...]) -> None:
    """One line for each promise of units, each by its kind and name; PluginError where one is broken."""
    from advrun.config.overrides import override
    from advrun.config.yamlfile import Document
    from advrun.contract import examine
    from advrun.errors import PluginError

    given = functools.reduce(override, assignments, Document({}, {}, {})).data
    for kind, name in units:
        broken = total = 0
        for finding in examine(kind, name, given):
            write(str(finding))
            total += 1
            broken += finding.fate == "broken"
        if broken:
            raise PluginError(f"{registry.place(kind, name)}: {broken} of {total} promises are broken")
        write(f"{kind}/{name} keeps the contract")


@main.command()
@PLUGINS
def schema() -> None:
    """Print the JSON Schema of configurations, for editors."""
    from advrun import config

    write_json(config.schema(), indent=2)


def plugin_names(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """For the shell: what `advrun show` can explain; imports no plugin."""
    return sorted({name for kind in registry.KINDS for name in registry.names(kind) if name.startswith(incomplete)})


@main.command("list")
@options(
    click.argument("kind", type=click.Choice(registry.KINDS)),
    click.option("--norm", type=click.Choice(NORMS, case_sensitive=False), help="Attacks in this norm."),
    click.option("--access", type=click.Choice(ACCESS), help="Attacks that ask the model for this, and for no more."),
    click.option(
        "--budget", type=click.Choice(BUDGETS), help="Attacks inside a ball, towards the nearest image, or with their own bounds."
    ),
    click.option("--targeted/--untargeted", default=None, help="Attacks with, or without, a targeted form."),
    click.option("--about", metavar="WORD", default="", help="Those whose name or summary holds this word."),
    AS_JSON,
    PLUGINS,
)
def list_plugins(kind: str, about: str, as_json: bool, **wanted: Any) -> None:
    """List what a configuration can name."""
    from advrun.config import describe

    wanted = {name: value for name, value in wanted.items() if value is not None}
    if wanted and kind != "attacks":
        raise click.UsageError(f"--{next(iter(wanted))} is a property of attacks; {kind} have none")
    rows = describe.chosen(describe.table(kind), about=about, **wanted)
    if as_json:
        write_json(rows, indent=2)
    else:
        write(describe.aligned(rows, shutil.get_terminal_size().columns))


@main.command()
@click.argument("units", type=UNIT, metavar="[KIND/]NAME", shell_complete=plugin_names)
@PLUGINS
def show(units: list[tuple[str, str]]) -> None:
    """Explain one attack, defence, model, data set, metric, threat or bound: source, settings, defaults, presets."""
    from advrun.config import describe

    write("\n\n".join(describe.text(kind, found) for kind, found in units))


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

    folder = Path(os.path.expanduser(folder or Path("data") / name))
    console = Console(quiet=quiet)
    with process.terminated_as_interrupt(), console.listening(), console.live(), console.bar(f"fetch {name}", 1) as bar:
        download.fetch(name, folder, progress=bar.at)
    console.result(str(folder))


@data.command()
@options(CONFIG, SET, PLUGINS)
@click.option("--out", type=click.Path(path_type=Path), help="Contact sheet; RESULTS/NAME/figures/data.png by default.")
@AS_JSON
def info(config: Path, overrides: tuple[str, ...], out: Path | None, as_json: bool) -> None:
    """Show counts and classes of a configuration's data set, and draw a contact sheet."""
    from advrun.config import load
    from advrun.datasets import _sheet
    from advrun.files import inside
    from advrun.runs import runner

    experiment = load(config, overrides)
    with Console().listening():
        dataset = runner.load_data(experiment, training=True)
    out = Path(os.path.expanduser(out)) if out else inside(runner.folder(experiment).root, "figures/data.png")
    described = _sheet.describe(dataset)
    if as_json:
        write_json(described, indent=2)
    else:
        write(in_words(described))
    _sheet.contact_sheet(dataset, out)
    write(f"contact sheet: {out}", err=as_json)


LISTED = 100
"""Classes that are all listed; of more, only those that have images."""


def in_words(described: dict[str, Any]) -> str:
    """Facts of a data set, one a line, then a line for each class."""
    facts = [f"{name:<12} {value}" for name, value in described.items() if name != "counts" and value not in (None, "")]
    shown = [entry for entry in described["counts"] if entry["train"] + entry["test"] or described["classes"] <= LISTED]
    classes = [f"{entry['label']:>5}  {entry['train']:>6}  {entry['test']:>5}  {entry['name']}" for entry in shown]
    rest = described["classes"] - len(shown)
    return "\n".join([*facts, "class   train   test  name", *classes, *([f"{rest:,} more classes have no images"] if rest else [])])


@main.command()
@options(
    click.argument("model", type=click.Path(path_type=Path)),
    click.option("--system", default="", help="Which system of a results folder; its undefended classifier by default."),
    click.option("--name", default="model", show_default=True, help="What clients call it."),
    click.option("--port", type=click.IntRange(0, 65535), default=8501, show_default=True, help="On 127.0.0.1; 0 takes a free one."),
    click.option("--scores", type=click.Choice(("probabilities", "logits")), default="probabilities", show_default=True),
)
def serve(model: Path, system: str, name: str, port: int, scores: str) -> None:
    """Serve a classifier on this machine, to practise black-box attacks on.

    MODEL is a .keras file, or a results folder. It speaks TensorFlow Serving's REST protocol on 127.0.0.1 until Ctrl-C;
    `models: [{name: tf_serving}]` of a configuration is its client.
    """
    from advrun import serve as service

    with process.terminated_as_interrupt():
        label, served = service.load(Path(os.path.expanduser(model)), system, scores, name)
        with service.serving(served, port) as server:
            write(f"{label} at http://127.0.0.1:{server.server_port}/v1/models/{name}; Ctrl-C ends it")
            sys.stdout.flush()
            with contextlib.suppress(KeyboardInterrupt):
                server.serve_forever()


@main.command()
@AS_JSON
def doctor(as_json: bool) -> None:
    """Print versions, devices and what is missing; exit code 1 if something is."""
    from advrun.doctor import examine

    report, problems = examine()
    if as_json:
        write_json({**report, "problems": problems}, indent=2)
    else:
        width = max(map(len, report))
        write("\n".join(f"{name:<{width}}  {value}" for name, value in report.items()))
        write("\n".join(f"problem: {problem}" for problem in problems) or "nothing is missing")
    sys.exit(1 if problems else 0)


commands.bind(main, options, CONFIG, SET, PLUGINS)
picture_commands.bind(main, options, CONFIG, SET, PLUGINS)
compare_commands.bind(main, options, verdicts.SUMMARY, AS_JSON)
verify_commands.bind(main, options, SET, PLUGINS, AS_JSON)
ledger_commands.bind(main, options, SET, PLUGINS, AS_JSON)
upkeep.bind(main, options, CONFIG, SET, PLUGINS, AS_JSON)
