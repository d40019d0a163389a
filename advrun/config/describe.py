"""Plugins explained on the terminal, from their own signatures and docstrings: `advrun list attacks`, `advrun show pgd`."""

from __future__ import annotations

import inspect
import re
import textwrap
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic.fields import FieldInfo

from advrun import folders, registry
from advrun.config.entries import ATTACK, BOUND, DATA, DEFENSE, MODEL, THREAT, EntryForm, form_of
from advrun.config.forms import Form, annotated_type, words
from advrun.config.mappings import form_of_mapping, is_mapping, plain
from advrun.config.yamlfile import inline
from advrun.console import spelt
from advrun.errors import ConfigError, PluginError, did_you_mean
from advrun.registry import KINDS, Plugin

WIDTH = 80
SECTIONS = {"data": DATA, "models": MODEL, "attacks": ATTACK, "defenses": DEFENSE, "threats": THREAT, "bounds": BOUND}
"""Where the YAML file names plugins."""
ROOMY = 120
"""Columns from which a list says also what an attack costs."""
EPS = {"linf": 8 / 255, "l2": 0.5, "l1": 12.0, "l0": 10.0}
"""What an example shows."""


def table(kind: str) -> list[dict[str, Any]]:
    """One row for each plugin of a folder: its name and the first sentence of its docstring; for attacks what they can do."""
    return [_row(kind, name, marked=bool(folders.own())) for name in registry.names(kind)]


def _row(kind: str, name: str, *, marked: bool) -> dict[str, Any]:
    """marked: where there are folders of one's own, a column says whose the plugin is. A broken file is a row that says so."""
    source = {"from": "own" if folders.is_own(folders.find(kind, name)) else "advrun"} if marked else {}
    try:
        plugin = registry.get(kind, name)
        abilities = SAID[kind](plugin) if kind in SAID else {}
        summary = plugin.summary
    except PluginError as error:
        abilities, summary = dict.fromkeys(COLUMNS.get(kind, ()), ""), f"broken: {error}"
    return {"name": name, **source, **abilities, "summary": summary}


COLUMNS = {"attacks": ("norms", "budget", "access", "targeted", "cost"), "bounds": ("norms", "what", "targeted")}
"""Of the lists of attacks and of bounds, between name and summary."""


def _abilities(plugin: Plugin) -> dict[str, Any]:
    return {
        "norms": list(plugin.norms),
        "budget": "ball" if plugin.needs_eps else "minimal" if plugin.norms else "own",
        "access": plugin.access,
        "targeted": plugin.can_target,
        "cost": str(plugin.cost({name: setting.default for name, setting in plugin.settings.items()}))
        or ("nothing, once it has learnt" if plugin.fit else "nothing"),
    }


def _worth(plugin: Plugin) -> dict[str, Any]:
    return {"norms": list(plugin.norms), "what": "certified" if plugin.sound else "estimate", "targeted": plugin.can_target}


SAID = {"attacks": _abilities, "bounds": _worth}
"""What fills the columns."""


def chosen(
    rows: Sequence[Mapping[str, Any]],
    *,
    norm: str = "",
    access: str = "",
    budget: str = "",
    targeted: bool | None = None,
    about: str = "",
) -> list[Mapping[str, Any]]:
    """The rows of `table` that have all these properties. about: part of the name or of the summary, in any case."""

    def fits(row: Mapping[str, Any]) -> bool:
        return (
            (not norm or norm in row["norms"])
            and (not access or access == row["access"])
            and (not budget or budget == row["budget"])
            and (targeted is None or targeted == row["targeted"])
            and about.lower() in f"{row['name']} {row['summary']}".lower()
        )

    return list(filter(fits, rows))


