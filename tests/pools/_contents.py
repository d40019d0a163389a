"""What two results folders must have in common, whoever did the cells."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from advrun.runs.store import CELLS

FOLDERS = (*CELLS, "tables")


def contents(folder: Path) -> dict[str, Any]:
    """The bytes of every result and of every table, by name; of tables and rows all but the seconds that it took."""
    found: dict[str, Any] = {}
    for file in sorted(each for name in FOLDERS for each in (folder / name).rglob("*")):
        content: Any = file.read_bytes()
        if file.suffix == ".json":
            content = _timeless(json.loads(content))
        elif file.name == "accuracy.csv":
            content = _timeless(list(csv.DictReader(io.StringIO(content.decode()))))
        found[file.relative_to(folder).as_posix()] = content
    return found


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(each) for key, each in value.items() if "seconds" not in key}
    return list(map(_timeless, value)) if isinstance(value, list) else value
