"""Do the errors go to the same few classes (Szegedy et al., 2014, arXiv:1312.6199; Moosavi-Dezfooli et al., 2017, arXiv:1610.08401)?"""

from __future__ import annotations

import numpy as np

from advrun.metrics import Outcome


def wrong_labels(outcome: Outcome) -> dict[str, float | None]:
    """Of the fooled images: the share that got their class's commonest wrong answer, and, of all, the commonest wrong answer's share.

    1 where each class has one wrong answer; None where none is fooled. What two systems have in common is in `transferability`.
    """
    if outcome.attacked is None or not outcome.fooled.any():
        return {"same_wrong_share": None, "commonest_wrong_share": None}
    y, said = outcome.y[outcome.fooled], outcome.after.argmax(-1)[outcome.fooled]
    alike = sum(int(np.bincount(said[y == label]).max()) for label in np.unique(y))
    return {"same_wrong_share": alike / len(y), "commonest_wrong_share": float(np.bincount(said).max() / len(y))}
