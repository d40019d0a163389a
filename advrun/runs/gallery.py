"""The few images of a measured row that the figures show."""

from __future__ import annotations

import numpy as np

from advrun.engine import to_unit
from advrun.metrics import Outcome, softmax
from advrun.report.findings import Gallery
from advrun.runs.columns import aim
from advrun.runs.plan import Cell

GALLERY_IMAGES = 8
"""Images per attack that the report's figures can show."""


def gallery(outcome: Outcome, x_adv: np.ndarray, cell: Cell) -> Gallery:
    """The first images that were right before the attack, as the figures show them."""
    chosen = np.flatnonzero(outcome.before.argmax(-1) == outcome.y)[:GALLERY_IMAGES]
    before, after = softmax(outcome.before[chosen]), softmax(outcome.after[chosen])
    return Gallery(
        model=cell.model.label,
        defense=cell.defense_label,
        attack=cell.attack_label,
        eps=cell.eps,
        norm=cell.norm,
        target=aim(cell),
        threat=cell.threat,
        seed=cell.seed,
        x=to_unit(outcome.images[chosen]),
        x_adv=x_adv[chosen],
        defended=outcome.classifier.purify(x_adv[chosen]) if len(chosen) else None,
        label=outcome.y[chosen],
        predicted=before.argmax(-1).astype(np.int32),
        predicted_adv=after.argmax(-1).astype(np.int32),
        confidence=before.max(-1),
        confidence_adv=after.max(-1),
    )
