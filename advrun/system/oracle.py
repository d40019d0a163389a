"""What is under attack and can only be asked: a remote service, or any Python function of images.

    images (n, height, width, channels) uint8 -> n answers

An answer is a row of scores (classes,), a class number, or named labels with their scores, the first one first: (("stop sign", 0.93), ...).
It is for 8-bit images alone, as a service decodes them from a PNG, so an attack on an oracle moves on that grid. A `BlackBox` is the
classifier made of an oracle; how often it is asked, and what it said, is kept by a `Ledger`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal, NoReturn

import numpy as np

from advrun.errors import ModelError
from advrun.types import LARGEST, Aside, Count, NonNegative, Positive

Answer = Any
"""A row of scores, a class number, or a tuple of (label, score)."""


@dataclass(frozen=True)
class Limits(Aside):
    """How much may be asked, and how patiently.

    Args:
        budget: images that may be sent in all, in this results folder, however often the run is started again.
        timeout: seconds after which a request that is not answered in full counts as lost.
        tries: how often an image is sent before it is given up.
        price: of a thousand images, in dollars; null for the service's own list price. What costs is asked only after --yes.
    """

    budget: Count = 1000
    timeout: Positive = 30.0
    tries: Count = 6
    price: NonNegative | None = None


LIMITS = Limits()
UNLIMITED = Limits(budget=LARGEST)


@dataclass(frozen=True, eq=False)
class Oracle:
    """A model that can be asked, and no more.

    Args:
        image_shape: (height, width, channels) of its images; None for any.
        classes: how many it tells apart; None where it answers with labels of its own, which `labels` gives a meaning.
        ask: images uint8 -> an answer for each. It may raise `Unanswered`, for one that is worth trying again, or a ModelError.
        name: how messages call it.
        class_names: of its classes, may be empty.
        gives: whether answers hold scores, or "decisions" alone: then attacks that need scores are refused.
        meaning: of its scores: probabilities, or logits.
        labels: LABEL = CLASS, what its own labels mean, the class by its name or number. Without any, the first label that it gives to a
            clean image is the true one.
        first: an image is right while its class is among so many first answers.
        batch: images in one request.
        limits: budget, patience and price. place: where it is, for messages. list_price: of a thousand images, in dollars.
    """

    image_shape: tuple[int | None, int | None, int | None]
    classes: int | None
    ask: Callable[[np.ndarray], Sequence[Answer] | np.ndarray]
    _: KW_ONLY
    name: str = "oracle"
    class_names: tuple[str, ...] = ()
    gives: Literal["scores", "decisions"] = "scores"
    meaning: Literal["probabilities", "logits"] = "probabilities"
    labels: tuple[str, ...] = ()
    first: int = 1
    batch: int = 64
    limits: Limits = UNLIMITED
    place: str = ""
    list_price: float = 0.0

    def __str__(self) -> str:
        return f"model {self.name!r}" + (f" ({self.place})" if self.place else "")

    @property
    def price(self) -> float:
        """Of a thousand images, in dollars."""
        return self.list_price if self.limits.price is None else self.limits.price

    def takes(self, image_shape: tuple[int, ...]) -> bool:
        """Whether images of this shape are its."""
        return all(side in (None, got) for side, got in zip(self.image_shape, image_shape, strict=True))

    def refuse(self, image_shape: tuple[int, ...], data: str, *, resizable: bool = False) -> NoReturn:
        """Raise the ModelError that images of this shape are not taken."""
        wanted = " x ".join("any" if side is None else str(side) for side in self.image_shape)
        given = " x ".join(map(str, image_shape))
        remedy = f"set data.image_size: {self.image_shape[0]}" if resizable else "take images of its size"
        raise ModelError(f"{self} takes images of {wanted}, data set {data} has {given}; {remedy}")

    def facts(self) -> dict[str, Any]:
        """What a person may want to know before a run, by name."""
        shape = " x ".join("any" if side is None else str(side) for side in self.image_shape)
        costs = f", at {self.price:g} dollars per 1,000" if self.price else ""
        return {
            "input": f"{shape}, 8-bit pixels",
            "classes": self.classes or "labels of its own",
            "gives": self.gives,
            "asked at": self.place or "this process",
            "budget": f"{self.limits.budget:,} images{costs}",
        }


class Unanswered(Exception):
    """A request brought no answer, or none for some of its images; it is worth trying again.

    reason: in one line. wait: seconds that the service asks for, None where it says nothing. counted: whether it may have been paid for;
    False where the service refused to work (429, 503). answers: by the row of the image, what did come.
    """

    def __init__(self, reason: str, *, wait: float | None = None, counted: bool = True, answers: dict[int, Answer] | None = None) -> None:
        super().__init__(reason)
        self.reason, self.wait, self.counted, self.answers = reason, wait, counted, answers or {}


def as_png(image: np.ndarray) -> bytes:
    """An image (height, width, 1 or 3) uint8 as a PNG file, without loss."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(file, "PNG")
    return file.getvalue()
