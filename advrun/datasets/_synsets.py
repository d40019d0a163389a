"""ImageNet's classes: WordNet's numbers of them, synsets, such as n01440764, and names such as tench, in the order of the class numbers."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from advrun.datasets._published import cache_folders, checked, quietly
from advrun.datasets._tree import in_order
from advrun.errors import DataError
from advrun.files import read_json

log = logging.getLogger("advrun")

INDEX, MD5 = "imagenet_class_index.json", "c2c37ea517e94d9795004a39431a14cb"
"""Keras' file, and its checksum as Keras has it."""
SYNSET = re.compile(r"n\d{8}")
MOST = 16 << 20
"""Bytes of a file of names."""


class Classes(NamedTuple):
    """In the order of the class numbers. synsets: empty where they are unknown."""

    synsets: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def shown(self) -> tuple[str, ...]:
        """The names; where two classes share one (crane, maillot), with the synset or the number."""
        count = Counter(self.names)
        other = self.synsets or tuple(map(str, range(len(self.names))))
        return tuple(f"{name} ({which})" if count[name] > 1 else name for name, which in zip(self.names, other, strict=True))


class Labelled(NamedTuple):
    """y: (n,) int32. names: of all classes. by_name: as in `data.Dataset`."""

    y: np.ndarray
    names: tuple[str, ...]
    by_name: bool


def labelled(keys: Sequence[str], places: Sequence[str], classes: Classes | None, root: Path) -> Labelled:
    """Labels from what files and folders call classes: synsets, class numbers, or names.

    Args:
        keys: what each image's class is called.
        places: of each image, for messages.
        classes: all of them, or None where they are unknown; then numbers are believed, and other names are matched with the model's own.
        root: the folder, for messages.

    Raises:
        DataError: where a key is none of the classes, or fits several.
    """
    if classes is None:
        if all(map(str.isdecimal, keys)):
            y = np.array(list(map(int, keys)), np.int32)
            return Labelled(y, tuple(map(str, range(int(y.max()) + 1))), False)
        names = in_order(set(keys))
        return Labelled(np.array([names.index(key) for key in keys], np.int32), tuple(names), len(names) != 1000)
    number = {_plain(name): label for label, name in enumerate(classes.names)}
    number |= {_plain(name): label for label, name in enumerate(classes.shown)}
    number |= {synset: label for label, synset in enumerate(classes.synsets)}
    shared = {_plain(name) for name, count in Counter(map(_plain, classes.names)).items() if count > 1}
    y = np.empty(len(keys), np.int32)
    for row, key in enumerate(keys):
        if key.isdecimal() and int(key) < len(classes.names):
            y[row] = int(key)
            continue
        plain = _plain(key)
        if plain in shared or (found := number.get(plain)) is None:
            why = "stands for several classes" if plain in shared else f"is none of the {len(classes.names):,} classes"
            raise DataError(f"{root}: {places[row]}: {key!r} {why}; name it by synset (n01440764), class number (0), or name (tench)")
        y[row] = found
    return Labelled(y, classes.shown, False)


def _plain(name: str) -> str:
    return " ".join(re.sub(r"[_\-]+", " ", name).casefold().split())


def known_classes(path: str | None) -> Classes | None:
    """The classes from a given file, or else from Keras' own, which Keras fetches where it is not in its cache. None, with a line, without.

    Raises:
        DataError: where the given file is none, or Keras' own is damaged.
    """
    if path is not None:
        return read_classes(Path(path))
    places = [folder.parent / "models" / INDEX for folder in cache_folders()]
    found = next(filter(None, (checked(place, [MD5]) for place in places)), None)
    if found is None and (reason := quietly(_fetch)):
        log.warning(
            "imagenet: the names of the classes are not on this machine and cannot be downloaded (%s): numbers stand for them; put Keras' "
            "%s into %s, or give data.names",
            reason,
            INDEX,
            places[0].parent,
        )
        return None
    found = found or next(filter(None, (checked(place, [MD5]) for place in places)), None)
    return None if found is None else read_classes(found)


def _fetch() -> None:
    from advrun.engine import keras

    keras.applications.imagenet_utils.decode_predictions(np.zeros((1, 1000), np.float32), top=1)


def read_classes(path: Path) -> Classes:
    """Classes from a file: Keras' JSON, {"0": ["n01440764", "tench"], ...}; a JSON list of names; or a line for each class, of a synset and
    names (`n01440764 tench, Tinca tinca`), of which the first is taken, or of a name alone. Raises DataError."""
    try:
        entries = _from_json(read_json(path)) if path.suffix.lower() == ".json" else _from_lines(path)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; expected {INDEX} of Keras, or a line for each class") from error
    except (OSError, ValueError, TypeError, KeyError, IndexError) as error:
        raise DataError(f"{path}: no list of classes ({type(error).__name__}: {' '.join(str(error).split())[:100]})") from error
    synsets, names = zip(*entries, strict=True) if len(entries) > 1 else ((), ())
    if not names or not all(names) or len({synset for synset in synsets if synset}) not in (0, len(names)):
        raise DataError(f"{path}: {len(names)} classes, some without a name, or synsets twice; expected one line for each class")
    return Classes(synsets if all(synsets) else (), tuple(name.replace("_", " ") for name in names))


def _from_json(content: Any) -> list[tuple[str, str]]:
    if isinstance(content, list):
        return [("", str(name).strip()) for name in content]
    numbers = sorted(map(int, content))
    if numbers != list(range(len(content))):
        raise ValueError("its classes are not numbered 0, 1, 2, ...")
    entries = [content[str(number)] for number in numbers]
    return [("", str(entry).strip()) if isinstance(entry, str) else (str(entry[0]), str(entry[1]).strip()) for entry in entries]


def _from_lines(path: Path) -> list[tuple[str, str]]:
    with open(path, encoding="utf-8") as file:
        lines = [line.strip() for line in file.read(MOST).splitlines() if line.strip()]
    found = []
    for line in lines:
        synset, rest = (*line.split(None, 1), "")[:2]
        known = SYNSET.fullmatch(synset) is not None
        found.append((synset if known else "", (rest if known else line).split(",")[0].strip()))
    return found
