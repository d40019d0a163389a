"""What a cell's result depends on, as hashes: settings, files, and the source code that it runs.

The source of a cell is the import closure of its plugin's file and of the file in `runs/work/` that does its kind of work,
comments and docstrings aside. A corrected helper therefore makes those cells anew that use it, and no others. Imports are followed into
folders of one's own (`folders.py`), and not into other packages.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from advrun import folders, registry
from advrun.config.entries import AttackEntry, InnerAttack
from advrun.files import content_key
from advrun.folders import LAYERS
from advrun.geometry import GEOMETRIES

CARRIERS = (
    *("api", "checkpoints", "config", "console", "errors", "files", "folders", "hdf5", "npz", "process", "registry"),
    *("runs.needs", "runs.opened", "runs.plan", "runs.store", "system.readings"),
)
"""Modules that hand values over and make none: what they say is in the key as values. Imports of them are not followed."""


def described(kind: str, name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as plain data; a file is described by its bytes instead of its path. Raises ModelError where one is missing."""
    plugin = registry.get(kind, name)
    plain = plugin.identity(settings)
    for key, value in settings.items():
        if plugin.settings[key].is_attack:
            plain[key] = registry.on_attacks(inner, value)
        elif plugin.settings[key].names_attack:
            plain[key] = [value, source_key("attacks", value)]
    return plain


def inner(attack: InnerAttack) -> list[Any]:
    """An attack inside a defence or a training, as it identifies a result."""
    settings = described("attacks", attack.name, attack.settings)
    return [attack.name, attack.norm, attack.eps, settings, source_key("attacks", attack.name)]


def stages(attack: AttackEntry) -> list[str]:
    """Names of the attacks that a cascade is made of."""
    plugin = registry.get("attacks", attack.name)
    if not plugin.is_cascade:
        return []
    return sorted({stage.attack for stage in plugin.function(GEOMETRIES[attack.norm](), **attack.settings)})


def learning(attack: AttackEntry) -> tuple[dict[str, Any], str]:
    """What decides what an attack learns from images alone: the settings that its `fit` asks for, and the hash of the code that runs."""
    plugin = registry.get("attacks", attack.name)
    asked = registry.parameters(plugin.fit) if plugin.fit else ()
    settings = {name: value for name, value in plugin.identity(attack.settings).items() if name in asked}
    return settings, content_key([code(file) for file in closure([Path(inspect.getfile(plugin.fit or plugin.function)), _work("learn")])])


def learning_label(attack: AttackEntry) -> str:
    """The name of the function that learns, and those of its settings that are not the attack's defaults: `gan (latent 16)`."""
    plugin = registry.get("attacks", attack.name)
    own = [f"{name} {value}" for name, value in learning(attack)[0].items() if attack.settings.get(name) != plugin.settings[name].default]
    name = plugin.fit.__name__ if plugin.fit else ""
    name = plugin.name if name == "fit" else name
    return f"{name} ({', '.join(own)})" if own else name


@cache
def source_key(kind: str, name: str, work: str | None = None) -> str:
    """Hash of the code of a plugin, and of that which does the kind of work."""
    return content_key([code(file) for file in sources(kind, name, work)])


@cache
def is_random(defense: str) -> bool:
    """Whether a defence's file, or a file that it imports from the defences, makes a random purifier: whether it says `random=` there."""
    said = (word.value for call in _calls(defense) for word in call.keywords if word.arg == "random")
    return any(not isinstance(value, ast.Constant) or value.value is True for value in said)


def says(defense: str, *, call: str = "", keyword: str = "") -> bool:
    """Whether the same files call a method of this name (`system.beside(...)`), or hand something over by this keyword."""
    calls = _calls(defense)
    return any(isinstance(each.func, ast.Attribute) and each.func.attr == call for each in calls) or any(
        word.arg == keyword for each in calls for word in each.keywords
    )


@cache
def _calls(defense: str) -> tuple[ast.Call, ...]:
    files = (file for file in sources("defenses", defense) if file.parent.name == "defenses")
    return tuple(node for file in files for node in ast.walk(_tree(file)) if isinstance(node, ast.Call))


@cache
def work_key(work: str) -> str:
    """Hash of the code that does a kind of work, whatever the plugin."""
    return content_key([code(file) for file in closure([_work(work)])])


def sources(kind: str, name: str, work: str | None = None) -> list[Path]:
    """The files whose code a cell runs, sorted: the import closure of the plugin's file and of `runs/work/WORK.py`.

    A model that comes trained may be made of any of the layers of one's own: all of them belong to it.
    """
    roots = [folders.find(kind, name), *([_work(work)] if work else [])]
    if kind == "models" and not registry.get(kind, name).arguments:
        roots += [folders.find(LAYERS, layer) for layer in folders.names(LAYERS)]
    return closure(roots)


def _work(work: str) -> Path:
    return folders.PACKAGE / "runs" / "work" / f"{work}.py"


def closure(roots: Iterable[Path]) -> list[Path]:
    """The files, and what they import of this package or of one's own, directly or not, at any depth of their code."""
    found: set[Path] = set()
    waiting = list(roots)
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting += imported(file)
    return sorted(found, key=_place)


def _place(file: Path) -> tuple[int, tuple[str, ...]]:
    """Where a file stands among others: the same on every machine, wherever the package and folders of one's own lie there."""
    roots = folders.roots()
    found = next((number for number, root in enumerate(roots) if file.is_relative_to(root)), len(roots))
    return found, file.relative_to(roots[found]).parts if found < len(roots) else file.parts


@cache
def imported(file: Path) -> tuple[Path, ...]:
    """The files that this one imports: of this package, and of folders of one's own."""
    return tuple(dict.fromkeys(path for name in _imported_names(file) if (path := _file_of(name)) is not None))


def _imported_names(file: Path) -> Iterator[str]:
    """Dotted names of modules, such as advrun.attacks._best."""
    for node in ast.walk(_tree(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, file)
            for alias in node.names:
                submodule = f"{base}.{alias.name}"
                yield submodule if _file_of(submodule) else base


def _absolute(node: ast.ImportFrom, file: Path) -> str:
    """The module that `from X import ...` names: `from ._best import Best` in advrun/attacks/pgd.py names advrun.attacks._best."""
    if node.level == 0:
        return node.module or ""
    package = folders.module_of(file).split(".")
    up = node.level - (file.stem == "__init__")
    return ".".join([*package[: len(package) - up], *filter(None, [node.module])])


def _file_of(name: str) -> Path | None:
    parts = name.split(".")
    if parts[0] == folders.PACKAGE.name and (len(parts) < 2 or any(".".join(parts[1:end]) in CARRIERS for end in (2, 3))):
        return None
    return folders.file_of(name)


@cache
def code(file: Path) -> str:
    """The file's syntax tree as text, docstrings left out."""
    tree = _tree(file)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)


def _tree(file: Path) -> ast.Module:
    """The file's syntax tree; one that is no Python, which its import will say, is a text."""
    content = file.read_bytes()
    try:
        return ast.parse(content)
    except (SyntaxError, ValueError):
        return ast.Module([ast.Expr(ast.Constant(content))], [])
