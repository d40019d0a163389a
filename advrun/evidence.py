"""What metrics have looked for on a sample, and found: flags that need no other row.

A metric whose columns are such evidence leaves counts, of how many images were tried and how many of them speak against the number; here
they are weighed. (Carlini et al., 2019, On Evaluating Adversarial Robustness, arXiv:1902.06705, section 5)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from advrun.meanings import NOISE_WINS, PROBABILITIES, RANDOMISED, SATURATED, SILENT, UNBOUNDED, UNCONVERGED, UNPROVEN, UNREPRODUCED
from advrun.paired import at_least
from advrun.proof import ENOUGH
from advrun.results import CLEAN, Result, Row

Suspicion = tuple[str, float]
"""A flag, and how likely it is to look so by chance."""
COUNTS = {
    NOISE_WINS: ("noise_fooled", "noise_tried", 0.02),
    UNCONVERGED: ("more_steps_fooled", "more_steps_tried", 0.05),
    SILENT: ("silent", "silent_tried", 0.02),
    UNBOUNDED: ("unbounded_right", "unbounded_tried", 0.02),
}
"""Columns: how many speak against the number, of how many; and the share of these that has reasons of its own."""
SURE = 0.5
"""A model that is beyond float32 on so many clean images is saturated; a few are so of any model that was trained for long."""
REPRODUCED = 0.15
"""By so much fewer test images than validation images may be right: the latter are of the training set's own making."""


def certain(row: Row) -> Iterator[str]:
    """Flags that no chance explains."""
    if row.metrics.get("probabilities"):
        yield PROBABILITIES
    if (row.metrics.get("saturated") or 0.0) >= SURE:
        yield SATURATED
    if row.metrics.get("unsteady"):
        yield RANDOMISED
    score = row.metrics.get("planted_score")
    if score is not None and score < ENOUGH:
        yield UNPROVEN


def suspected(result: Result, promised: Mapping[tuple[str, str, int], float]) -> Iterator[Suspicion]:
    """Flags of one result by itself.

    promised: by model, defence and seed, the share of the validation images that was right when the system was trained.
    """
    row = result.row
    for flag, (found, tried, share) in COUNTS.items():
        if row.metrics.get(tried):
            yield flag, at_least(round(row.metrics[found] or 0), round(row.metrics[tried] or 0), share)
    before = promised.get((row.model, row.defense, row.seed))
    if row.attack == CLEAN and before is not None and before > REPRODUCED:
        yield UNREPRODUCED, at_least(int((~result.correct).sum()), row.n, 1 - before + REPRODUCED)
