"""Metrics: `NAME(outcome: Outcome) -> {column: number or None}`. Every file here adds its columns to every row.

One that asks for a `Transferred` adds them to rows whose images come from another system; one for a `Guarded`, to rows of systems with a
detector; one for a `Probed` (`advrun/probed.py`), to rows whose attack can be tried again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from advrun import registry
from advrun.engine import to_unit
from advrun.errors import PluginError
from advrun.images import AnyImages
from advrun.system import Classifier


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a metric sees of n images: clean and adversarial, with the measured system's logits for both.

    images: (n, h, w, c) uint8, or float32 in [0, 1]. attacked: (n, h, w, c) float32 in [0, 1], or None where nothing was attacked. Both
        are `Images` where they need not fit into memory: `by_blocks` measures both kinds.
    y: (n,) int32. before, after: logits (n, classes); of a system with a detector (n, classes + 1), the last that of *rejected*.
    target: (n,) or None. batch_size: so many images the classifier takes at once.
    """

    classifier: Classifier
    images: AnyImages
    attacked: AnyImages | None
    y: np.ndarray
    before: np.ndarray
    after: np.ndarray
    target: np.ndarray | None = None
    batch_size: int = 256

    @cached_property
    def x(self) -> np.ndarray:
        """The clean images, (n, h, w, c) float32 in [0, 1], all in memory."""
        return np.asarray(to_unit(self.images))

    @property
    def x_adv(self) -> np.ndarray:
        """The adversarial images, or the clean ones where nothing was attacked, all in memory."""
        return self.x if self.attacked is None else np.asarray(self.attacked)

    @cached_property
    def right(self) -> np.ndarray:
        """(n,) bool: right before the attack."""
        return self.classifier.right(self.before, self.y)

    @cached_property
    def fooled(self) -> np.ndarray:
        """(n,) bool: right before the attack, wrong after it."""
        return self.right & self.classifier.wrong(self.after, self.y)

    def withstood(self, after: np.ndarray) -> np.ndarray:
        """(n,) bool: what counts as right by these logits of the images as they are now; with a detector rejected ones may, too."""
        if self.attacked is None:
            return self.classifier.right(after, self.y)
        return self.classifier.withstands(self.before, after, self.y)

    @cached_property
    def answers(self) -> np.ndarray:
        """(n,) int32: the class that each image counts as, y where it counts as right; one beyond the last for a rejected image."""
        now = self.after.argmax(-1)
        spoilt = np.where(now == self.y, self.before.argmax(-1), now)  # right now, but not without the attack
        return np.where(self.withstood(self.after), self.y, spoilt).astype(np.int32)


@dataclass(frozen=True, eq=False)
class Transferred(Outcome):
    """An outcome whose images were crafted on another system, the source, and what that makes of them.

    crafted: (n,) bool, images that were attacked: the source was right on them without the attack. The others are as they were.
    source_after: (n,) int32, the source's answers to the adversarial images.
    """

    crafted: np.ndarray = field(kw_only=True)
    source_after: np.ndarray = field(kw_only=True)

    @property
    def both_right(self) -> np.ndarray:
        """(n,) bool: right before the attack, for the source and for the measured system."""
        return self.crafted & self.right


class Guarded(Outcome):
    """An outcome of a system with a detector: `before` and `after` have an output more, the last, that of *rejected*.

    A metric whose outcome is annotated so is measured there alone; what it is handed may be an outcome of any class.
    """


def columns(name: str, outcome: Outcome) -> dict[str, float | None]:
    """What the metric `name` says of an outcome; nothing where it is of detectors, and there is none.

    Raises PluginError for anything but columns of finite numbers or None.
    """
    if registry.get("metrics", name).arguments.get("outcome") is Guarded and not outcome.classifier.detects:
        return {}
    said, place = registry.get("metrics", name).function(outcome), registry.place("metrics", name)
    if not isinstance(said, dict) or not said:
        raise PluginError(f"{place}: returns {said!r:.60}; expected columns, such as {{{name!r}: 0.5}}")
    for column, value in said.items():
        if not isinstance(column, str):
            raise PluginError(f"{place}: names a column {column!r:.60}; expected text")
        if value is not None and (type(value) not in (int, float) or not np.isfinite(value)):
            got = f"{value!r:.60}, a {type(value).__name__}"
            raise PluginError(f"{place}: column {column!r} is {got}; expected float(...), an int, or None where it means nothing")
    return said


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities (n, classes) of logits (n, classes)."""
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)
