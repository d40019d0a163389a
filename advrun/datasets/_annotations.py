"""The annotation tables of GTSRB: one line for each image, with its region of interest and its class."""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from advrun.errors import DataError, printable

log = logging.getLogger("advrun")

HIGHEST = 99_999
"""File names have five digits for the track, and five for the number."""
COLUMNS = ("Roi.X1", "Roi.Y1", "Roi.X2", "Roi.Y2", "ClassId")

Problem = tuple[Path, str]
"""A file and the reason why it cannot be used."""


class Annotation(NamedTuple):
    """One image. box: left, top, right, bottom in pixels, right and bottom excluded. track: -1 for test images."""

    label: int
    track: int
    number: int
    path: Path
    box: tuple[int, int, int, int]


def read_table(
    table: Path, folder: Path, *, delimiter: str, name_column: str, tracked: bool, classes: int
) -> tuple[list[Annotation], list[Problem]]:
    """Read one CSV file. A row whose class is not that of its folder, and an image listed twice, are warned of with their line.

    Args:
        table: the CSV file, any line ends.
        folder: where the image paths in it start.
        delimiter: the official files use a semicolon, Kaggle's a comma.
        name_column: the column that holds the image's path.
        tracked: True where names end in TRACK_FRAME (training images), False where they are one number.
        classes: labels must lie in 0 .. classes - 1.

    Raises:
        DataError: the file is missing, or is no such table. Single bad lines are returned as problems.
    """
    annotations: dict[Path, tuple[Annotation, int]] = {}
    problems: list[Problem] = []
    repeated: list[str] = []
    try:
        with open(table, encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, delimiter=delimiter)
            header = rows.fieldnames or []
            missing = [name for name in (name_column, *COLUMNS) if name not in header]
            if missing:
                found = delimiter.join(header)[:80]
                raise DataError(f"{table}: no column {missing[0]!r} in its first line ({found!r}); fetch the file again")
            for row in rows:
                try:
                    annotation = _annotation(row, folder, name_column, tracked, classes)
                    known = annotations.setdefault(annotation.path, (annotation, rows.line_num))
                    if known[0] is not annotation:
                        repeated.append(f"{rows.line_num}: {annotation.path.name} is listed twice, first in line {known[1]}; read once")
                except TypeError:
                    problems.append((table, f"line {rows.line_num}: columns are missing"))
                except ValueError as error:
                    problems.append((table, f"line {rows.line_num}: {error}"))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise DataError(f"{table}: cannot be read ({reason}); fetch the file again") from error
    foreign = [
        f"{line}: class {row.label}, but the folder of {row.path.name} is {row.path.parent.name}; the table is believed"
        for row, line in annotations.values()
        if row.path.parent.name.isdecimal() and int(row.path.parent.name) != row.label
    ]
    for lines in (repeated, foreign):
        _warn(table, lines)
    return [annotation for annotation, _ in annotations.values()], problems


def _warn(table: Path, found: Sequence[str]) -> None:
    if found:
        more = f" (and {len(found) - 1:,} more such lines)" if len(found) > 1 else ""
        log.warning("%s", printable(f"{table}:{found[0]}{more}"))


def _annotation(row: Mapping[str, str], folder: Path, name_column: str, tracked: bool, classes: int) -> Annotation:
    name = PurePosixPath(row[name_column])
    if name.is_absolute() or ".." in name.parts:
        raise ValueError(f"{name} leads out of the folder")
    label = int(row["ClassId"])
    if not 0 <= label < classes:
        raise ValueError(f"class {label} of {name} is not in 0..{classes - 1}")
    parts = name.stem.split("_")
    if tracked and len(parts) < 2:
        raise ValueError(f"{name} is not named TRACK_FRAME")
    left, top, right, bottom = (int(row[column]) for column in COLUMNS[:4])
    track, number = int(parts[-2]) if tracked else -1, int(parts[-1])
    if max(track, number) > HIGHEST:
        raise ValueError(f"{name} has a number above {HIGHEST}")
    # Both ends of the region belong to it.
    box = (left, top, right + 1, bottom + 1)
    return Annotation(label, track, number, folder / name, box)
