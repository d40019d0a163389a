"""Results as typed data: one `Result` per measured cell, stored as `rows/*.json`; tables and figures only read them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from advrun.data import is_guess
from advrun.geometry import GEOMETRIES

CLEAN = "clean"
WORST_CASE, CLOSEST = "worst case", "closest example"
ZERO_GRADIENTS, STATIC_WINS, MORE_EPS_HELPS, FEWER_STEPS_WIN, UNBROKEN, UNMOVED, GUESSES = (
    "zero-gradients",
    "static-wins",
    "more-eps-helps",
    "fewer-steps-win",
    "unbroken",
    "unmoved",
    "guesses",
)
GLOSSARY = {
    ZERO_GRADIENTS: "The loss gradient of some images is zero, or not a number: a gradient attack is blind there, the model not robust.",
    STATIC_WINS: "Replayed examples fool the system more often than examples crafted against it: its gradients mislead.",
    MORE_EPS_HELPS: "A larger eps leaves a higher accuracy, which no true robustness does: the attack fails.",
    FEWER_STEPS_WIN: "An attack with fewer gradients at the same eps is stronger: this one did not converge, or gradients mislead.",
    UNBROKEN: "An attack that may go as far as it needs left more than 2 % right: it failed, or ran too few steps.",
    UNMOVED: "An attack within a ball gave more than 2 % of the images back as they were, still right: it did nothing there.",
    GUESSES: "Hardly more clean images are right than by naming the commonest class: nothing that is said of such a model means much.",
}
"""What each flag means: why an accuracy is to be doubted."""
SLACK = 0.005
"""Differences of accuracy up to this are no reason for a flag."""
THREATS = ("none", "static", "adaptive", "transfer", "blackbox")


@dataclass(frozen=True)
class Row:
    """One line of the accuracy table.

    model, defense, attack: labels from the YAML file; defense is "none" for the undefended model; attack is "clean" for
        unattacked images, "worst case" and "closest example" for the per-example minimum over attacks.
    target: what a targeted attack aims at, as in the YAML file: a class number, "random", ...; "" for untargeted ones.
    settings: the attack's settings in full. budget: the same in a few words, e.g. "5 x 100 steps".
    eps, norm: the ball, or eps None where a minimal-norm attack may go as far as it needs. norm is "linf", "l2", ... or "".
    threat: none (clean), static (crafted on the undefended model and replayed), adaptive (crafted on the whole defended
        system), transfer, blackbox.
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

    def flat(self) -> dict[str, Any]:
        """The row with its metrics as columns of their own: what the tables hold."""
        columns = asdict(self)
        metrics = columns.pop("metrics")
        return columns | metrics


