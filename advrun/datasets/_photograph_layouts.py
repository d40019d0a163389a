"""Where photographs lie, and what says of which class each is: the layouts in which ImageNet, and what resembles it, is given out."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from advrun.datasets._photographs import listed
from advrun.datasets._synsets import SYNSET
from advrun.datasets._tree import ENDINGS, subfolders
from advrun.errors import DataError

FOLDERS = (".", "val", "validation", "ILSVRC2012_img_val", "Data/CLS-LOC/val", "ILSVRC/Data/CLS-LOC/val", "images")
"""Where the images of a test set lie below the folder that a person names."""
NAMED_FOR_IT = ("val.txt", "LOC_val_solution.csv", "imagenet_2012_validation_synset_labels.txt", "ILSVRC2012_validation_ground_truth.txt")
DEVKIT = ("ILSVRC2012_devkit_t12/data", "data", "devkit/data")
NUMBERED = re.compile(r"ILSVRC2012_val_(\d{8})")
MOST = 64 << 20
"""Bytes of a file of labels."""
EXPECTED = (
    "expected a folder for each class (n01440764, or 0, or tench), ILSVRC2012_val_*.JPEG with a file of labels, photographs named by "
)
EXPECTED += "class (00_243.jpg, n01440764_1.jpg, tench_1.jpg), or the images.csv of the NIPS 2017 competition"


class Album(NamedTuple):
    """paths: relative to the folder. keys: what each image's class is called. layout: in words."""

    paths: list[str]
    keys: list[str]
    layout: str


def listing(root: Path, labels: Path | None) -> Album:
    """The photographs below `root`, in the order of their names.

    labels: the file that says the classes of ILSVRC2012_val_*.JPEG; looked for where it is None.

    Raises:
        DataError: nothing is there, or nothing says the classes.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; {EXPECTED}")
    if (root / "images.csv").is_file():
        return _competition(root)
    for place in (root / name for name in FOLDERS):
        if not place.is_dir():
            continue
        names = listed(place, ENDINGS)
        if any(map(NUMBERED.match, names)) and (labels or not all(map(SYNSET.search, names))):
            return _flat(root, place, [name for name in names if NUMBERED.match(name)], labels)
        if names:
            return Album(_below(root, place, names), [_key_in(name) for name in names], "named by class")
        if found := list(_in_folders(root, place)):
            return Album([path for path, _ in found], [key for _, key in found], "a folder for each class")
    raise DataError(f"{root}: no photographs here; {EXPECTED}")


def _below(root: Path, place: Path, names: Sequence[str]) -> list[str]:
    start = place.relative_to(root)
    return [str(start / name) for name in names]


def _in_folders(root: Path, place: Path) -> Iterator[tuple[str, str]]:
    """Path and class of each photograph in the class folders. Of several sets, such as train beside val, the latter is found elsewhere."""
    folders = subfolders(place)
    if place == root and {folder.name for folder in folders} & {"val", "validation", "ILSVRC", "Data", "ILSVRC2012_img_val"}:
        return
    for folder in folders:
        for path in _below(root, folder, listed(folder, ENDINGS)):
            yield path, folder.name


def _key_in(name: str) -> str:
    """The class that a file's name speaks of: its synset, or the number at its end, or its words without the number at their end."""
    stem = name.rpartition(".")[0]
    if synset := SYNSET.search(stem):
        return synset.group()
    words = [part for part in re.split(r"[_\s]+", stem) if part]
    if all(map(str.isdecimal, words)):
        return words[-1]
    while len(words) > 1 and words[-1].isdecimal():
        words.pop()
    return " ".join(words[1:] if words[0].isdecimal() and len(words) > 1 else words)


