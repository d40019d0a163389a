"""The full table: one line per row of the results, for other programs (JSON, CSV) and for looking things up.

Times come last in JSON and CSV and nowhere else, so that all other files are the same after every repetition of a run.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from typing import Any

from advrun.report.layout import attack_label, eps_label, marks, norm_label, percent
from advrun.report.summary import Summary, attack_of
from advrun.results import Row

READABLE = ("model", "defence", "attack", "norm", "ε", "threat", "seed", "n", "accuracy", "95 % interval", "flags")


def records(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows as flat dictionaries with the same keys in the same order, `seconds` last; what is undefined is None."""
    metrics = dict.fromkeys(name for row in rows for name in row.metrics)
    return [_plain({**dict.fromkeys(metrics), **row.flat()}, [*_fields(row), *metrics, "seconds"]) for row in rows]


def to_json(rows: Sequence[Row]) -> str:
    """A list of `records`, one per line; strictly valid JSON."""
    lines = (json.dumps(record, ensure_ascii=False, allow_nan=False) for record in records(rows))
    return "[\n" + ",\n".join(lines) + "\n]\n"


def to_csv(rows: Sequence[Row]) -> str:
    """`records` with the interval in two columns, flags joined by "; " and settings as JSON; None is an empty place."""
    table = [_spread(record) for record in records(rows)]
    header = list(table[0]) if table else ["model", "defense", "attack", "threat", "seed", "n", "accuracy"]
    return write_csv([header, *(list(line.values()) for line in table)])


def readable(summary: Summary) -> list[list[str]]:
    """Header and lines as text for people: READABLE, metrics, costs per image, budget; accuracies in percent."""
    metrics, signs = list(dict.fromkeys(name for row in summary.rows for name in row.metrics)), marks(summary)
    header = [*READABLE, *(name.replace("_", " ") for name in metrics), "gradients", "queries", "budget"]
    return [header, *(_readable_line(row, metrics, signs) for row in summary.rows)]


def write_csv(lines: Sequence[Sequence[Any]]) -> str:
    """CSV text with Unix line ends."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


def _fields(row: Row) -> list[str]:
    first = ["model", "defense", "attack", "eps", "norm", "threat", "seed", "n", "accuracy", "interval", "flags"]
    others = [name for name in row.flat() if name not in (*first, *row.metrics, "metrics", "seconds")]
    return [*first, *others]


def _plain(record: dict[str, Any], names: list[str]) -> dict[str, Any]:
    return {name: _finite(record[name]) for name in names}


def _finite(value: Any) -> Any:
    """JSON knows no NaN and no infinity: both become None, at any depth."""
    if isinstance(value, dict):
        return {str(key): _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _spread(record: dict[str, Any]) -> dict[str, Any]:
    low, high = record["interval"]
    line: dict[str, Any] = {}
    for name, value in record.items():
        line.update({"low": low, "high": high} if name == "interval" else {name: value})
    settings = json.dumps(record["settings"], ensure_ascii=False, allow_nan=False)
    return {**line, "flags": "; ".join(record["flags"]), "settings": settings}


def _readable_line(row: Row, metrics: Sequence[str], signs: dict[str, str]) -> list[str]:
    low, high = row.interval
    place = [row.model, row.defense, attack_label(attack_of(row)), norm_label(row.norm), eps_label(row.norm, row.eps) if row.norm else ""]
    measured = [row.threat, str(row.seed), str(row.n), percent(row.accuracy), f"{percent(low)} to {percent(high)}"]
    further = [_number(row.metrics.get(name)) for name in metrics]
    flags = " ".join(signs[flag] for flag in row.flags)
    return [*place, *measured, flags, *further, f"{row.gradients:g}", f"{row.queries:g}", row.budget]


def _number(value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else f"{value:.4g}"
