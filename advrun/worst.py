"""The worst case over attacks, image by image: the number of the headline."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from advrun.flags import in_order
from advrun.geometry import GEOMETRIES
from advrun.meanings import WEAKNESSES
from advrun.results import CLOSEST, WORST_CASE, Result, Row, binomial_interval


def worst_cases(results: Iterable[Result]) -> list[Result]:
    """The headline: an image counts as right only if it survives every attack within the same budget (norm, and up to eps).

    Static: over the replayed attacks. Adaptive: over the adaptive attacks and the replayed ones too, since whoever can
    do the first can do the second; so the adaptive worst case is never above the static one. Where attacks ran on
    different numbers of images, the common ones count: evaluation subsets are nested prefixes of one order; attacks at
    a smaller eps, and those without eps that came near enough, count for the images that they have. Targeted attacks take
    part: an image that they move to any other class has not survived. Attacks without a norm share no budget, and do not.
    Where there are attacks without eps beside others of the norm, their worst case is the closest example of each image.
    """
    results = list(results)
    clean = {_system(result.row)[:3]: result.correct for result in results if result.row.threat == "none"}
    results = [result for result in results if result.row.threat in ("static", "adaptive") and result.row.norm]
    budgets = dict.fromkeys((_system(result.row), result.row.eps, result.row.threat) for result in results)
    by_system: dict[tuple[Any, ...], list[Result]] = {}
    for result in results:
        by_system.setdefault(_system(result.row), []).append(result)
    worst = (_worst(by_system[system], eps, threat, clean.get(system[:3])) for system, eps, threat in budgets)
    return [result for result in worst if result]


def _system(row: Row) -> tuple[Any, ...]:
    return row.model, row.defense, row.seed, row.norm


def _worst(results: list[Result], eps: float | None, threat: str, clean: np.ndarray | None) -> Result | None:
    """Over the results of one system and norm; None for the closest example where there is but one attack.

    clean: which images the system has right without an attack, where that was measured.
    """
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
    moved = closest[np.isfinite(closest) & (closest > 0) & (True if clean is None else clean[:n])]  # what is wrong anyway needs no example
    kindred = [member.row for member in members if (member.row.eps is None) == (eps is None)]  # whose doubts are doubts about this
    row = replace(
        own[0].row,
        attack=CLOSEST if eps is None else WORST_CASE,
        target="",
        access="",
        threat=threat,
        n=n,
        accuracy=right / n,
        interval=binomial_interval(right, n),
        settings={"over": sorted({member.row.attack for member in own if member.row.threat == threat})},
        budget="over " + ", ".join(sorted({member.row.attack for member in members})),
        metrics=_distances(own[0].row.norm, moved) if eps is None else {},
        gradients=math.fsum(member.row.gradients for member in members),
        queries=math.fsum(member.row.queries for member in members),
        seconds=math.fsum(member.row.seconds for member in members),
        flags=tuple(in_order(_doubts(kindred, [member.row for member in own if member.row.threat == threat]))),
    )
    return Result(row, labels, predictions, np.where(np.isfinite(closest), closest, 0))


def _doubts(kindred: list[Row], own: list[Row]) -> set[str]:
    """All doubts of the rows, but for those of single attacks that are too weak where another one is not."""
    doubts = {flag for row in kindred for flag in row.flags}
    return doubts if all(WEAKNESSES.intersection(row.flags) for row in own) else doubts - WEAKNESSES


def _distances(norm: str, moved: np.ndarray) -> dict[str, float | None]:
    """Columns as those of the metric `distance`."""
    known = {norm: float(moved.mean()), f"{norm}_median": float(np.median(moved))} if len(moved) else {}
    return {"fooled": float(len(moved)), **known}
