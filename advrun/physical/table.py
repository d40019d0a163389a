"""What is known of photographs: their distance and angle by name or by a CSV, and where the sign is, if the CSV says it."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from advrun.errors import DataError

TABLE = "photos.csv"
BOX = ("left", "top", "right", "bottom")
CORNERS = ("x1", "y1", "x2", "y2", "x3", "y3", "x4", "y4")
COLUMNS = ("file", "distance", "angle", *BOX, *CORNERS)
METRES = {"m": 1.0, "cm": 0.01, "ft": 0.3048}
DISTANCE = re.compile(r"(?<![\d.])(\d+(?:[.,]\d+)?) ?(cm|m|ft)(?![a-z])", re.IGNORECASE)
ANGLE = re.compile(r"(?<![\d.])(-?\d+(?:[.,]\d+)?) ?(?:deg|°)", re.IGNORECASE)
MOST = 1_000_000
"""Bytes of a table."""


@dataclass(frozen=True, eq=False)
class Known:
    """Of one photograph. distance: metres. angle: degrees. corners: (4, 2) pixels of what the classifier is shown, clockwise from the
    top left; None where that is to be found."""

    distance: float | None = None
    angle: float | None = None
    corners: np.ndarray | None = None


def by_name(name: str) -> Known:
    """`stop_5m_30deg.jpg` is 5 m away, at 30 degrees; `10ft` and `80cm` are read too."""
    stem = Path(name).stem.replace("_", " ")
    far, turned = DISTANCE.search(stem), ANGLE.search(stem)
    distance = float(far[1].replace(",", ".")) * METRES[far[2].lower()] if far else None
    return Known(distance, float(turned[1].replace(",", ".")) if turned else None)


def read_table(path: Path) -> dict[str, Known]:
    """The rows of a CSV by `file`: distance (m), angle (degrees), and a box (left, top, right, bottom) or four corners (x1, y1, ...).

    A place that is empty is not known. Raises DataError, which names the line.
    """
    try:
        if path.stat().st_size > MOST:
            raise DataError(f"{path}: {path.stat().st_size:,} bytes; a table of photographs has at most {MOST:,}")
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{path}: no text in UTF-8; save the table as CSV") from None
    dialect = csv.excel
    reader = csv.DictReader(text.splitlines(), dialect=dialect, delimiter=";" if text.partition("\n")[0].count(";") else ",")
    names = [name.strip() for name in reader.fieldnames or []]
    unknown = [name for name in names if name not in COLUMNS]
    if "file" not in names or unknown or len(set(names)) < len(names):
        got = f"column {unknown[0]!r}" if unknown else f"columns {', '.join(names) or 'none'}"
        raise DataError(f"{path}: {got}; expected file, and any of {', '.join(COLUMNS[1:])}, each once")
    reader.fieldnames = names
    rows: dict[str, Known] = {}
    try:
        for row in reader:
            where = f"{path}:{reader.line_num}"
            name = (row["file"] or "").strip()
            if not name or name in rows:
                raise DataError(f"{where}: file is {name!r}; expected the name of a photograph, each once")
            rows[name] = _known(row, where)
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: {error}") from None
    return rows


def _known(row: Mapping[str, str | None], where: str) -> Known:
    if None in row:  # the key of what has no column
        raise DataError(f"{where}: more fields than columns")
    numbers = ((name, _number(text, name, where)) for name, text in row.items() if name != "file")
    values = {name: value for name, value in numbers if value is not None}
    return Known(values.get("distance"), values.get("angle"), _corners(values, where))


def _number(text: str | None, name: str, where: str) -> float | None:
    if not (text or "").strip():
        return None
    try:
        value = float(str(text).strip())
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or abs(value) > 1e6 or (name == "distance" and value <= 0):
        raise DataError(f"{where}: {name} is {text!r}; expected a number{' of metres above 0' if name == 'distance' else ''}")
    return value


def _corners(values: Mapping[str, float], where: str) -> np.ndarray | None:
    """Of a box, or of four corners: convex, and clockwise."""
    given = [name for name in (*BOX, *CORNERS) if name in values]
    if not given:
        return None
    if tuple(given) == BOX:
        left, top, right, bottom = (values[name] for name in BOX)
        points = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
    elif tuple(given) == CORNERS:
        points = np.array([values[name] for name in CORNERS]).reshape(4, 2)
    else:
        raise DataError(f"{where}: {', '.join(given)} alone; expected all of {', '.join(BOX)}, or all of {', '.join(CORNERS)}")
    sides = np.roll(points, -1, 0) - points
    following = np.roll(sides, -1, 0)
    if not (sides[:, 0] * following[:, 1] - sides[:, 1] * following[:, 0] > 1e-6).all():
        raise DataError(f"{where}: no corners of a sign; expected top left, top right, bottom right, bottom left, in pixels")
    return points
