"""A comparison as a person reads it: in the terminal, as Markdown, and as one HTML file."""

from __future__ import annotations

import textwrap
from pathlib import Path

from advrun.compare import told
from advrun.compare.pairs import Against, Comparison
from advrun.console import spelt
from advrun.report import markdown
from advrun.report.layout import aligned
from advrun.report.terminal import WIDTH

MANY = 200
"""Of more rows the terminal shows those that got better or worse."""
LISTED = 20
"""So many lines of a list; the rest are counted."""
MORE = "--out FILE.html lists them"
TITLE = "Comparison"


def terminal(comparison: Comparison) -> str:
    """Plain text: the headline first, for a log shows its beginning; then what was changed, the rows, and what they mean."""
    parts = [_wrapped(told.headline(each, comparison.tests)) for each in comparison.against]
    parts += ["\n".join(map(_wrapped, told.remarks(comparison)))]
    parts += ["What was changed\n" + _changes(comparison)]
    parts += [_rows(each) for each in comparison.against]
    parts += ["\n".join([*_some(told.settings(each)), *_some(told.alone(each))]) for each in comparison.against]
    parts += ["\n".join(_wrapped(f"{term}  {text}" if term else text) for term, text in told.notes(comparison))]
    return "\n\n".join(filter(None, parts))


def _changes(comparison: Comparison) -> str:
    _, *lines = told.changed(comparison)
    letters = [side.letter for side in comparison.sides]
    if not lines:
        return "  nothing that the folders say"
    return "\n".join(
        _wrapped(f"  {kind:<13}  {what}: {', '.join(f'{letter} {value}' for letter, value in zip(letters, values, strict=True))}")
        for kind, what, *values in lines
    )


def _rows(each: Against) -> str:
    shown = [pair for pair in each.pairs if len(each.pairs) <= MANY or pair.apart]
    several = any(pair.name.seed for pair in each.pairs)
    systems = told.by_system(shown)
    if not each.pairs:
        return ""
    header, *lines = aligned(
        [_spelt(told.heads(each), several), *(_spelt(told.line(pair), several) for pairs in systems.values() for pair in pairs)],
        right=range(3 + several, 9 + several),
    )
    text, rest = [f"  {header}", "  " + "-" * len(header)], iter(lines)
    for name, pairs in systems.items():
        text += [spelt(name), *(f"  {next(rest)}" for _ in pairs)]
    if len(shown) < len(each.pairs):
        text.append(f"{len(each.pairs) - len(shown):,} more rows may differ by chance alone; {MORE}")
    return "\n".join(text)


def _spelt(line: list[str], with_seed: bool) -> list[str]:
    return [spelt(text) for place, text in enumerate(line) if place != 3 or with_seed]


def _some(lines: list[str]) -> list[str]:
    more = [f"and {len(lines) - LISTED:,} more; {MORE}"] if len(lines) > LISTED else []
    return [*map(_wrapped, lines[:LISTED]), *more]


def _wrapped(text: str) -> str:
    indent = " " * (len(text) - len(text.lstrip()) + 4)
    return textwrap.fill(spelt(text), WIDTH, subsequent_indent=indent, break_on_hyphens=False)


def md(comparison: Comparison) -> str:
    """GitHub Markdown; whatever folders call themselves is text in it."""
    parts = [f"# {TITLE}", *(markdown.escape(told.headline(each, comparison.tests)) for each in comparison.against)]
    parts += _listed(told.remarks(comparison))
    lines = told.changed(comparison)
    parts += ["## What was changed", markdown.pipes(lines) if len(lines) > 1 else "Nothing that the folders say."]
    for each in comparison.against:
        parts.append(f"## {each.second.letter} against {each.first.letter}")
        if each.pairs:
            parts.append(
                markdown.pipes([["system", *told.heads(each)], *([told.system(p.name), *told.line(p)] for p in each.pairs)], bold(each))
            )
        parts += _listed([*told.settings(each), *told.alone(each)])
    parts += ["\n".join(f"- {markdown.escape(f'{term} {text}'.strip())}" for term, text in told.notes(comparison))]
    return "\n\n".join(filter(None, parts)) + "\n"


def bold(each: Against) -> set[tuple[int, int]]:
    """Verdicts that are more than chance."""
    verdict = len(told.heads(each))
    return {(number, verdict) for number, pair in enumerate(each.pairs, 1) if pair.apart}


def _listed(texts: list[str]) -> list[str]:
    return ["\n".join(f"- {markdown.escape(text)}" for text in texts)] if texts else []


def html(comparison: Comparison) -> str:
    """One file, no script, nothing loaded from elsewhere; every text is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)

    return environment.get_template("page.html.j2").render(title=TITLE, comparison=comparison, told=told)
