"""The classifier made of an oracle: the views of `classifier.py`, asked instead of computed.

An oracle sees 8-bit images, so every image is rounded before it is sent, and what is scored is what was sent. Where a ball bounds the
attack, an image that rounding would carry out of the ball is rounded towards the clean one instead; what the attack returns at its end is
rounded in the same way, and is therefore an image that was asked about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from typing import Any, NoReturn

import numpy as np

from advrun import engine
from advrun.engine import ops, select
from advrun.errors import AdvrunError, ConfigError, DataError, ModelError
from advrun.images import AnyImages, blocks
from advrun.losses import at_label, margin, others
from advrun.registry import Plugin
from advrun.system.classifier import Classifier, check_images
from advrun.system.ledger import NORMAL, Ledger
from advrun.system.oracle import Oracle
from advrun.system.vocabulary import Vocabulary, of_scores
from advrun.types import Tensor

LEVELS = 255.0
GIVEN = {"scores": ("scores", "decisions", "blind"), "decisions": ("decisions", "blind")}
"""The attacks that can be run on an oracle, by what it gives and by what they need."""
MOVED = 0.02
"""By how much a probability may differ when the same service is asked the same thing again: it may round, or run on other machines."""


class BlackBox(Classifier):
    """An oracle under attack.

    Args:
        oracle: who is asked.
        image_shape: (height, width, channels) of the images, where the oracle takes any.
        vocabulary: what its answers mean; needed where it has labels of its own.
        ledger: where its answers and the count of them are kept; memory alone by default.
        name: how tables call it.
    """

    def __init__(
        self,
        oracle: Oracle,
        *,
        image_shape: tuple[int, ...] | None = None,
        vocabulary: Vocabulary | None = None,
        ledger: Ledger | None = None,
        name: str | None = None,
    ) -> None:
        if vocabulary is None and oracle.classes is None:
            raise ModelError(f"{oracle} answers with labels of its own; say what they mean by labels, or run it from a configuration")
        self.oracle, self.ledger = oracle, ledger or Ledger(oracle)
        self.vocabulary = vocabulary or of_scores(oracle)
        self.name = name or oracle.name
        self.image_shape = tuple(image_shape or oracle.image_shape)  # type: ignore[arg-type]
        self.classes = self.vocabulary.classes
        self._trouble: list[AdvrunError] = []
        self._centre: tuple[Tensor, Any] | None = None
        self._begin()
        self.probed = {"doubt", "guesses", "gradients"}  # looking around would cost queries

    # What an attack may ask --------------------------------------------------------------------------------------

    def check(self, plugin: Plugin, x: AnyImages | None = None) -> None:
        """Raise ConfigError for an attack that needs more than the oracle gives, DataError for images that are not of 8 bits."""
        refuse_access(plugin, self.name, self.oracle.gives)
        if (
            x is not None
            and x.dtype != np.uint8
            and any((np.abs(np.rint(some * LEVELS) - some * LEVELS) > 1e-3).any() for some in blocks(x))
        ):
            raise DataError(
                f"{self.oracle} is shown 8-bit images, and the pixels of these are no multiples of 1/255; round them, or give uint8"
            )

    def logits(self, x: Tensor, asked: Tensor | None = None) -> Tensor:
        self._count("queries", x, asked)
        return self._answered(x, asked)

    def forward(self, x: Tensor) -> Tensor:
        return self._answered(x, None)

    def lead(self, logits: Tensor, y: Tensor) -> Tensor:
        if self.oracle.first == 1 or self.targeted:
            return super().lead(logits, y)
        bar = ops.top_k(others(logits, y), self.oracle.first)[0][:, -1]
        gap = bar - at_label(logits, y)
        return gap - margin.slack(gap, at_label(logits, y))

    def right(self, logits: np.ndarray, y: np.ndarray) -> np.ndarray:
        if self.oracle.first == 1:
            return super().right(logits, y)
        return np.asarray((logits > logits[np.arange(len(y)), y][:, None]).sum(-1) < self.oracle.first)

    def value_and_gradient(self, *_: Any, **__: Any) -> NoReturn:
        raise ConfigError(f"{self.oracle} has no gradients: it can only be asked")

    def jacobian(self, *_: Any, **__: Any) -> NoReturn:
        self.value_and_gradient()

    # Eight bits --------------------------------------------------------------------------------------------------

    @property
    def detects(self) -> bool:
        return False  # what a service rejects is its own affair

    def around(self, x: Tensor, ball: Any, y: Tensor) -> BlackBox:
        view = copy(self)
        view._centre = None if ball is None else (x, ball)
        return view

    def shown(self, x: Tensor) -> Tensor:
        return self._rounded(x)

    def _rounded(self, x: Tensor) -> Tensor:
        """The images on the grid of 8 bits, those within the ball still within it."""
        levels = ops.clip(x, 0.0, 1.0) * LEVELS
        nearest = grey(ops.round(levels))
        if self._centre is None:
            return nearest
        centre, ball = self._centre
        centre = centre if self.rows is None else ops.take(centre, self.rows, axis=0)
        centre = ops.tile(centre, (ops.shape(x)[0] // ops.shape(centre)[0], 1, 1, 1))  # variants, one after the other
        inwards = grey(ops.where(levels >= centre * LEVELS, ops.floor(levels + 1e-3), ops.ceil(levels - 1e-3)))
        reach = ball.eps + 1e-6 * ops.maximum(ball.eps, 1.0)
        leaves = ops.logical_and(ball.distance(x, centre) <= reach, ball.distance(nearest, centre) > reach)
        return select(leaves, inwards, nearest)

    # Asking ------------------------------------------------------------------------------------------------------

    def _answered(self, x: Tensor, asked: Tensor | None) -> Tensor:
        """Logits of the images that are asked about, (n, classes); zeros for the others."""
        count = ops.shape(x)[0]
        asked = ops.ones((count,), "bool") if asked is None else ops.cast(asked, "bool")
        like = ops.zeros((count, self.classes), "float32")
        return engine.in_python(self._ask_in_graph, [self._rounded(x), asked], like)

    def _ask_in_graph(self, x: np.ndarray, asked: np.ndarray) -> np.ndarray:
        """TensorFlow turns what Python raises here into an error of its own; `failing_as_itself` brings it back."""
        try:
            rows = np.zeros((len(x), self.classes), np.float32)
            if asked.any():
                rows[asked] = self._ask(as_bytes(x[asked]))
            return rows
        except AdvrunError as error:
            self._trouble.append(error)
            raise

    def _ask(self, images: np.ndarray, occasion: str = NORMAL) -> np.ndarray:
        """Logits (n, classes) float32 of images uint8."""
        return np.stack([self.vocabulary.row(answer) for answer in self.ledger.answers(images, occasion)])

    @contextmanager
    def failing_as_itself(self) -> Iterator[None]:
        self._trouble.clear()
        try:
            yield
        except Exception:
            if self._trouble:
                raise self._trouble[0] from None
            raise

    def predict(self, x: AnyImages, batch_size: int = 256) -> np.ndarray:
        x = check_images(x, self.image_shape)
        return np.concatenate([self._ask(as_bytes(np.asarray(x[start : start + batch_size]))) for start in range(0, len(x), batch_size)])

    def drift(self, x: np.ndarray, occasion: str) -> float:
        """Share of the images whose answer is another one now: another first class, or a score that moved by more than MOVED.

        They are asked about, and counted, anew; an occasion once.
        """
        before, now = self._ask(as_bytes(x)), self._ask(as_bytes(x), occasion)
        moved = np.abs(np.exp(log_softmax(before)) - np.exp(log_softmax(now))).max(-1) > MOVED
        return float(((before.argmax(-1) != now.argmax(-1)) | moved).mean())

    def purify(self, x: AnyImages, batch_size: int = 256) -> None:
        return None  # what a service does first is its own affair

    def compiled(self, key: Any, build: Callable[[], Callable[..., Any]], *, xla: bool = False) -> Callable[..., Any]:
        return super().compiled(key, build, xla=False)  # Python is called from the graph


def refuse_access(plugin: Plugin, model: str, gives: str = "scores", hint: str = "") -> None:
    """Raise ConfigError for an attack that asks more than a model gives that can only be asked. hint: what else may be done."""
    if plugin.access not in GIVEN[gives]:
        names = "square, nes, hopskipjump or boundary" if gives == "scores" else "hopskipjump or boundary"
        says = "scores and no gradients" if gives == "scores" else "classes alone"
        raise ConfigError(f"attack {plugin.name!r} needs {plugin.access}, and model {model!r} gives {says}; take {names}{hint}")


def grey(levels: Tensor) -> Tensor:
    """Whole numbers 0 to 255 as float32 in [0, 1], with the bits that `to_unit` gives them: a graph may multiply where it should divide."""
    return ops.take(engine.to_unit(np.arange(256, dtype=np.uint8)), ops.cast(levels, "int32"))


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Logarithms of probabilities, (n, classes)."""
    shifted = logits - logits.max(-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))


def as_bytes(x: np.ndarray) -> np.ndarray:
    """Images as uint8, from such or from float32 in [0, 1]."""
    return x if x.dtype == np.uint8 else np.rint(np.clip(x, 0.0, 1.0) * LEVELS).astype(np.uint8)
