"""`--set attacks.pgd.eps=4/255`: one value of a YAML document replaced from the command line."""

from __future__ import annotations

from typing import Any

from advrun.config.yamlfile import Document, KeyPath, Place, parse, show
from advrun.errors import ConfigError, did_you_mean


def override(document: Document, assignment: str) -> Document:
    """The document with one value replaced or added; messages about that value then say `--set PATH`.

    Args:
        document: whose data is a mapping.
        assignment: PATH=VALUE. VALUE is YAML. PATH joins keys with dots; an entry of a list goes by its index, from 0, its
            label or its name.

    Raises:
        ConfigError: when PATH leads through something that has no such entry, or VALUE is not YAML. Whether a setting of
            that name exists is found out later, by the validation of the whole.
    """
    path, value = parted(assignment)
    source = value.place(()).source
    try:
        keys = _keys(document.data, path)
    except LookupError as error:
        raise ConfigError(f"{source}: {error.args[0]}") from None
    place, steps = Place(source), [keys[:end] for end in range(1, len(keys) + 1)]
    return Document(
        _replaced(document.data, keys, value.data),
        dict.fromkeys(steps, place) | _without(document.keys, keys) | {keys + key: place for key in value.keys},
        dict.fromkeys(steps, place) | _without(document.values, keys) | {keys + key: place for key in value.values},
    )


def parted(assignment: str) -> tuple[str, Document]:
    """PATH and VALUE of `PATH=VALUE`. Raises ConfigError where it is none, or VALUE is not YAML."""
    path, equals, text = assignment.partition("=")
    path = path.strip()
    if not equals or not path:
        raise ConfigError(f"--set {assignment}: expected PATH=VALUE, such as attacks.0.eps=4/255")
    return path, parse(text, f"--set {path}")


def _keys(data: Any, path: str) -> KeyPath:
    """The path as keys and indices. Raises LookupError with the reason when it leads nowhere."""
    keys: list[str | int] = []
    key: str | int
    rest, node = path, data
    while rest:
        where = ".".join(map(str, keys))
        if isinstance(node, tuple):
            key, rest = _entry(node, rest, where)
            node = node[key]
        elif isinstance(node, dict):
            key, _, rest = rest.partition(".")
            node = {} if node.get(key) is None else node[key]
        else:
            raise LookupError(f"{where} is {show(node)}, which has no settings")
        keys.append(key)
    return tuple(keys)


def _entry(items: tuple[Any, ...], path: str, where: str) -> tuple[int, str]:
    """The index of the entry that `path` begins with, and the rest of the path. Labels may contain dots."""
    known: dict[str, list[int]] = {str(index): [index] for index in range(len(items))}
    entries = [(index, item) for index, item in enumerate(items) if isinstance(item, dict)]
    names = {str(item.get("name")) for _, item in entries}
    known |= {name: [index for index, item in entries if item.get("name") == name] for name in names}
    known |= {str(item["label"]): [index] for index, item in entries if "label" in item}
    fitting = [handle for handle in known if f"{path}.".startswith(f"{handle}.")]
    if not fitting:
        head = path.partition(".")[0]
        count = f"{len(items)} {'entry' if len(items) == 1 else 'entries'}"
        hint = f"; it has {count}, counted from 0" if head.isdecimal() else did_you_mean(head, known)
        raise LookupError(f"{where} has no entry {head}{hint}")
    handle = max(fitting, key=len)
    if len(known[handle]) > 1:
        raise LookupError(f"{where} has {len(known[handle])} entries named {handle}; use a label or an index, counted from 0")
    return known[handle][0], path[len(handle) + 1 :]


def _replaced(node: Any, keys: KeyPath, value: Any) -> Any:
    if not keys:
        return value
    key, rest = keys[0], keys[1:]
    if isinstance(node, tuple):
        return tuple(_replaced(item, rest, value) if index == key else item for index, item in enumerate(node))
    node = node or {}
    return {**node, key: _replaced(node.get(key), rest, value)}


def _without(places: dict[KeyPath, Place], keys: KeyPath) -> dict[KeyPath, Place]:
    return {path: place for path, place in places.items() if path[: len(keys)] != keys}
