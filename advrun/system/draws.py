"""How a random system is asked: means over several draws, by a key.

The runner asks by one key: the same images get the same answers. An attacker asks by a key of its own, and gets other draws each time,
also for an image that it has asked about before; what tells the times apart is how much it has asked about that image so far, which the
counter knows.
Draws are taken one after the other, so that memory is that of one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import add
from typing import Any

import numpy as np

from advrun import engine
from advrun.engine import Counter, EachImage, Rng, ops, repeat
from advrun.types import Tensor

DRAWS = 10
"""Of a random system, unless another number is said."""


@dataclass(frozen=True, eq=False)
class Draws:
    """count: how many. key: (2,) int32; None where nothing is drawn. counter: what has been asked, of an attacker's view."""

    count: int = 1
    key: Tensor | None = None
    counter: Counter | None = None
    before: Tensor | None = field(init=False, default=None)
    """What the counter said of each image when the attack began."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "before", None if self.counter is None else self.counter.each())

    @property
    def random(self) -> bool:
        return self.key is not None

    @property
    def deciding(self) -> bool:
        """Whether the runner asks for the system's answer, and neither an attacker nor a training."""
        return self.random and self.counter is None and not self._in_training

    @property
    def identity(self) -> tuple[Any, ...]:
        """What compiled functions are told apart by."""
        return () if self.key is None else (self.count, bytes(np.asarray(self.key)))

    def mean(self, ask: Callable[[], tuple[Tensor, ...]], rows: Tensor | None = None) -> tuple[Tensor, ...]:
        """The means of the tensors that each draw gives; what one draw gives, where the system is not random.

        rows: the numbers of the images that are asked about, where they are not the whole batch.
        Within an objective of `train.Fit` that asks without attacking, there is one draw, that of the step.
        """
        total = self.joined(ask, add, rows)
        return total if self.times == 1 else tuple(tensor / self.times for tensor in total)

    def joined(
        self, ask: Callable[[], tuple[Tensor, ...]], join: Callable[[Tensor, Tensor], Tensor], rows: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """The same for another way to take two draws together, such as their sum."""
        if self.key is None or self._in_training:
            return ask()
        rng = self._rng(rows)

        def another(i: Tensor, total: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            with engine.drawing(rng.fold(i + 1)):
                return tuple(join(a, b) for a, b in zip(total, ask(), strict=True))

        with engine.drawing(rng.fold(0)):
            total = ask()
        return total if self.count == 1 else repeat(another, self.count - 1, total)

    @property
    def times(self) -> int:
        """How many draws are taken together here."""
        return 1 if self.key is None or self._in_training else self.count

    def each(self, ask: Callable[[], Tensor]) -> Tensor:
        """What each draw gives, (n,) -> (n, count)."""
        rng = self._rng()

        def put(i: Tensor, known: Tensor) -> Tensor:
            with engine.drawing(rng.fold(i)):
                return ops.where(ops.equal(ops.arange(self.count), i), ask()[:, None], known)

        with engine.drawing(rng.fold(0)):
            first = ask()
        return repeat(put, self.count, ops.tile(first[:, None], (1, self.count)))

    @contextmanager
    def first(self) -> Iterator[None]:
        """While inside, what is random is drawn as in the first draw."""
        if self.key is None:
            yield
            return
        with engine.drawing(self._rng().fold(0)):
            yield

    @property
    def _in_training(self) -> bool:
        return self.counter is None and engine.drawn() is not None

    def _rng(self, rows: Tensor | None = None) -> Rng:
        """Which gives each draw its numbers."""
        if self.counter is None:
            return Rng(self.key)
        asked = ops.cast(self.counter.each() - self.before, "uint32")
        rng = EachImage(self.key, images=ops.stack([asked, ops.zeros_like(asked)], axis=1))
        return rng if rows is None else rng.part(rows % ops.shape(asked)[0])