@dataclass(frozen=True, eq=False)
class Result:
    """A row with the per-example outcomes behind it, in evaluation order.

    labels, predictions: (n,) int32. distances: (n,) float32, how far each image was moved, in the row's norm; 0 without a norm.
    """

    row: Row
    labels: np.ndarray
    predictions: np.ndarray
    distances: np.ndarray

    @property
    def correct(self) -> np.ndarray:
        """(n,) bool."""
        return self.labels == self.predictions

    def to_json(self) -> str:
        arrays = {name: getattr(self, name).tolist() for name in ARRAYS}
        content = {"row": asdict(self.row), **arrays}
        return json.dumps(content, indent=None, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Result:
        content = json.loads(text)
        row = content["row"]
        row["interval"], row["flags"] = tuple(row["interval"]), tuple(row["flags"])
        return cls(Row(**row), *(np.asarray(content[name], dtype) for name, dtype in ARRAYS.items()))

    @classmethod
    def read(cls, path: Path) -> Result:
        return cls.from_json(path.read_text(encoding="utf-8"))


ARRAYS = {"labels": np.int32, "predictions": np.int32, "distances": np.float32}
"""The per-example outcomes of a `Result`."""


def binomial_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact two-sided interval of a proportion (Clopper and Pearson, 1934, doi:10.1093/biomet/26.4.404)."""
    from scipy.stats import beta

    tail = (1 - confidence) / 2
    low = 0.0 if successes == 0 else float(beta.ppf(tail, successes, n - successes + 1))
    high = 1.0 if successes == n else float(beta.ppf(1 - tail, successes + 1, n - successes))
    return low, high


def flagged(results: Iterable[Result]) -> list[Result]:
    """The same results, with the flags that they raise by themselves and beside each other (Carlini et al., 2019, arXiv:1902.06705)."""
    results = list(results)
    return [replace(result, row=replace(result.row, flags=(*result.row.flags, *_doubts(result, results)))) for result in results]


def _doubts(result: Result, results: list[Result]) -> Iterable[str]:
    row = result.row
    if row.attack == CLEAN and is_guess(row.accuracy, result.labels):
        yield GUESSES
    if row.threat != "adaptive" or row.target:
        return
    if row.norm and row.eps is None and row.accuracy > 0.02:
        yield UNBROKEN
    if row.eps is not None and (result.correct & (result.distances == 0)).mean() > 0.02:
        yield UNMOVED
    weaker = [other.row for other in results if _comparable(other.row, row) and _stronger(other, result)]
    same_attack = [other for other in weaker if (other.attack, other.settings) == (row.attack, row.settings)]
    if any(other.threat == "static" and other.eps == row.eps for other in same_attack):
        yield STATIC_WINS
    adaptive = [other for other in weaker if other.threat == "adaptive" and row.eps is not None]
    if any((other.eps or 0.0) < (row.eps or 0.0) for other in adaptive if other.attack == row.attack):
        yield MORE_EPS_HELPS
    if any(other.eps == row.eps and other.gradients < row.gradients / 2 for other in adaptive):
        yield FEWER_STEPS_WIN


def _comparable(other: Row, row: Row) -> bool:
    """Whether two attacks met the same system in the same norm."""
    same = (other.model, other.defense, other.seed, other.norm) == (row.model, row.defense, row.seed, row.norm)
    return same and not other.target


def _stronger(other: Result, result: Result) -> bool:
    """Whether `other` leaves clearly less, on the images that both attacked."""
    n = min(other.row.n, result.row.n)
    return bool(other.correct[:n].mean() < result.correct[:n].mean() - SLACK)


def worst_cases(results: Iterable[Result]) -> list[Result]:
    """The headline: an image counts as right only if it survives every attack within the same budget (norm, and up to eps).

    Static: over the replayed attacks. Adaptive: over the adaptive attacks and the replayed ones too, since whoever can
    do the first can do the second; so the adaptive worst case is never above the static one. Where attacks ran on
    different numbers of images, the common ones count: evaluation subsets are nested prefixes of one order; attacks at
    a smaller eps, and those without eps that came near enough, count for the images that they have. Targeted attacks take
    part: an image that they move to any other class has not survived. Attacks without a norm share no budget, and do not.
    Where there are attacks without eps beside others of the norm, their worst case is the closest example of each image.
    """
    results = [result for result in results if result.row.threat in ("static", "adaptive") and result.row.norm]
    budgets = dict.fromkeys((_system(result.row), result.row.eps, result.row.threat) for result in results)
    worst = (_worst([result for result in results if _system(result.row) == system], eps, threat) for system, eps, threat in budgets)
    return [result for result in worst if result]


def _system(row: Row) -> tuple[Any, ...]:
    return row.model, row.defense, row.seed, row.norm


def _worst(results: list[Result], eps: float | None, threat: str) -> Result | None:
    """Over the results of one system and norm; None for the closest example where there is but one attack."""
    usable = [result for result in results if result.row.threat in ("static", threat)]
    own = [result for result in usable if result.row.eps == eps]
    members = own + [result for result in usable if result.row.eps != eps and (eps is None or (result.row.eps or 0) < eps)]
    if eps is None and len({(member.row.attack, member.row.target) for member in members}) == 1:
        return None
    reach = GEOMETRIES[own[0].row.norm](math.inf if eps is None else eps).reach
    n = min(member.row.n for member in own)
    labels, predictions = own[0].labels[:n], own[0].labels[:n].copy()
    closest = np.full(n, np.inf, np.float32)
    for member in members:
        known = slice(min(n, member.row.n))
        distances = member.distances[known]
        closer = ~member.correct[known] & (distances <= reach) & (distances < closest[known])
        predictions[known] = np.where(closer, member.predictions[known], predictions[known])
        closest[known] = np.where(closer, distances, closest[known])
    right = int((predictions == labels).sum())
    moved = closest[np.isfinite(closest) & (closest > 0)]  # misclassified images were not
    kindred = [member.row for member in members if (member.row.eps is None) == (eps is None)]  # whose doubts are doubts about this
    row = replace(
        own[0].row,
        attack=CLOSEST if eps is None else WORST_CASE,
        target="",
        threat=threat,
        n=n,
        accuracy=right / n,
        interval=binomial_interval(right, n),
        settings={"over": sorted({member.row.attack for member in own if member.row.threat == threat})},
        budget="over " + ", ".join(sorted({member.row.attack for member in members})),
        metrics={own[0].row.norm: float(moved.mean())} if eps is None and len(moved) else {},
        gradients=math.fsum(member.row.gradients for member in members),
        queries=math.fsum(member.row.queries for member in members),
        seconds=math.fsum(member.row.seconds for member in members),
        flags=tuple(sorted({flag for row in kindred for flag in row.flags})),
    )
    return Result(row, labels, predictions, np.where(np.isfinite(closest), closest, 0))
