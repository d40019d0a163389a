"""The commands `advrun try` and `advrun page`."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from advrun import process
from advrun.console import Console, write, write_json

if TYPE_CHECKING:
    from advrun.picture.bench import Bench
    from advrun.picture.study import Subject, Told

TEST = "test:"
"""Before the number of a test image."""
NAMES = 34
"""Letters of a line of labels in the terminal."""
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def bind(main: click.Group, options: Callable[..., Decorator], config: Callable[..., Any], *shared: Callable[..., Any]) -> None:
    """Add the commands to the command line. config: the argument CONFIG. shared: what all commands with a configuration take."""

    @main.command("try")
    @options(
        click.argument("image", metavar="IMAGE"),
        click.option("--config", type=click.Path(path_type=Path), required=True, help="A configuration that `advrun run` worked through."),
        *shared,
        click.option("--model", metavar="LABEL", help="The model; the first of the configuration by default."),
        click.option("--label", metavar="CLASS", help="What the picture shows: the name or number of a class."),
        click.option("--out", type=click.Path(path_type=Path), help="The PNG; RESULTS/NAME/figures/try-IMAGE.png by default."),
        click.option("--json", "as_json", is_flag=True, help="JSON on stdout."),
    )
    def try_picture(
        image: str, config: Path, overrides: tuple[str, ...], model: str | None, label: str | None, out: Path | None, as_json: bool
    ) -> None:
        """Attack one picture: what each system says before, after each attack, and with each defence.

        IMAGE is a file, or test:NUMBER, an image of the data set's test set. A photograph is turned as its camera says, its middle cut
        out, and made as small as the model takes it; without --label the undefended model's own answer is taken as true. Attacks have
        the settings of the configuration, and their largest eps there.
        """
        from advrun.config import load
        from advrun.files import inside, write_bytes
        from advrun.picture import study
        from advrun.picture.bench import not_built, open_bench
        from advrun.picture.drawing import sheet
        from advrun.report.style import picture
        from advrun.results import REJECTED

        console = Console(quiet=as_json)
        with process.terminated_as_interrupt(), console.listening(), console.live():
            bench = open_bench(load(config, overrides), config)
            for remark in filter(None, (not_built(bench, config), *(f"{name} is left out: {why}" for name, why in bench.omitted.items()))):
                console.warn(remark)
            chosen = bench.system(bench.models[0] if model is None else model).model
            subject = the_subject(bench, image, label, chosen)
            told = []
            with console.bar(f"try {subject.title}", study.count_lines(bench, chosen)) as bar:
                for each in study.lines(bench, subject, chosen):
                    told.append(each)
                    bar.advance(note=each.shot.label if each.shot else "")
        title = f"{subject.title}: {in_title(bench, subject)}"
        drawn = picture(lambda: (sheet(told, subject, (*bench.data.class_names, REJECTED), title), title), "try", "gallery")
        stem = "".join(letter if letter.isalnum() else "-" for letter in subject.title)[:80]
        path = Path(os.path.expanduser(out)) if out else inside(bench.store.root, f"figures/try-{stem}.png")
        write_bytes(path, drawn.png)
        if as_json:
            write_json(as_plain(bench, subject, told) | {"png": str(path)}, indent=2)
        else:
            console.result(title)
            if subject.assumed:
                console.result("nobody said what it shows: its answer is taken as true; --label NAME says otherwise")
            console.result(table(bench, subject, told))
            for left in dict.fromkeys(each.shot.left for each in told if each.shot and each.shot.left):
                console.result(f"not attacked: {left}")
            console.result(str(path))

    @main.command("page")
    @options(
        config,
        *shared,
        click.option("--port", type=click.IntRange(0, 65535), default=8500, show_default=True, help="On 127.0.0.1; 0 takes a free one."),
    )
    def page(config: Path, overrides: tuple[str, ...], port: int) -> None:
        """Open a page on this machine: a photograph or a test image, attacked and defended while you watch.

        CONFIG is one that `advrun run` worked through. Nothing leaves the machine, and nothing that is uploaded is kept. Ctrl-C ends it.
        """
        from advrun.config import load
        from advrun.picture.bench import not_built, open_bench
        from advrun.picture.server import check_installed, serve

        check_installed()
        console = Console()
        with process.terminated_as_interrupt(), console.listening():
            bench = open_bench(load(config, overrides), config)
            for remark in filter(None, (not_built(bench, config), *(f"{name} is left out: {why}" for name, why in bench.omitted.items()))):
                console.warn(remark)
            if not serve(bench, port, lambda address: write(f"{address}  (this machine only; Ctrl-C ends it)")):
                os._exit(0)  # a slow attack is in the middle of its graph, and nothing is lost with it


def the_subject(bench: Bench, image: str, label: str | None, model: str) -> Subject:
    """The picture that IMAGE names. Raises DataError."""
    from advrun.errors import DataError, printable
    from advrun.picture import pixels, study

    number = image.removeprefix(TEST)
    if image.startswith(TEST):
        if not number.isdecimal():
            raise DataError(f"{image}: expected the number of a test image, such as test:0")
        if label is not None:
            raise DataError(f"--label {label}: the class of a test image is known; leave --label out")
        return study.of_test(bench, int(number))
    path = Path(os.path.expanduser(image))
    if not path.is_file():
        raise DataError(f"{image}: no such file; give a photograph, or test:NUMBER for an image of the test set")
    try:
        x = pixels.fitted(path, bench.data.image_shape)
    except DataError as error:
        raise DataError(f"{image}: {error}") from error
    return study.of_photo(bench, x, printable(path.stem), None if label is None else bench.label(label), model)


def in_title(bench: Bench, subject: Subject) -> str:
    """What the picture shows, and who says so."""
    name = bench.class_name(subject.label)
    return f"{name}, says the undefended model" if subject.assumed else name


def table(bench: Bench, subject: Subject, told: list[Told]) -> Any:
    """A section for the picture as it is and one for each attack, a line for each system, for a rich console."""
    from itertools import groupby

    from rich.table import Table
    from rich.text import Text

    from advrun.console import spelt
    from advrun.report.layout import MISSING, SAME

    def said(each: Told) -> Text:
        right = each.reply.predicted == subject.label
        before = " (not attacked)" if each.shot is not None and not each.shot.attacked else ""
        words = f"{'✓' if right else '✗'} {100 * each.reply.confidence:.0f} % {bench.class_name(each.reply.predicted)}{before}"
        return Text(spelt(words), "" if right else "bold")

    grid = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for head in ("", "static", "adaptive"):
        grid.add_column(head, overflow="fold")
    for number, (attack, section) in enumerate(groupby(told, key=lambda each: each.shot.attack.label if each.shot else "")):
        group = list(section)
        shot = group[0].shot
        if number:
            grid.add_row()
        grid.add_row(Text(hanging(spelt(shot.label if shot else "as it is")), "underline"))
        for name, answers in groupby(group, key=lambda each: each.name):
            by_threat = {each.threat: said(each) for each in answers}
            plain = by_threat.get("none") or (None if name.defended else by_threat["adaptive"])
            static = plain or by_threat.get("static", Text(spelt(MISSING)))
            adaptive = Text("" if not attack else SAME) if plain else by_threat.get("adaptive", Text(spelt(MISSING)))
            grid.add_row(Text(hanging(spelt(name.defense if name.defended else name.model), "  ")), static, adaptive)
    return grid


def hanging(text: str, indent: str = "") -> str:
    """In lines of at most `NAMES` letters, the later ones further in, so that a long label leaves the columns beside it their room."""
    return "\n".join(textwrap.wrap(text, NAMES, initial_indent=indent, subsequent_indent=f"{indent}  "))


def left_out(bench: Bench) -> dict[str, Any]:
    """What of the configuration no picture meets."""
    return {"missing": [str(name) for name in bench.missing], "omitted": bench.omitted}


def as_plain(bench: Bench, subject: Subject, told: list[Told]) -> dict[str, Any]:
    """The same as JSON has it; shares are those of all classes."""
    from advrun.geometry import format_eps

    answers = []
    for each in told:
        line: dict[str, Any] = {"model": each.name.model, "defense": each.name.defense, "threat": each.threat, "attack": "clean"}
        if each.shot is not None:
            shot = each.shot
            line |= {"attack": shot.attack.label, "eps": None if shot.eps is None else format_eps(shot.eps), "left": shot.left}
            line |= {"norm": shot.norm, "distance": shot.distance, "gradients": shot.spent.gradients, "queries": shot.spent.queries}
            line |= {"seconds": round(shot.seconds, 3)}
        said = {"predicted": each.reply.predicted, "class": bench.class_name(each.reply.predicted), "confidence": each.reply.confidence}
        answers.append({**line, **said, "right": each.reply.predicted == subject.label, "shares": each.reply.shares})
    truth = {"label": subject.label, "class": bench.class_name(subject.label), "assumed": subject.assumed}
    return {"image": subject.title, **truth, **left_out(bench), "answers": answers}
