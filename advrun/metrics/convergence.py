"""Had the attack arrived (Carlini et al., 2019, arXiv:1902.06705, section 5.4)?"""

from __future__ import annotations

from advrun.probed import Probed


def convergence(outcome: Probed) -> dict[str, float | None]:
    """Of up to 32 images that the attack left right: how many were tried with twice its steps, and how many that fools.

    None for an attack without steps.
    """
    if not outcome.iterated:
        return {"more_steps_tried": None, "more_steps_fooled": None}
    longer = outcome.longer
    fooled = 0 if longer is None else int((~longer.right).sum())
    return {"more_steps_tried": len(outcome.survivors), "more_steps_fooled": fooled}
