"""Defences as a file lists them: an entry, or a list of entries applied one after the other; and one entry for each value of a sweep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import GetJsonSchemaHandler, TypeAdapter
from pydantic_core import core_schema

from advrun import registry
from advrun.config.entries import DEFENSE, DefenseEntry
from advrun.config.forms import problem, refuse
from advrun.config.sweeps import can_be_swept
from advrun.config.yamlfile import number

Written = DefenseEntry | tuple[DefenseEntry, ...]
"""A defence as it stands in the file: alone, or in a chain, the first applied first. One setting of it may hold several values."""


@dataclass(frozen=True)
class Sweep:
    """One defence at several strengths.

    defense: its label without the strength. setting: the one that was swept. points: (value, label), in the order of the file.
    """

    defense: str
    setting: str
    points: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class ChainField:
    """Annotation of a field that is a defence or a list of them: how it is read, and its JSON Schema."""

    documentation = f"{DEFENSE.documentation}, or a list of such"

    def __get_pydantic_core_schema__(self, result: Any, _: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        one = DEFENSE.__get_pydantic_json_schema__(schema, handler)
        return {"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]}

    def read(self, raw: Any) -> Written:
        """The entry, or the entries of a chain; a chain of one is that entry."""
        if raw == ():
            refuse(problem("got an empty list; expected defences, the first applied first"))
        chain: tuple[DefenseEntry, ...] = (_CHAIN if isinstance(raw, tuple) else _ALONE).validate_python(raw)
        if not isinstance(raw, tuple):
            chain = (chain,)  # type: ignore[assignment]  # it is one entry
        found = [(i, key) for i, entry in enumerate(chain) for key in _swept(entry)]
        if len(found) > 1:
            i, key = found[1]
            at = (i, key) if isinstance(raw, tuple) else (key,)
            refuse(problem(f"{found[0][1]} is a list already; sweep one setting at a time, each in an entry of its own", *at))
        return chain[0] if len(chain) == 1 else chain


_ALONE: TypeAdapter[Any] = TypeAdapter(Annotated[DefenseEntry, DEFENSE])
_CHAIN: TypeAdapter[Any] = TypeAdapter(tuple[Annotated[DefenseEntry, DEFENSE], ...])


def expanded(defenses: Sequence[Written]) -> tuple[DefenseEntry, ...]:
    """The defended systems, one by one: a chain by its last entry, whose `after` leads to the others; each value of a sweep by itself."""
    return tuple(entry for written in defenses for entry in _systems(written))


def sweeps(defenses: Sequence[Written]) -> tuple[Sweep, ...]:
    """What is swept, and how each of its systems is called."""
    found = []
    for written in defenses:
        parts = _parts(written)
        for part in parts:
            for key in _swept(part):
                points = tuple(zip(part.settings[key], (entry.label for entry in _systems(written)), strict=True))
                found.append(Sweep("+".join(each.label for each in parts), key, points))
    return tuple(found)


def _parts(written: Written) -> tuple[DefenseEntry, ...]:
    return written if isinstance(written, tuple) else (written,)


def _systems(written: Written) -> list[DefenseEntry]:
    first, *others = _parts(written)
    systems = list(_values(first))
    for part in others:
        systems = [replace(entry, label=f"{before.label}+{entry.label}", after=before) for before in systems for entry in _values(part)]
    return systems


def _values(entry: DefenseEntry) -> Iterator[DefenseEntry]:
    """The entry once for each value of what it sweeps, its label with that value."""
    for key in _swept(entry):
        for value in entry.settings[key]:
            yield replace(entry, label=f"{entry.label} {key}={number(value)}", settings={**entry.settings, key: value})
        return
    yield entry


def _swept(entry: DefenseEntry) -> list[str]:
    """The settings that hold a list where a number is meant."""
    known = registry.get("defenses", entry.name).settings
    return [key for key, value in entry.settings.items() if isinstance(value, tuple) and can_be_swept(known[key].annotation)]
