"""Results as typed data: one `Result` per measured cell, stored as `rows/*.json`; tables and figures only read them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from advrun.files import read_json
from advrun.geometry import GEOMETRIES

CLEAN = "clean"
REJECTED = "rejected"
"""What an image is called that a detector rejects; its number is that of a class more."""
WORST_CASE, CLOSEST = "worst case", "closest example"
THREATS = ("none", "static", "adaptive", "transfer", "blackbox")
"""The order of the tables; others of one's own follow."""
ONE_DRAW, SPREAD, DISAGREE = "accuracy_one_draw", "accuracy_spread", "disagree_share"
"""Metrics of the rows of random systems, see `evaluate.varied`."""
SAID = ("source", "access")
"""Columns of rows that have something to say there; elsewhere they are left out."""


@dataclass(frozen=True)
class Row:
    """One line of the accuracy table.

    model, defense, attack: labels from the YAML file; defense is "none" for the undefended model; attack is "clean" for
        unattacked images, "worst case" and "closest example" for the per-example minimum over attacks.
    target: what a targeted attack aims at, as in the YAML file: a class number, "random", ...; "" for untargeted ones.
    settings: the attack's settings in full. budget: the same in a few words, e.g. "5 x 100 steps".
    eps, norm: the ball, or eps None where a minimal-norm attack may go as far as it needs. norm is "linf", "l2", ... or "".
    threat: none (clean), static (crafted on the undefended model and replayed), adaptive (crafted on the whole defended
        system), transfer (crafted on another model), or another of `advrun/threats/`.
    source: the system that the images were crafted on, where it is neither this one nor its undefended model: "lnet / hybrid"; else "".
    access: what the attacker could see of this system, where its threat says so: gradients, scores, decisions, blind; else "".
    n: images measured, clean errors included. accuracy: share of n classified right, 0 to 1.
    interval: exact binomial (Clopper and Pearson, 1934) 95 % interval of accuracy.
    metrics: further columns by name, from `advrun/metrics/`: numbers, or None where undefined.
    gradients, queries: gradient evaluations, and forward passes without gradient, per attacked image.
    seconds: crafting time. flags: reasons not to trust the number; empty is good.
    """

    model: str
    defense: str
    attack: str
    threat: str
    seed: int
    n: int
    accuracy: float
    interval: tuple[float, float]
    eps: float | None = None
    norm: str = ""
    target: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    budget: str = ""
    metrics: dict[str, float | None] = field(default_factory=dict)
    gradients: float = 0.0
    queries: float = 0.0
    seconds: float = 0.0
    flags: tuple[str, ...] = ()
    source: str = ""
    access: str = ""

    def flat(self) -> dict[str, Any]:
        """The row with its metrics as columns of their own: what the tables hold."""
        columns = self.said()
        metrics = columns.pop("metrics")
        return columns | metrics

    def said(self) -> dict[str, Any]:
        """The columns; those of `SAID` only where they say something."""
        return {name: value for name, value in vars(self).items() if value or name not in SAID}


@dataclass(frozen=True, eq=False)
class Result:
    """A row with the per-example outcomes behind it, in evaluation order.

    labels, predictions: (n,) int32. distances: (n,) float32, how far each image was moved, in the row's norm; 0 without a norm.
    chance: (n,) float32, of systems that vote: how probable so few votes for the true class would be, were half of all draws for it. Where
        that is small it has no majority, surely; elsewhere the votes may have fallen so. None of others.
    """

    row: Row
    labels: np.ndarray
    predictions: np.ndarray
    distances: np.ndarray
    chance: np.ndarray | None = None

    @property
    def correct(self) -> np.ndarray:
        """(n,) bool."""
        return self.labels == self.predictions

    def to_json(self) -> str:
        arrays = {name: getattr(self, name).tolist() for name in ARRAYS}
        arrays |= {} if self.chance is None else {CHANCE: self.chance.tolist()}
        content = {"row": self.row.said(), **arrays}
        return json.dumps(content, indent=None, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Result:
        return cls._from(json.loads(text))

    @classmethod
    def read(cls, path: Path) -> Result:
        """What `to_json` wrote. Raises ValueError where the file holds anything else."""
        return cls._from(read_json(path))

    @classmethod
    def _from(cls, content: Any) -> Result:
        if not isinstance(content, dict) or content.keys() - {CHANCE} != {"row", *ARRAYS}:
            raise ValueError("no measured row")
        try:
            row: Row = _row_form().validate_python(content["row"])
            arrays = [np.asarray(content[name], dtype) for name, dtype in ARRAYS.items()]
            arrays += [np.asarray(content[CHANCE], np.float32)] if CHANCE in content else []
        except (ValueError, TypeError, OverflowError) as error:
            raise ValueError("no measured row: a column is missing, or of another type") from error
        if row.n < 1 or any(array.shape != (row.n,) for array in arrays) or min(array.min() for array in arrays) < 0:
            raise ValueError("outcomes that do not belong to the row")
        if row.norm not in ("", *GEOMETRIES) or not row.threat.isidentifier() or not 0 <= row.accuracy <= 1:
            raise ValueError("values that no row has")
        return cls(row, *arrays)


@cache
def _row_form() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(Row)


ARRAYS = {"labels": np.int32, "predictions": np.int32, "distances": np.float32}
"""The per-example outcomes of a `Result`."""
CHANCE = "chance"
"""One more, which only systems that vote have."""


def binomial_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact two-sided interval of a proportion (Clopper and Pearson, 1934, doi:10.1093/biomet/26.4.404)."""
    from scipy.stats import beta

    tail = (1 - confidence) / 2
    low = 0.0 if successes == 0 else float(beta.ppf(tail, successes, n - successes + 1))
    high = 1.0 if successes == n else float(beta.ppf(1 - tail, successes + 1, n - successes))
    return low, high
