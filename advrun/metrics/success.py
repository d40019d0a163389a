"""How often the attack reached its goal."""

from __future__ import annotations

from advrun.metrics import Outcome


def success(outcome: Outcome) -> dict[str, float | None]:
    """Share of the images that were right before: now wrong, or, targeted, now of the target class. None if none was right."""
    right = outcome.right
    if not right.any() or outcome.attacked is None:
        return {"success": None}
    if outcome.target is None:
        return {"success": float(outcome.fooled[right].mean())}
    aimed = right & (outcome.target != outcome.y)
    return {"success": float((outcome.after.argmax(-1) == outcome.target)[aimed].mean()) if aimed.any() else None}
