"""YAML text to plain data, with the place of every key and value, and back. Nothing in a file is ever executed.

Scalars are those of the YAML 1.2 core schema that an experiment needs: null, true and false, decimal whole numbers, decimal
numbers (`1e-3` too), and in addition fractions (`8/255`). Everything else is text: `no`, `on`, `010`, `1:30`. Anchors,
aliases, merge keys and tags are refused, so a small file cannot grow large.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import yaml

from advrun.errors import ConfigError

KeyPath = tuple[str | int, ...]
"""Where a value stands in the data: ("attacks", 0, "eps")."""

MAX_BYTES = 1 << 20
MAX_DEPTH = 20
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DECIMAL = r"(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
NUMBER = rf"[-+]?{_DECIMAL}(?:/{_DECIMAL})?"
"""Regular expression of a number: whole, decimal or a fraction."""


def _fraction(text: str) -> float | str:
    """8/255 as a number; text that names no finite number (`8/0`, `1e999`) as it is."""
    above, _, below = text.partition("/")
    try:
        value = float(above) / float(below or 1)
    except ZeroDivisionError:
        return text
    return value if math.isfinite(value) else text


_SCALARS = (
    ("null", re.compile(r"(?:~|null|Null|NULL|)\Z"), lambda text: None),
    ("bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), lambda text: text[0] in "tT"),
    ("int", re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})\Z"), int),
    ("float", re.compile(rf"{NUMBER}\Z"), _fraction),
)
"""Tag, pattern and conversion of every plain scalar that is not text; the first that matches counts."""


class Place(NamedTuple):
    """Line and column, from 1, in a file; or, with line 0, a source without lines."""

    source: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


@dataclass(frozen=True)
class Document:
    """Plain data (dict, tuple, str, int, float, bool, None), and the place of each key and each value in the text."""

    data: Any
    keys: dict[KeyPath, Place]
    values: dict[KeyPath, Place]

    def place(self, path: KeyPath, *, of_key: bool = False) -> Place:
        """Where `path` is written; where what surrounds it begins, when `path` itself is not in the text."""
        if of_key and path in self.keys:
            return self.keys[path]
        while path not in self.values:
            path = path[:-1]
        return self.values[path]


def read(path: Path) -> str:
    """The text of a file. Raises ConfigError when it is missing, unreadable, larger than 1 MiB, or not UTF-8."""
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{path}: larger than 1 MiB; is this a configuration?")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        place = Place(str(path), before.count(b"\n") + 1, error.start - before.rfind(b"\n"))
        raise ConfigError(f"{place}: byte 0x{content[error.start]:02x} is not UTF-8; save the file as UTF-8") from None


def parse(text: str, source: str) -> Document:
    """Data and places of YAML text; `source` names it in messages. Raises ConfigError with line and column."""
    if len(text) > MAX_BYTES:
        raise ConfigError(f"{source}: larger than 1 MiB; is this a configuration?")
    unprintable = yaml.reader.Reader.NON_PRINTABLE.search(text)
    if unprintable:
        before = text[: unprintable.start()]
        place = Place(source, before.count("\n") + 1, len(before) - before.rfind("\n"))
        raise ConfigError(f"{place}: the character {unprintable.group()!a} is not allowed in YAML")
    reader = _Reader(text, source)
    try:
        return reader.document()
    except yaml.MarkedYAMLError as error:
        raise ConfigError(_in_words(error, text, source)) from None


def _in_words(error: yaml.MarkedYAMLError, text: str, source: str) -> str:
    mark: Any = error.problem_mark or error.context_mark
    lines = text.splitlines() or [""]
    place = Place(source, mark.line + 1, mark.column + 1)
    if mark.line >= len(lines):  # the text ends too early
        place = Place(source, len(lines), len(lines[-1]) + 1)
    if re.match(r"[ -]*\t", lines[place.line - 1]):
        return f"{place}: a tab in the indentation; YAML indents with spaces"
    return " ".join(filter(None, (f"{place}: not valid YAML:", error.problem, error.context)))


class _Reader:
    """Builds the data from the parser's events, one at a time, so that a refused document costs nothing more."""

    def __init__(self, text: str, source: str) -> None:
        self.source = source
        self.events: Iterator[Any] = yaml.parse(text, Loader=_LOADER)
        self.keys: dict[KeyPath, Place] = {}
        self.values: dict[KeyPath, Place] = {}

    def fail(self, mark: Any, problem: str) -> NoReturn:
        raise ConfigError(f"{self.place(mark)}: {problem}")

    def place(self, mark: Any) -> Place:
        return Place(self.source, mark.line + 1, mark.column + 1)

    def document(self) -> Document:
        next(self.events)  # start of the stream
        self.values[()] = Place(self.source, 1, 1)
        if isinstance(next(self.events), yaml.StreamEndEvent):
            return Document(None, self.keys, self.values)
        data = self.node(next(self.events), ())
        next(self.events)  # end of the document
        after = next(self.events)
        if isinstance(after, yaml.DocumentStartEvent):
            self.fail(after.start_mark, "a second document begins; a file holds one")
        return Document(data, self.keys, self.values)

    def node(self, event: Any, path: KeyPath) -> Any:
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            self.fail(event.start_mark, "anchors (&) and aliases (*) are not supported; write the value out")
        if event.tag is not None:
            self.fail(event.start_mark, f"tags ({shorten(event.tag)}) are not supported; put text in quotes")
        if len(path) > MAX_DEPTH:
            self.fail(event.start_mark, f"nested more than {MAX_DEPTH} levels deep")
        self.values[path] = self.place(event.start_mark)
        if isinstance(event, yaml.ScalarEvent):
            return scalar(event.value) if event.implicit[0] else event.value
        return self.mapping(path) if isinstance(event, yaml.MappingStartEvent) else self.sequence(path)

    def sequence(self, path: KeyPath) -> tuple[Any, ...]:
        items: list[Any] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            items.append(self.node(event, (*path, len(items))))
        return tuple(items)

    def mapping(self, path: KeyPath) -> dict[str, Any]:
        items: dict[str, Any] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self.key(event)
            here = (*path, key)
            if key in items:
                self.fail(event.start_mark, f"{shorten(key)} is given twice; first in line {self.keys[here].line}")
            self.keys[here] = self.place(event.start_mark)
            items[key] = self.node(next(self.events), here)
        return items

    def key(self, event: Any) -> str:
        """The text of a key; `1: x` and `"1": x` are the same to a person."""
        if not isinstance(event, yaml.ScalarEvent) or event.anchor is not None or event.tag is not None:
            self.fail(event.start_mark, "a key must be a plain name")
        if event.value == "<<":
            self.fail(event.start_mark, "merge keys (<<) are not supported; write the settings out")
        return str(event.value)


