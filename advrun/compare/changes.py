"""What was changed between results folders: settings, data, code, files of trained systems, packages and device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from advrun.compare.sides import Side
from advrun.config.yamlfile import inline
from advrun.errors import printable

ABSENT = "—"
UNSAID = ("name", "results", "description")
"""Settings that change no number."""
MOST = 200
"""Characters of a value that is shown."""


@dataclass(frozen=True)
class Change:
    """kind: configuration, data, code, model file or packages. what: a dotted path, or a name. values: one for each folder."""

    kind: str
    what: str
    values: tuple[str, ...]


def changes(sides: Sequence[Side]) -> list[Change]:
    """All of them. What one folder does not say is no change."""
    return [*_settings(sides), *_data(sides), *_code(sides), *_systems(sides), *_packages(sides)]


def _settings(sides: Sequence[Side]) -> Iterator[Change]:
    configs = [{name: value for name, value in side.config.items() if name not in UNSAID} for side in sides if side.config is not None]
    if len(configs) == len(sides):
        yield from (Change("configuration", path, values) for path, values in different(configs))


def different(nodes: Sequence[Any], path: str = "") -> Iterator[tuple[str, tuple[str, ...]]]:
    """Dotted path and values of what is not the same in all; entries of lists go by their labels, as after `--set`."""
    trees = [_tree(node) for node in nodes]
    if any(tree is None for tree in trees):
        if not all(node == nodes[0] and isinstance(node, bool) == isinstance(nodes[0], bool) for node in nodes):
            yield path, tuple(_shown(node) for node in nodes)
        return
    for key in dict.fromkeys(key for tree in trees if tree is not None for key in tree):
        inner = [tree.get(key, _NOTHING) for tree in trees if tree is not None]
        yield from different(inner, f"{path}.{key}".removeprefix("."))


class _Nothing:
    """Where there is no value."""


_NOTHING = _Nothing()


def _tree(node: Any) -> Mapping[str, Any] | None:
    """The parts of a node by name; None where it has none, or none to tell them apart by."""
    if isinstance(node, dict):
        return node
    if not isinstance(node, tuple) or not all(isinstance(item, dict) for item in node):
        return None
    labels = [str(item.get("label") or item.get("name")) for item in node]
    return dict(zip(labels, node, strict=True)) if len(set(labels)) == len(labels) else None


def _shown(node: Any) -> str:
    return ABSENT if node is _NOTHING else shortened(inline(node))


def shortened(text: str) -> str:
    """On one line, and not too long."""
    text = printable(text)
    return text if len(text) <= MOST else f"{text[: MOST - 3]}..."


def _data(sides: Sequence[Side]) -> Iterator[Change]:
    known = [{str(key): str(value) for key, value in side.record.data.items()} for side in sides if side.record]
    if len(known) == len(sides):
        yield from _unequal("data", known)


def _code(sides: Sequence[Side]) -> Iterator[Change]:
    """Of units that all have: what only one has is a change of the configuration."""
    known = [side.record.code for side in sides if side.record]
    if len(known) == len(sides):
        yield from _unequal("code", [{name: value[:8] for name, value in each.items()} for each in known], of_all=True)


def _systems(sides: Sequence[Side]) -> Iterator[Change]:
    named = [{f"{model} / {defense} seed {seed}": value[:8] for (model, defense, seed), value in side.systems.items()} for side in sides]
    yield from _unequal("model file", named, of_all=True)


def _packages(sides: Sequence[Side]) -> Iterator[Change]:
    yield from _unequal("packages", [{name: " and ".join(found) for name, found in side.versions.items() if found} for side in sides])


def _unequal(kind: str, known: Sequence[Mapping[str, str]], *, of_all: bool = False) -> Iterator[Change]:
    for name in dict.fromkeys(name for each in known for name in each):
        values = tuple(each.get(name, ABSENT) for each in known)
        if len(set(values)) > 1 and not (of_all and ABSENT in values):
            yield Change(kind, shortened(name), tuple(map(shortened, values)))
