"""The full table: one line per row of the results, for other programs (JSON, CSV) and for looking things up.

For programs, shares run from 0 to 1, `accuracy_percent` aside; for people, they are percent. Times come last in JSON and CSV
and nowhere else, so that all other files are the same after every repetition of a run.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from advrun.flags import marks
from advrun.geometry import GEOMETRIES
from advrun.report.layout import attack_label, distance_label, eps_label, is_few, norm_label, percent
from advrun.report.summary import Summary, attack_of, once
from advrun.results import SAID, Row

READABLE = ("model", "defence", "attack", "norm", "ε", "threat", "seed", "images", "accuracy, %", "95 % interval, %", "flags")
FIRST = ("model", "defense", "attack", "eps", "norm", "threat", "seed", "n", "accuracy", "interval", "accuracy_percent", "flags")
FIELDS = (*FIRST, *(field.name for field in fields(Row) if field.name not in (*FIRST, *SAID, "metrics", "seconds")))
"""Columns of every row, in the order of the tables."""
SHARES = ("attacked", "zero_gradients", "success", "optimality")
"""Metrics that are shares; others are where their name begins with accuracy or confidence, or ends in _share."""


def records(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows as flat dictionaries with the same keys in the same order, `seconds` last; what is undefined is None."""
    metrics = dict.fromkeys(name for row in rows for name in row.metrics)
    said = {name: "" for name in SAID if any(_says(row, name) for row in rows)}
    return [_plain({**dict.fromkeys(metrics), **said, **_flat(row)}, [*FIELDS, *said, *metrics, "seconds"]) for row in rows]


def to_json(entries: Sequence[Mapping[str, Any]]) -> str:
    """A list of `records`, one per line; strictly valid JSON."""
    lines = (json.dumps(record, ensure_ascii=False, allow_nan=False) for record in entries)
    return "[\n" + ",\n".join(lines) + "\n]\n"


def to_csv(entries: Sequence[Mapping[str, Any]]) -> str:
    """`records` with the interval in two columns, flags joined by "; " and settings as JSON; None is an empty place."""
    table = [_spread(record) for record in entries]
    header = list(table[0]) if table else ["model", "defense", "attack", "threat", "seed", "n", "accuracy"]
    return write_csv([header, *(list(line.values()) for line in table)])


@once
def readable(summary: Summary) -> list[list[str]]:
    """Header and lines as text for people: READABLE, metrics, costs per image, budget; accuracies in percent."""
    metrics = dict.fromkeys(name for row in summary.rows for name, value in row.metrics.items() if value is not None)
    said = [name for name in SAID if any(_says(row, name) for row in summary.rows)]
    header = [*READABLE, *said, *map(_head, metrics), "gradients per image", "queries per image", "budget"]
    written = {name: _written(name) for name in metrics}
    return [header, *(_readable_line(row, written, said) for row in summary.rows)]


def write_csv(lines: Sequence[Sequence[Any]]) -> str:
    """CSV text with Unix line ends."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


def _flat(row: Row) -> dict[str, Any]:
    return {**row.flat(), **({"source": crafted_on(row)} if crafted_on(row) else {}), "accuracy_percent": round(100 * row.accuracy, 6)}


def crafted_on(row: Row) -> str:
    """The system that the row's images were crafted on, "" for clean ones."""
    if row.source or row.threat not in ("static", "adaptive"):
        return row.source
    return f"{row.model} / {'none' if row.threat == 'static' else row.defense}"


def _says(row: Row, name: str) -> str:
    return crafted_on(row) if name == "source" else str(getattr(row, name))


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


def _spread(record: Mapping[str, Any]) -> dict[str, Any]:
    low, high = record["interval"]
    line: dict[str, Any] = {}
    for name, value in record.items():
        line.update({"low": low, "high": high} if name == "interval" else {name: value})
    settings = json.dumps(record["settings"], ensure_ascii=False, allow_nan=False)
    return {**line, "flags": "; ".join(record["flags"]), "settings": settings}


def _head(metric: str) -> str:
    """`success, %`, `mean L2`, `median L2`."""
    norm, _, kind = metric.partition("_")
    if norm in GEOMETRIES and kind in ("", "median"):
        return f"{kind or 'mean'} {norm_label(norm)}"
    if metric == "fooled":
        return "images fooled"
    return metric.replace("_", " ") + (", %" if _is_share(metric) else "")


def _is_share(metric: str) -> bool:
    return metric in SHARES or metric.startswith(("accuracy", "confidence")) or metric.endswith("_share")


def _readable_line(row: Row, written: Mapping[str, Callable[[float], str]], said: Sequence[str]) -> list[str]:
    low, high = row.interval
    attack = attack_of(row)
    place = [row.model, row.defense, attack_label(attack), norm_label(row.norm), eps_label(row.norm, row.eps) if row.norm else ""]
    measured = [row.threat, str(row.seed), str(row.n), percent(row.accuracy), f"{percent(low)} to {percent(high)}"]
    further = [_number(row, name, write) for name, write in written.items()]
    costs = ["", ""] if row.threat == "none" else [f"{row.gradients:.4g}", f"{row.queries:.4g}"]
    return [*place, *measured, marks(row.flags), *(_says(row, name) for name in said), *further, *costs, row.budget]


def _written(metric: str) -> Callable[[float], str]:
    """How its numbers are written: percent for shares."""
    if _is_share(metric):
        return percent
    return distance_label if metric.removesuffix("_median") in GEOMETRIES else "{:.4g}".format


def _number(row: Row, metric: str, write: Callable[[float], str]) -> str:
    """A distance over few images stands in parentheses."""
    value = row.metrics.get(metric)
    if value is None or not math.isfinite(value):
        return ""
    return f"({write(value)})" if write is distance_label and is_few(row.metrics.get("fooled")) else write(value)
