"""The ways in which a model may be shown its images, and its answers understood: channels, ranges of pixels, orders of classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from advrun.system.foreign import Foreign
from advrun.system.inputs import AS_IT_IS, ModelInput, Order, expected_shape

SURELY, SKILLED = 0.7, 0.45
"""Smallest share of the way from always naming the commonest class to being always right, of a reading that is worth a word: one that
lists the classes in another order, and any other. A network that knows nothing is a little less wrong in one way than in others."""
LISTED = 12
"""Classes that a sentence lists in full."""
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CAFFE_MEAN = (123.68, 116.779, 103.939)
"""Of red, green and blue, as networks of PyTorch and of Caffe take them."""


@dataclass(frozen=True)
class Reading:
    """One way to show a model its images, and to understand its answers.

    words: how it is called in a sentence, after 'with'. odd: how far-fetched it is. makes_grey: of a model that takes colours.
    """

    expects: ModelInput
    order: Order | None
    words: tuple[str, ...] = ()
    odd: int = 0
    makes_grey: bool = False

    def least(self, now: Reading) -> float:
        """The skill that it must have to be worth a word: of so many orders of classes one is often a little less wrong."""
        return SURELY if isinstance(self.order, tuple) and self.order != now.order else SKILLED

    def remedy(self, now: Foreign) -> str:
        """What to write, where the model is read as `now`."""
        parts = []
        if self.expects != now.expects:
            parts.append("leave input out" if self.expects == AS_IT_IS else f"input: {self.expects}")
        if self.order != now.order:
            parts.append("leave classes out" if self.order is None else f"classes: {_listed(self.order)}")
        written = " and ".join(part for part in parts if not part.startswith("leave"))
        return ", and ".join([*([f"write {written}"] if written else []), *(part for part in parts if part.startswith("leave"))])


def _listed(order: Order) -> str:
    """As in YAML; of many classes the first ones and the last."""
    if isinstance(order, str):
        return order
    shown = list(map(str, order))
    return f"[{', '.join(shown if len(shown) <= LISTED else [*shown[: LISTED - 2], '...', shown[-1]])}]"


def readings(model: Foreign, given: int, statistics: tuple[np.ndarray, np.ndarray]) -> Iterator[Reading]:
    """What is tried: each order of channels with each range of pixels and each order of classes."""
    wanted = expected_shape(model.model)[2]
    orders: list[tuple[Order | None, tuple[str, ...]]] = [(model.order, ())]
    if model.order is not None:
        orders.append((None, ("the labels in the order of class numbers",)))
    if model.classes > 10 and model.order != "alphabetical":
        orders.append(("alphabetical", ("the labels in alphabetical order",)))
    if model.classes == 2:
        orders.append(((1, 0), ("the two classes exchanged",)))
    else:
        last = model.classes - 1
        orders.append(((last, *range(last)), ("the labels counted from 1",)))
        orders.append(((*range(1, last + 1), 0), ("the labels counted from -1",)))
    for channels, its_words in _channel_orders(given, wanted):
        for values, their_words, odd in _ranges(channels, wanted, *statistics):
            for order, order_words in orders:
                words = tuple(filter(None, (*order_words, its_words, their_words)))
                expects = ModelInput(size=model.expects.size, channels=channels, **values)
                makes_grey = channels == "gray" and wanted == 3 and given == 3
                yield Reading(expects, order, words, odd + bool(its_words) + len(order_words) + (channels == "gray"), makes_grey)


def _channel_orders(given: int, wanted: int | None) -> list[tuple[Any, str]]:
    if given == 3 and wanted in (3, None):
        return [("rgb", ""), ("bgr", "the channels reversed"), *([("gray", "the images made grey")] if wanted == 3 else [])]
    return [("rgb" if given == wanted else "gray", "")]


def _ranges(channels: str, wanted: int | None, mean: np.ndarray, std: np.ndarray) -> Iterator[tuple[dict[str, Any], str, int]]:
    """Settings of the pixels' range, how it is called, and how far-fetched it is."""
    yield {}, "", 0
    yield {"scale": 255.0}, "pixels from 0 to 255", 1
    yield {"mean": 0.5, "std": 0.5}, "pixels from -1 to 1", 1
    yield {"mean": 0.5}, "pixels from -0.5 to 0.5", 1
    yield {"standardize": True}, "each image standardised", 2
    overall = mean.mean(), np.sqrt((std**2 + (mean - mean.mean()) ** 2).mean())
    yield dict(zip(("mean", "std"), map(_round, overall), strict=True)), "pixels standardised over the data", 2
    if wanted != 3 or len(mean) != 3 or channels == "gray":
        return
    turn = slice(None, None, -1 if channels == "bgr" else None)
    own = {"mean": tuple(map(_round, mean))[turn], "std": tuple(map(_round, std))[turn]}
    yield own, "each channel standardised over the data", 3
    yield {"mean": IMAGENET_MEAN[turn], "std": IMAGENET_STD[turn]}, "pixels standardised as for ImageNet", 2
    yield {"scale": 255.0, "mean": CAFFE_MEAN[turn]}, "pixels from 0 to 255 less ImageNet's mean", 2


def _round(value: float) -> float:
    """To three digits, for a file; above 0, as a deviation must be."""
    return max(round(float(value), 3), 0.001)
