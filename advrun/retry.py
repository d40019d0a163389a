"""An attack tried again on a few images: with more steps, within another ball, and watched while it works."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from advrun.attack import Attack
from advrun.craft import craft
from advrun.probed import SAMPLE, Again, Retried
from advrun.system.classifier import pad
from advrun.system.witness import SEEN, Witness


def is_iterated(attack: Attack) -> bool:
    """Whether it has a number of steps, so that it can be given more of them."""
    return "steps" in attack.plugin.efforts(attack.settings)


def retrying(witness: Witness, attack: Attack, *, seed: int, batch_size: int) -> Again:
    """What tries the attack again, on at most SAMPLE images (or batch_size, where that is smaller: the others stay away).

    witness: of the system; attacks that differ in eps alone share its graphs.
    """
    size = min(SAMPLE, batch_size)

    def again(x: np.ndarray, y: np.ndarray, *, eps: float | None = None, times: int = 1) -> Retried:
        x, y = x[:size], y[:size]
        settings = dict(attack.settings) | ({"steps": times * attack.settings["steps"]} if times > 1 else {})
        geometry = attack.geometry if eps is None or attack.geometry is None else attack.geometry.resized(eps)
        tried = replace(attack, geometry=geometry, settings=settings)
        images, labels = pad(x, size), pad(y, size)  # one shape, and so one graph
        crafted = craft(witness, tried, images, labels, seed=seed, batch_size=size, only_correct=False)
        seen = witness.counter.read()[SEEN][: len(x)] > 0
        return Retried(witness.right(witness.predict(crafted.x_adv, size), labels)[: len(x)], seen)

    return again
