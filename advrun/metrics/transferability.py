"""What crosses over from system to system (Szegedy et al., 2014, arXiv:1312.6199; the same class: Goodfellow et al., arXiv:1412.6572)."""

from __future__ import annotations

from advrun.agreement import agreement
from advrun.metrics import Transferred


def transferability(outcome: Transferred) -> dict[str, float | None]:
    """Of the images that source and target got right: how many fool the target, and how often both then say the same wrong class."""
    found = agreement(outcome.y, outcome.both_right, outcome.source_after, outcome.answers)
    compared = bool(found.both)
    return {
        "both_right": found.n,
        "transfer_share": found.share,
        "transfer_low_share": found.low if found.n else None,
        "transfer_high_share": found.high if found.n else None,
        "fooled_both": found.both,
        "same_class_share": found.same_share,
        "same_class_low_share": found.same_low if compared else None,
        "same_class_high_share": found.same_high if compared else None,
        "same_class_by_chance_share": found.chance,
        "same_class_p": found.p if compared else None,
    }
