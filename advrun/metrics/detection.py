"""What a detector sees of an attack (Xu, Evans and Qi, 2018, arXiv:1704.01155, section VI; the area: Hanley and McNeil, 1982)."""

from __future__ import annotations

from advrun.metrics import Guarded
from advrun.roc import Scored


def detection(outcome: Guarded) -> dict[str, float | None]:
    """Shares rejected: of all images as they are now, of the clean ones, of those that fool the network; the area under the ROC curve.

    The last two are of images that the network has right without the attack and wrong under it, None where there are none.
    """
    scored = Scored.of(outcome.before, outcome.after, outcome.y)
    return {
        "rejected_share": float((outcome.after.argmax(-1) == outcome.classifier.classes).mean()),
        "false_positive_share": scored.false_positives,
        "network_fooled": len(scored.adversarial),
        "detected_share": scored.detected,
        "auroc": scored.auroc,
    }
