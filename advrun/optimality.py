"""How much of what is known to be possible an attack has reached: its optimality against the closest examples known.

Cinà et al. (AttackBench, AAAI 2025, arXiv:2404.19460), local optimality: the robustness-distance curve of an attack is the share of the
images that are still right within each distance; that of the closest examples of all attacks lies below it. With the areas A and A* under
both, from 0 to the farthest D of the closest examples, and the clean accuracy c, it is

    1 - (A - A*) / (c D - A*)

1 where the attack has come as near as anybody on every image, 0 where it has reached nothing within D.

NOTE: the curves are steps, so the area of one is the mean of the distances, each D at most; AttackBench's code joins the steps by straight
lines. An attack within a given eps speaks of one point of the curve: there both areas shrink to the accuracies, and it is the share that
it fooled of the images of which an example within eps is known.

NOTE: for a given D a new example, or a weaker attack, never raises the number. D itself is nearer once a nearer example of the
farthest image is known; then numbers are measured on a shorter axis, and may change either way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from advrun.geometry import DISTANCE_ROUNDING, GEOMETRIES
from advrun.results import Result, Row

COLUMN = "optimality"
"""What tables call it."""


class Target(NamedTuple):
    """What examples are known of: a system, in one norm."""

    model: str
    defense: str
    seed: int
    norm: str

    @classmethod
    def of(cls, row: Row) -> Target:
        return cls(row.model, row.defense, row.seed, row.norm)


def optimality(distances: np.ndarray, closest: np.ndarray, horizon: float | None = None) -> float | None:
    """Of an attack that looks for the nearest example, 0 to 1; None where nothing tells attacks apart.

    Args:
        distances: (n,) how far its example of each image is: 0 where the image is wrong without an attack, inf where it found none.
        closest: (n,) the same of the closest examples known; the attack's own are known too.
        horizon: D; the farthest of the closest examples by default.
    """
    closest = np.minimum(closest, distances).astype(np.float64)
    is_right, is_known = closest > 0, np.isfinite(closest)
    if not (is_right & is_known).any():
        return None
    horizon = float(closest[is_known].max()) if horizon is None else horizon
    possible = float((horizon - np.minimum(closest, horizon))[is_right].sum())
    reached = float((horizon - np.minimum(distances.astype(np.float64), horizon))[is_right].sum())
    return reached / possible if possible > 0 else None


def found(distances: np.ndarray, closest: np.ndarray, reach: float) -> float | None:
    """Of an attack within a ball that reaches so far: the share that it fooled of the images that are known to fall, None without any."""
    closest = np.minimum(closest, distances)
    falls = (closest > 0) & (closest <= reach)
    return float((distances[falls] <= reach).mean()) if falls.any() else None


def beside(results: Iterable[Result], known: Mapping[Target, np.ndarray]) -> None:
    """Put the optimality of each attack into its row.

    results: measured rows, all of a run. known: the distances (images of the test set,), in evaluation order, of the closest examples, inf
    where there is none, for each system that answers the same way twice. What attacks of the run itself have found is known too.
    """
    results = list(results)
    clean = {Target.of(each.row)[:3]: each.correct for each in results if each.row.threat == "none"}
    attacks = [each for each in results if Target.of(each.row) in known and each.row.settings.get("source_class") is None]
    reached = {id(each): _distances(each, clean.get(Target.of(each.row)[:3])) for each in attacks}
    closest = {target: distances.copy() for target, distances in known.items()}
    for each in attacks:
        best, own = closest[Target.of(each.row)], reached[id(each)]
        n = min(len(best), len(own))
        same = np.isclose(best[:n], own[:n], rtol=DISTANCE_ROUNDING, atol=0)  # one example, by a row in float32 and the ledger in float64
        best[:n] = np.where(same, own[:n], np.minimum(best[:n], own[:n]))
    for each in attacks:
        own, eps = reached[id(each)], each.row.eps
        best = closest[Target.of(each.row)][: len(own)]
        own = own[: len(best)]
        value = optimality(own, best) if eps is None else found(own, best, GEOMETRIES[each.row.norm](eps).reach)
        each.row.metrics[COLUMN] = value


def _distances(result: Result, clean: np.ndarray | None) -> np.ndarray:
    """(n,) float64, as `optimality` takes them. clean: which images the system has right without an attack, where that was measured."""
    distances = np.where(result.correct, np.inf, result.distances.astype(np.float64))
    return distances if clean is None else np.where(clean[: len(distances)], distances, 0.0)
