"""Does the attack survive being saved as a picture?"""

from __future__ import annotations

import numpy as np

from advrun.images import changed
from advrun.metrics import Outcome


def accuracy_8bit(outcome: Outcome) -> dict[str, float | None]:
    """Accuracy after the adversarial images were rounded to 256 grey levels, as a PNG file would."""
    if outcome.attacked is None:
        return {"accuracy_8bit": float(outcome.withstood(outcome.after).mean())}
    rounded = changed(outcome.attacked, lambda x: np.rint(x * 255).astype(np.uint8), np.uint8)
    return {"accuracy_8bit": float(outcome.withstood(outcome.classifier.predict(rounded, outcome.batch_size)).mean())}
