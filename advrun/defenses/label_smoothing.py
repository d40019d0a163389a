"""Label smoothing (Szegedy et al., 2016, arXiv:1512.00567), as a defence by Shafahi et al. (2019, arXiv:1910.11585)."""

from __future__ import annotations

from typing import Annotated, Any

from annotated_types import Interval

from advrun.defenses._learner import Start, against, learner_of
from advrun.engine import Rng
from advrun.losses import one_hot
from advrun.train import Fit, accuracy
from advrun.types import Tensor

PRESETS = {"paper": {"smoothing": 0.1}}


def label_smoothing(model: Any, fit: Fit, *, smoothing: Annotated[float, Interval(ge=0, lt=1)] = 0.1, start: Start = "fresh") -> Any:
    """Train on labels that leave a little to the other classes: (1 - s) at the label, s / K at each of the K classes (section 7).

    It keeps logits small, and helps against weak attacks; against strong ones that know it little is left.

    Args:
        smoothing: s, what is shared among all classes.
        start: fresh weights, or those of the trained classifier.
    """
    network = learner_of(model, start)

    def objective(x: Tensor, y: Tensor, rng: Rng, training: bool) -> dict[str, Tensor]:
        logits = network(x, training=training)
        targets = (1 - smoothing) * one_hot(logits, y) + smoothing / logits.shape[-1]
        return {"loss": against(logits, targets), "accuracy": accuracy(logits, y)}

    return fit(network, objective, monitor="accuracy")