def _competition(root: Path) -> Album:
    """The development images of the NIPS 2017 competition on adversarial attacks and defences (Kurakin et al. 2018, arXiv:1804.00097).

    TrueLabel counts from 1, for models with a class of nothing at 0.
    """
    table = root / "images.csv"
    paths, keys = [], []
    for line, row in enumerate(_rows(table), 2):
        name, label = row.get("ImageId"), row.get("TrueLabel")
        if not name or not label or not label.isdecimal() or not 1 <= int(label) <= 1000 or Path(name).name != name:
            raise DataError(
                f"{table}:{line}: ImageId {name!r:.60} and TrueLabel {label!r:.60}; expected a name, and a number from 1 to 1000"
            )
        path = next((path for path in (f"images/{name}.png", f"{name}.png") if (root / path).is_file()), None)
        if path is None:
            raise DataError(f"{table}:{line}: {name}.png is missing in {root / 'images'}; fetch it, or take the line out")
        paths.append(path)
        keys.append(str(int(label) - 1))
    if not paths:
        raise DataError(f"{table}: lists no images")
    return Album(paths, keys, "NIPS 2017 competition")


def _rows(table: Path) -> list[dict[str, str]]:
    try:
        with open(table, encoding="utf-8-sig", newline="") as file:
            return list(csv.DictReader(file.read(MOST).splitlines()))
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{table}: cannot be read ({error}); expected CSV with a first line that names the columns") from error


def _flat(root: Path, place: Path, names: list[str], given: Path | None) -> Album:
    """ILSVRC2012_val_00000001.JPEG and so on, with a file of labels."""
    source = given or _labels_file(root, place)
    found = _labels_in(source)
    keys = []
    for name in names:
        stem, number = name.rpartition(".")[0], int(NUMBERED.match(name).group(1))  # type: ignore[union-attr]
        key = found.get(stem, found.get(number))
        if key is None:
            raise DataError(f"{source}: says nothing of {name}; give the file of labels that belongs to these photographs, by data.labels")
        keys.append(key)
    return Album(_below(root, place, names), keys, f"labels in {source.name}")


def _labels_file(root: Path, place: Path) -> Path:
    places = dict.fromkeys((root, place, root.parent, *(root / each for each in DEVKIT), *(root.parent / each for each in DEVKIT)))
    for folder in places:
        for name in NAMED_FOR_IT:
            if (folder / name).is_file():
                return folder / name
    raise DataError(f"{root}: nothing says the classes of ILSVRC2012_val_*; give data.labels, or put one of {', '.join(NAMED_FOR_IT)} here")


def _labels_in(path: Path) -> dict[Any, str]:
    """What each image's class is called, by the stem of its file's name, or by its number, which counts from 1."""
    if path.suffix.lower() == ".csv":
        rows = _rows(path)
        if not rows or not {"ImageId", "PredictionString"} <= set(rows[0]):
            raise DataError(f"{path}: no columns ImageId and PredictionString, as Kaggle's LOC_val_solution.csv has them")
        return {row["ImageId"]: (row["PredictionString"] or "?").split()[0] for row in rows}
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.split() for line in file.read(MOST).splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}); expected a line for each photograph") from error
    if not lines or any(len(line) != len(lines[0]) or len(line) > 2 for line in lines):
        raise DataError(f"{path}: expected a line for each photograph, of a class, or of a file's name and a class")
    keys = [line[-1] for line in lines]
    if all(map(str.isdecimal, keys)) and max(map(int, keys)) > 999:
        synsets = _devkit_order(path)
        keys = [synsets.get(int(key), key) for key in keys]
    if len(lines[0]) == 2:
        return {Path(line[0]).stem: key for line, key in zip(lines, keys, strict=True)}
    return dict(enumerate(keys, 1))


def _devkit_order(labels: Path) -> dict[int, str]:
    """The synset of each number, 1 to 1000, of the development kit, which has an order of its own, told by its meta.mat."""
    path = labels.with_name("meta.mat")
    if not path.is_file():
        raise DataError(
            f"{labels}: its numbers run from 1 to 1000, in the development kit's own order; put the kit's meta.mat beside it, or give a "
            "file of synsets or of class numbers from 0 by data.labels"
        )
    from scipy.io import loadmat

    try:
        table = loadmat(path, squeeze_me=True, variable_names=["synsets"])["synsets"]
        return {
            int(number): str(synset) for number, synset in zip(table["ILSVRC2012_ID"], table["WNID"], strict=True) if int(number) <= 1000
        }
    except Exception as error:  # a damaged file raises whatever its bytes lead to
        raise DataError(f"{path}: no meta.mat of the development kit ({' '.join(str(error).split())[:100]}); fetch it again") from error