def scalar(text: str) -> bool | int | float | str | None:
    """What a plain (unquoted) scalar means."""
    for _, pattern, convert in _SCALARS:
        if pattern.match(text):
            return convert(text)  # type: ignore[no-any-return]
    return text


def number(value: float) -> str:
    """The shortest text that `scalar` reads as exactly this number: 8/255 instead of 0.03137254901960784."""
    plain = repr(value)
    levels = f"{round(value * 255)}/255" if abs(value) < 1e6 else plain
    return levels if len(levels) < len(plain) and _fraction(levels) == value else plain


def show(value: Any) -> str:
    """A value for a message, in one line: text in quotes, numbers as in YAML, collections by their kind."""
    if isinstance(value, str):
        return shorten(value)
    if isinstance(value, (dict, tuple, list)):
        return f"{'a' if value else 'an empty'} {'mapping' if isinstance(value, dict) else 'list'}"
    if isinstance(value, float):
        return number(value)
    return "null" if value is None else str(value).lower()


def shorten(text: str) -> str:
    """Text in quotes, at most 60 characters of it."""
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


class _Dumper(yaml.SafeDumper):
    """Writes what `parse` reads back: quotes are put exactly where `scalar` would not see text."""

    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012, PyYAML's own form

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_tuple(dumper: yaml.SafeDumper, items: tuple[Any, ...]) -> Any:
    in_one_line = None if any(isinstance(item, dict) for item in items) else True  # None: as the document around it
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=in_one_line)


def _represent_str(dumper: yaml.SafeDumper, text: str) -> Any:
    style = "|" if "\n" in text else None
    if re.search("[\r\x85\u2028\u2029]", text):  # other line breaks, which only double quotes keep
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


for _tag, _pattern, _ in _SCALARS:
    _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _pattern, None)
_Dumper.add_representer(tuple, _represent_tuple)
_Dumper.add_representer(str, _represent_str)
_Dumper.add_representer(float, lambda dumper, value: dumper.represent_scalar("tag:yaml.org,2002:float", number(value)))


def dump(data: Any) -> str:
    """YAML text that `parse` reads as exactly this data."""
    return str(yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=110))


def inline(data: Any) -> str:
    """The same in one line: `{name: pgd, eps: 8/255}`."""
    text = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=True, width=math.inf)
    return str(text).removesuffix("...\n").rstrip("\n")
