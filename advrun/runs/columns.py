"""The columns of a row that are known before anything is measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from advrun.attack import bind
from advrun.runs.plan import Cell


def row(cell: Cell, cost: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a cell's row that are known before it is measured. `cost`: what crafting its images took."""
    columns: dict[str, Any] = {
        "model": cell.model.label,
        "defense": cell.defense_label,
        "attack": cell.attack_label,
        "threat": cell.threat,
        "seed": cell.seed,
    }
    columns |= {name: value for name, value in (("source", cell.source_label), ("access", cell.access)) if value}
    if cell.attack is None:
        return columns
    source = cell.attack.source_class
    only = {} if source is None else {"source_class": source}
    draws = cell.images.draws if cell.images else None
    averaged = f"gradients and answers of {draws} draws" if draws and draws > 1 else ""
    words = filter(None, (bind(cell.attack, cell.eps).budget(), "" if source is None else f"class {source} alone", averaged))
    return columns | {
        "eps": cell.eps,
        "norm": cell.norm,
        "target": aim(cell),
        "settings": dict(cell.attack.settings) | only,
        "budget": ", ".join(words)
        + (" for each class" if aim(cell) == "all" else "")
        + (f", {cost['learning']} to learn" if cost.get("learning") else ""),  # asked once, whatever the number of images
        **{name: cost[name] for name in ("gradients", "queries", "seconds")},
    }


def aim(cell: Cell) -> str:
    """What a targeted attack aims at, as in the YAML file."""
    return "" if cell.attack is None or cell.attack.target is None else str(cell.attack.target)
