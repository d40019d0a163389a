"""Lists of image files with their labels, as CSV: which column is which, which lines cannot be used, and what contradicts itself."""

from __future__ import annotations

import csv
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from advrun.errors import DataError, printable

log = logging.getLogger("advrun")

PATHS = ("path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path", "img", "img_path", "name")
LABELS = ("label", "class", "classid", "class_id", "class_name", "labels", "target", "category", "y")
SEPARATORS = "\t;, "
"""In the order of preference: names of files hold spaces and commas rather than tabs."""
WHOLE = re.compile(r"([0-9]+)(\.0+)?")
USUAL = 0.9
"""Where so many images lie in a folder called like their class, the others are worth a word."""
NAMED = 4
"""So many lines that cannot be used are named in an error; the others are counted."""


class ListedImage(NamedTuple):
    """One image of a list, and the line that it stands in."""

    path: Path
    label: str
    line: int


def read_list(table: Path, root: Path) -> list[ListedImage]:
    """The images of a CSV file, in its order; one that is listed twice is taken once, with a warning.

    Args:
        table: lines of a file and a label, separated by commas, semicolons, tabs or spaces. A first line may name the columns.
        root: where paths start. All images must lie in it, those with a full path too.

    Raises:
        DataError: no such table, or lines that cannot be used; names the first few.
    """
    try:
        with open(table, encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            separator = next((each for each in SEPARATORS if each in first.strip()), ",")
            reader = csv.reader(file, delimiter=separator)
            lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if any(map(str.strip, cells))]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise DataError(f"{table}: cannot be read ({reason}); expected a file of lines such as images/0001.png,14") from error
    if not lines:
        raise DataError(f"{table}: no lines; expected a file and a label in each, such as images/0001.png,14")
    (path_column, label_column), headed = _columns(lines[0][1], table, root)
    rows, problems = _rows(lines[headed:], table, root, path_column, label_column)
    if problems:
        more = f" and {len(problems) - NAMED:,} more" if len(problems) > NAMED else ""
        listed = ", ".join(problems[:NAMED]) + more
        raise DataError(
            f"{table}: {len(problems):,} of {len(lines) - headed:,} lines cannot be used: {listed}; mend the list, or take them out"
        )
    if not rows:
        raise DataError(f"{table}: no images, only a line of names; expected a file and a label in each line below")
    _say_contradictions(rows, table)
    return rows


def _columns(first: Sequence[str], table: Path, root: Path) -> tuple[tuple[int, int], bool]:
    """The columns of path and label, and whether the first line names them."""
    names = [cell.lower() for cell in first]
    path, label = (next((names.index(each) for each in known if each in names), None) for known in (PATHS, LABELS))
    if path is not None and label is not None:
        return (path, label), True
    if len(first) == 2 and path is None and label is None:
        swapped = not (root / first[0]).is_file() and (root / first[1]).is_file()
        return ((1, 0) if swapped else (0, 1)), False
    found = ", ".join(first)[:80]
    raise DataError(
        f"{table}:1: its columns are {found}; expected one called path, file or filename, and one called label, class or ClassId"
    )


def _rows(
    lines: Sequence[tuple[int, list[str]]], table: Path, root: Path, path_column: int, label_column: int
) -> tuple[list[ListedImage], list[str]]:
    base = os.path.abspath(root)
    rows: dict[str, ListedImage] = {}
    problems: list[str] = []
    repeated: list[tuple[ListedImage, ListedImage]] = []
    for line, cells in lines:
        if len(cells) <= max(path_column, label_column) or not cells[path_column] or not cells[label_column]:
            problems.append(f"line {line}: a file or a label is missing")
            continue
        name, label = cells[path_column].replace("\\", "/"), _label(cells[label_column])
        # Judged as text: a link inside the folder is its owner's, a `..` in the list is not.
        full = os.path.normpath(os.path.join(base, name))
        if "\0" in full or os.path.commonpath([base, full]) != base:
            problems.append(f"line {line}: {name} does not lie in {root}; set root to a folder that holds all images")
            continue
        row = ListedImage(Path(full), label, line)
        known = rows.setdefault(full, row)
        if known.label != label:
            problems.append(f"line {line}: {name} is class {label}, but in line {known.line} class {known.label}")
        elif known is not row:
            repeated.append((known, row))
    if repeated:
        known, row = repeated[0]
        more = f" (and {len(repeated) - 1:,} more such lines)" if len(repeated) > 1 else ""
        log.warning("%s", printable(f"{table}:{row.line}: {row.path.name} is listed twice, first in line {known.line}; read once{more}"))
    return list(rows.values()), problems


def _label(text: str) -> str:
    """3.0, which is what programs make of a 3 in a column with gaps, is 3."""
    whole = WHOLE.fullmatch(text)
    return whole[1] if whole else text


def _say_contradictions(rows: Sequence[ListedImage], table: Path) -> None:
    other = [row for row in rows if _plain(row.path.parent.name) != _plain(row.label)]
    if other and len(other) <= (1 - USUAL) * len(rows):
        row = other[0]
        more = f" (and {len(other) - 1:,} more such lines)" if len(other) > 1 else ""
        folder = f"lies in folder {row.path.parent.name}; the list is believed{more}"
        log.warning("%s", printable(f"{table}:{row.line}: {row.path.name} is class {row.label}, but {folder}"))


def _plain(name: str) -> str:
    return name.lstrip("0") or "0" if name.isdigit() else name
