"""Did the attack find an example and return another image (Carlini et al., 2019, arXiv:1902.06705, section 5)?"""

from __future__ import annotations

from advrun.probed import Probed


def silent_success(outcome: Probed) -> dict[str, float | None]:
    """Of up to 32 images that the attack left right: how many were attacked again, and how many were fooled on the way, and lost."""
    longer = outcome.longer
    lost = 0 if longer is None else int((longer.right & longer.seen).sum())
    return {"silent_tried": len(outcome.survivors), "silent": lost}
