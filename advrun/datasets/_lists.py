"""Lists of image files with their labels, as CSV: which column is which, which lines cannot be used, and what contradicts itself."""

from __future__ import annotations

import codecs
import csv
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from advrun.datasets._tree import is_image
from advrun.errors import DataError, printable

log = logging.getLogger("advrun")

PATHS = (
    *("path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path", "img", "img_path", "image_name"),
    *("name", "image_id", "id"),
)
LABELS = ("label", "class", "classid", "class_id", "class_name", "classname", "labels", "target", "category", "y", "tag")
LOOKED_AT = 50
"""So many lines tell which column holds the files, where no line names the columns."""
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
    lines = _lines(table)
    if not lines:
        raise DataError(f"{table}: no lines; expected a file and a label in each, such as images/0001.png,14")
    (path_column, label_column), headed = _columns([cells for _, cells in lines[: LOOKED_AT + 1]], table, root)
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


def _lines(table: Path) -> list[tuple[int, list[str]]]:
    """The cells of each line that is not empty, with its number. UTF-8, or UTF-16 where the file says so. Raises DataError."""
    try:
        with open(table, "rb") as raw:
            wide = raw.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        with open(table, encoding="utf-16" if wide else "utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            separator = next((each for each in SEPARATORS if each in first.strip()), ",")
            reader = csv.reader(file, delimiter=separator)
            return [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if any(map(str.strip, cells))]
    except UnicodeError as error:
        raise DataError(f"{table}: cannot be read (it is not in UTF-8); save it as UTF-8") from error
    except (OSError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise DataError(f"{table}: cannot be read ({reason}); expected a file of lines such as images/0001.png,14") from error


def _columns(lines: Sequence[Sequence[str]], table: Path, root: Path) -> tuple[tuple[int, int], bool]:
    """The columns of path and label, and whether the first line names them: by the names, else by where files are."""
    first, others = lines[0], lines[1:]
    names = [cell.lower() for cell in first]
    path, label = (next((names.index(each) for each in known if each in names), None) for known in (PATHS, LABELS))
    if path is not None and label is not None:
        return (path, label), True
    found = ", ".join(first)[:80]
    if len(first) == 2:
        path = max((0, 1), key=lambda column: _files(lines, column, root))
        if _is_data(first[path], root) or WHOLE.fullmatch(first[1 - path]):
            return (path, 1 - path), False
        if _files(others, path, root)[0]:
            log.warning("%s", printable(f"{table}:1: {found}: taken as the names of the columns, for no such file is there"))
            return (path, 1 - path), True
        if not {*names} & {*PATHS, *LABELS}:
            return (path, 1 - path), False
    if len(first) > 2 and any(_is_data(cell, root) for cell in first):
        raise DataError(
            f"{table}:1: {len(first)} columns ({found}), and no line that names them; put one above, such as path,label,..., "
            "or quotes around paths with blanks or commas"
        )
    raise DataError(
        f"{table}:1: its columns are {found}; expected one called path, file or filename, and one called label, class or ClassId"
    )


def _files(lines: Sequence[Sequence[str]], column: int, root: Path) -> tuple[int, int]:
    """How many cells of a column are files, and how many are called like images."""
    cells = [cells[column] for cells in lines if len(cells) > column]
    return sum(_is_file(cell, root) for cell in cells), sum(is_image(Path(cell)) for cell in cells)


def _is_data(cell: str, root: Path) -> bool:
    return _is_file(cell, root) or is_image(Path(cell))


def _is_file(cell: str, root: Path) -> bool:
    return os.path.isfile(os.path.join(root, _slashes(cell)))


def _slashes(path: str) -> str:
    """Paths as Windows writes them, too."""
    return path.replace("\\", "/")


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
        name, label = _slashes(cells[path_column]), _label(cells[label_column])
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