def aligned(rows: Sequence[Mapping[str, Any]], width: int = WIDTH) -> str:
    """Rows as text with a line of headings, in at most `width` columns: the last column is cut, and `cost` is shown where there is room."""
    if not rows:
        return "(none)"
    shown = [key for key in rows[0] if key != "cost" or width >= ROOMY]
    lines = [shown, *([spelt(_cell(row[key])) for key in shown] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    left = max(width - sum(widths[:-1]) - 2 * len(widths[:-1]), 0)
    return "\n".join(
        "  ".join([*(cell.ljust(column) for cell, column in zip(line[:-1], widths[:-1], strict=True)), _cut(line[-1], left)]).rstrip()
        for line in lines
    )


def _cut(text: str, width: int) -> str:
    dots = spelt("…")
    return text if len(text) <= width else text[: max(width - len(dots), 0)].rstrip(" ,:;") + dots[:width]


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(value) if isinstance(value, list) else str(value)


def find(name: str) -> list[tuple[str, str]]:
    """(folder, name) of every plugin called `name`, or of the one called KIND/NAME. Raises ConfigError with the nearest name."""
    *folder, name = name.split("/", 1)
    found = [(kind, name) for kind in KINDS if name in registry.names(kind) and folder in ([], [kind])]
    if not found:
        known = {each for kind in KINDS for each in registry.names(kind)}
        raise ConfigError(f"nothing is named {name!r}{did_you_mean(name, known)}")
    return found


def text(kind: str, name: str) -> str:
    """Everything about one plugin: source, what it can do, every key of its entry, presets, and an example."""
    plugin = registry.get(kind, name)
    parts = [f"{name}: {kind[:-1]}, {registry.place(kind, name)}", _source(plugin)]
    if kind in SAID:
        parts.append("\n".join(f"{key + ':':<10}{_cell(value)}" for key, value in SAID[kind](plugin).items()))
    parts += [_entry(plugin, section, entry.form) for section, entry in SECTIONS.items() if entry.kind == kind]
    return "\n\n".join(parts)


def _source(plugin: Plugin) -> str:
    """The opening line of the file, which names the paper, and the docstring without the settings."""
    module = inspect.getmodule(plugin.function)
    headline = (inspect.getdoc(module) or "").split("\n\n")[0]
    body = re.split(r"^(?:Args|Raises|Returns):$", plugin.doc, flags=re.MULTILINE)[0]
    paragraphs = [headline, *body.strip().split("\n\n")]
    return "\n\n".join(textwrap.fill(" ".join(each.split()), WIDTH) for each in paragraphs)


def _entry(plugin: Plugin, section: str, base: type[EntryForm]) -> str:
    """What may stand in the mapping that names the plugin, and an example of it."""
    fields = form_of(plugin.kind, plugin.name, base).model_fields
    common = [key for key in fields if key not in {"name", *plugin.settings}]
    blocks = [
        ("settings", [_key(key, fields[key]) for key in plugin.settings]),
        (f"beside them, as for other {plugin.kind}", [_key(key, fields[key]) for key in common]),
        ("presets", [f"  {preset}: {inline(dict(values))}" for preset, values in plugin.presets.items()]),
        ("example", [textwrap.indent(example(plugin, section), "  ")]),
    ]
    return "\n\n".join("\n".join([f"{title}:", *lines]) for title, lines in blocks if lines)


def _key(key: str, info: FieldInfo, indent: int = 2) -> str:
    """A setting with what it expects, its default and its help; below a mapping, its own settings."""
    default = info.default.model_dump(exclude_unset=True) if isinstance(info.default, Form) else plain(info.default)
    given = "required" if info.is_required() else f"default {inline(default)}"
    margin = " " * (indent + 4)
    help_text = textwrap.fill(info.description or "", WIDTH, initial_indent=margin, subsequent_indent=margin)
    inner = form_of_mapping(typing.cast("type", type(info.default))).model_fields if is_mapping(info.default) else {}
    below = [_key(each, field, indent + 4) for each, field in inner.items()]
    return "\n".join([f"{' ' * indent}{key}: {words(annotated_type(info))}; {given}", help_text, *below])


def example(plugin: Plugin, section: str) -> str:
    """YAML that names the plugin with all its own settings, as they are by default."""
    eps = {"eps": EPS[plugin.norms[0]]} if plugin.kind == "attacks" and plugin.needs_eps else {}
    settings = {key: key.upper() if setting.required else setting.default for key, setting in plugin.settings.items()}
    entry = inline({"name": plugin.name, **eps, **{key: plain(value) for key, value in settings.items()}})
    return f"{section}: {entry}" if section == "data" else f"{section}:\n  - {entry}"
