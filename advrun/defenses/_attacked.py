"""Training images under attack, as adversarial training meets them."""

from __future__ import annotations

from typing import Any

from advrun.engine import Rng, ops
from advrun.errors import ConfigError
from advrun.system import Classifier
from advrun.types import Tensor


def attacked(attack: Any, learner: Any, undefended: Classifier, x: Tensor, y: Tensor, rng: Rng, replay: float) -> Tensor:
    """Adversarial images for a training batch; no gradient flows back into how they were made.

    A share `replay` is crafted on the undefended classifier, the rest on the learner as it is now: ensemble adversarial
    training (Tramèr et al., 2018, arXiv:1705.07204, section 4) with one static model.
    """
    if attack.plugin.is_cascade or attack.plugin.fit:
        raise ConfigError(f"attack {attack.plugin.name!r} cannot run inside adversarial training: it is more than one function of a batch")
    count = round(replay * x.shape[0])
    sources = ((undefended, slice(None, count)), (learner, slice(count, None)))
    parts = [attack(model, x[rows], y[rows], rng.fold(i)) for i, (model, rows) in enumerate(sources) if len(range(x.shape[0])[rows])]
    return ops.stop_gradient(ops.concatenate(parts))
