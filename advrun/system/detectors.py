"""Detectors: what stands beside a network and rejects images, so that the answer is a class or *rejected*.

A detector gives each image a score, large where it is suspicious, and the image is rejected where its score is above a threshold. As in
Carlini and Wagner (2017, arXiv:1705.07263, section 3.2) network and detector are one function with an output more, that of *rejected*:

    Z_rejected = max_j Z_j + (score - threshold) / scale

so that the largest output is *rejected* exactly where the score is above the threshold. An attack sees a classifier of the network's own
classes, into which *rejected* is folded: it has succeeded where the answer is a wrong class and not *rejected*, and so *rejected* counts
as the class that it must get away from; where it aims at a class, as the strongest of the others. Every loss of logits feels the detector
through that: while the true class leads its gradient is that of the classification and, where the image is rejected, of the score too;
once a wrong class leads, and the detector is what is left, it is that of the score alone (as in the selective descent of Bryniarski et
al., 2021, arXiv:2106.15023, section 3.1, at the same image).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from advrun import engine
from advrun.engine import ops
from advrun.errors import ConfigError, ModelError
from advrun.losses import at_label, one_hot, others
from advrun.types import Tensor

Score = Callable[[Tensor, Tensor], Tensor]
"""(x (n, height, width, channels) float32 in [0, 1], logits (n, classes)) -> (n,) float32, each of its own image alone."""


@dataclass(frozen=True, eq=False)
class Detector:
    """A stage that stands beside a network and judges images.

    score: called with the images, as the system that it was set beside is shown them, and the logits that the network gives them; large is
    suspicious. Written in `engine.ops`.
    backward: "exact", the gradient of `score` itself; or a function of the same, near `score`, whose gradient is taken in its place.

    Raises ModelError for any other `backward`.
    """

    score: Score
    backward: Literal["exact"] | Score = "exact"

    def __post_init__(self) -> None:
        if not callable(self.backward) and self.backward != "exact":
            raise ModelError(f"backward is {self.backward!r}; expected 'exact', or a function of the images and logits")

    def __call__(self, x: Tensor, logits: Tensor) -> Tensor:
        """The scores (n,) float32. Raises ModelError where they have another shape."""
        with engine.keyed(self.score):
            value = ops.cast(self.score(x, logits), "float32")
        if len(value.shape) != 1:
            raise ModelError(f"a detector gives scores of shape {tuple(value.shape)}; expected one for each image, (n,)")
        return engine.straight_through(value, self.backward(x, logits)) if callable(self.backward) else value


@dataclass(frozen=True, eq=False)
class Thresholded:
    """A detector beside a system, with its threshold.

    threshold: images with a higher score are rejected. scale: of the scores, in which their distance from the threshold is told.
    behind: how many purifiers the system had when the detector was set beside it; it sees what those in front of these make of images.
    """

    detector: Detector
    threshold: float
    scale: float
    behind: int

    def excess(self, x: Tensor, logits: Tensor) -> Tensor:
        """(score - threshold) / scale, (n,): above 0 exactly where the image is rejected."""
        return (self.detector(x, logits) - self.threshold) / self.scale


def calibrated(scores: np.ndarray, false_positives: float) -> tuple[float, float]:
    """The threshold above which the share `false_positives` of these clean scores (n,) is, or as much of it as they allow; and a scale.

    The scale is the distance from their median to the threshold, so that Z_rejected is about 1 below the largest logit on a usual image.

    Raises ConfigError where there are none, ModelError where they are no numbers.
    """
    if len(scores) == 0:
        raise ConfigError("a detector's threshold comes from validation images, and there are none; make data.validation larger than 0")
    if not np.isfinite(scores).all():
        raise ModelError(f"the detector's score of {int((~np.isfinite(scores)).sum())} of {len(scores)} clean images is no number")
    ordered = np.sort(scores.astype(np.float32))
    threshold = float(ordered[len(ordered) - 1 - min(int(false_positives * len(ordered) + 1e-9), len(ordered) - 1)])
    spread = threshold - float(np.median(ordered))
    if spread <= 1e-6 * abs(threshold):  # half of the images have the very same score
        spread = float(ordered.std())
    return threshold, spread if spread > 1e-6 * abs(threshold) and spread > 0 else max(abs(threshold), 1e-3)


def with_rejected(logits: Tensor, excess: Tensor) -> Tensor:
    """(n, classes + 1): the logits, and Z_rejected behind them."""
    return ops.concatenate([logits, (ops.max(logits, axis=-1) + excess)[:, None]], axis=-1)


def excess_of(outputs: np.ndarray) -> np.ndarray:
    """What `with_rejected` was given, (n,), up to rounding: how suspicious each image is; above 0 exactly where it is rejected."""
    return np.asarray(outputs[:, -1] - outputs[:, :-1].max(-1))


def folded(outputs: Tensor, y: Tensor, targeted: bool, smoothly: bool = False) -> Tensor:
    """Logits (n, classes) of outputs (n, classes + 1), as an attack on the images of class y, or towards it, sees them.

    smoothly: the larger of both is a logarithm of a sum, which is never below it, so that where two boundaries meet a linearisation knows
    of both: an attack that steps onto the one, and back onto the other, comes to their corner from outside for ever. It is as soft as the
    farther one of them is far.
    """
    logits, rejected = outputs[:, :-1], outputs[:, -1:]
    rest = others(logits, y)
    where = one_hot(logits, ops.argmax(rest, axis=-1) if targeted else y)
    if not smoothly:
        return ops.where(where > 0, ops.maximum(logits, rejected), logits)
    from_it = ops.sum(where * logits, axis=-1, keepdims=True)
    ahead = at_label(logits, y)[:, None] if targeted else ops.max(rest, axis=-1, keepdims=True)
    soft = ops.stop_gradient(ops.maximum(ops.abs(ahead - from_it), ops.abs(ahead - rejected))) + 1e-6
    return ops.where(where > 0, soft * ops.logaddexp(from_it / soft, rejected / soft), logits)


def floored(outputs: Tensor) -> Tensor:
    """The same where nobody says which class is attacked: no logit below Z_rejected, so that no class leads where the image is rejected."""
    return ops.maximum(outputs[:, :-1], outputs[:, -1:])


def as_attacked(outputs: Tensor, about: Tensor | None, y: Tensor | None, targeted: bool, smoothly: bool = False) -> Tensor:
    """Logits (n, classes) of outputs (n, classes + 1), as an attack sees them.

    Args:
        about: (m,), the classes of the images under attack, or their targets; n is m, or k m for k variants, one after the other.
        y: (n,), the same of these images, for where nobody says what they are about, or where they are others.
        targeted: whether a class is to be reached.
        smoothly: see `folded`.
    """
    count = outputs.shape[0]
    fits = about is not None and (None in (count, about.shape[0]) or (about.shape[0] > 0 and count % about.shape[0] == 0))
    if about is not None and fits:
        y = ops.tile(about, (ops.shape(outputs)[0] // ops.shape(about)[0],))
    return floored(outputs) if y is None else folded(outputs, y, targeted, smoothly)
