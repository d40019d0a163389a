"""Where units are found: in the folders of this package, and in folders of one's own that are laid out like them.

    FOLDER/attacks/NAME.py  defenses/NAME.py  models/NAME.py  datasets/NAME.py  metrics/NAME.py  threats/NAME.py  bounds/NAME.py
    FOLDER/layers/NAME.py

They come from `--plugins FOLDER`, from the variable ADVRUN_PLUGINS, from Python (`advrun.plugins("FOLDER")`), and from installed packages
with an entry point in the group `advrun.plugins`. Never from a configuration: files in them are code, and are run.

A file of one's own is a module of this package, `advrun.attacks.NAME`, so it imports our helpers and its neighbours as ours do.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Iterator
from difflib import get_close_matches
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from advrun.errors import PluginError

KINDS = ("attacks", "defenses", "models", "datasets", "metrics", "threats", "bounds")
LAYERS = "layers"
"""Holds no units: its files register Keras layers, for models that are made of them."""
PACKAGE = Path(__file__).parent
VARIABLE = "ADVRUN_PLUGINS"
GROUP = "advrun.plugins"

_added: list[Path] = []


def plugins(folder: str | Path) -> None:
    """Add the units of a folder of one's own. Its files are code and are run when they are used: give only folders that you trust.

    Raises:
        PluginError: when there is no such folder, when it is laid out in another way, or when it holds a file whose name is taken.
    """
    _standard()
    _add(folder)


def own() -> tuple[Path, ...]:
    """Folders of one's own, in the order in which they were added. Raises PluginError where the environment names a bad one."""
    _standard()
    return tuple(_added)


def roots() -> tuple[Path, ...]:
    """This package, then the folders of one's own."""
    return (PACKAGE, *own())


def names(kind: str) -> list[str]:
    """Names of the files of one kind, sorted, without those that start with an underscore; imports nothing."""
    return sorted(file.stem for root in roots() for file in (root / kind).glob("*.py") if not file.stem.startswith("_"))


def find(kind: str, name: str) -> Path:
    """The file of a unit; where there is none, where ours would be."""
    places = [root / kind / f"{name}.py" for root in roots()]
    return next((place for place in places if place.is_file()), places[0])


def shown(file: Path) -> str:
    """How messages name a file: `advrun/attacks/pgd.py`, or the path of one's own."""
    return file.relative_to(PACKAGE.parent).as_posix() if file.is_relative_to(PACKAGE) else str(file)


def is_own(file: Path) -> bool:
    """Whether the file lies in a folder of one's own."""
    return any(file.is_relative_to(folder) for folder in own())


@cache
def _standard() -> None:
    """Add what the environment names: once, at the first question."""
    for folder in filter(None, os.environ.get(VARIABLE, "").split(os.pathsep)):
        _add(folder, f"{VARIABLE} names ")
    for point in entry_points(group=GROUP):
        _add(_folder_of(point), f"the entry point {point.name!r} names ")


def _folder_of(point: EntryPoint) -> Path:
    """The folder of an installed package. Raises PluginError."""
    try:
        spec = importlib.util.find_spec(point.module)
    except Exception as error:  # the packages around it are imported: anybody's code
        raise PluginError(f"the entry point {point.name!r} of {GROUP} names {point.module}: {type(error).__name__}: {error}") from error
    if spec is not None and spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    if spec is None or spec.origin is None or "." not in point.module:  # a module outside of packages has all others beside it
        raise PluginError(f"the entry point {point.name!r} of {GROUP} names {point.module}, which is no package; reinstall or remove it")
    return Path(spec.origin).parent


def _add(folder: str | Path, source: str = "") -> None:
    path = Path(folder).expanduser().resolve()
    if not path.is_dir():
        raise PluginError(f"{source}{folder}: no such folder; give one that is laid out like advrun's own ({', '.join(KINDS)}, {LAYERS})")
    if path in _added:
        return
    _check_layout(path)
    _check_names(path)
    for kind in (*KINDS, LAYERS):
        if (path / kind).is_dir():
            importlib.import_module(f"{PACKAGE.name}.{kind}").__path__.append(str(path / kind))
    importlib.invalidate_caches()
    _added.append(path)


def _check_layout(folder: Path) -> None:
    """Raise PluginError for a folder that holds none of the kinds, or one that is misspelt."""
    known = [kind for kind in (*KINDS, LAYERS) if (folder / kind).is_dir()]
    for place in sorted(folder.iterdir()):
        if place.name in known or not place.is_dir() or not any(place.glob("*.py")):
            continue
        for near in get_close_matches(place.name.lower(), (*KINDS, LAYERS), n=1, cutoff=0.8):
            raise PluginError(f"{place}: the folder is called {near!r}; rename it")
    if not known:
        inside = f"; give {folder.parent}" if folder.name in (*KINDS, LAYERS) else ""
        raise PluginError(f"{folder}: holds none of the folders {', '.join(KINDS)} and {LAYERS}{inside}")


def _check_names(folder: Path) -> None:
    """Raise PluginError where a file has the name of another of its kind: only one of them could ever be found."""
    for kind in (*KINDS, LAYERS):
        taken = {file.name: file for root in (PACKAGE, *_added) for file in _files(root / kind)}
        for file in _files(folder / kind):
            if file.name in taken:
                raise PluginError(f"{file}: the name is taken by {shown(taken[file.name])}; rename the file and its function")


def _files(folder: Path) -> Iterator[Path]:
    return (file for file in sorted(folder.glob("*.py")) if file.stem != "__init__")


def module_of(file: Path) -> str:
    """The dotted name that a file of ours or of a folder of one's own is imported by: advrun.attacks.pgd."""
    for root in roots():
        if file.is_relative_to(root):
            parts = file.relative_to(root).with_suffix("").parts
            return ".".join((PACKAGE.name, *(parts[:-1] if parts[-1] == "__init__" else parts)))
    return file.stem


def file_of(module: str) -> Path | None:
    """The file of a module of this package, of a folder of one's own, or of a package around such a folder; None for others."""
    first, *rest = module.split(".")
    if first == PACKAGE.name:
        places = [root.joinpath(*rest) for root in roots()]
    else:
        places = [place.joinpath(*rest) for folder in own() for place in (folder / first, *_around(folder)) if place.name == first]
    for place in places:
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if file.is_file():
                return file
    return None


def _around(folder: Path) -> Iterator[Path]:
    """The outermost package that a folder belongs to, if it belongs to one."""
    outermost = None
    while (folder / "__init__.py").is_file():
        outermost, folder = folder, folder.parent
    if outermost is not None:
        yield outermost
