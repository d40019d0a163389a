"""A view with another loss: whatever loss an attack climbs, here it climbs this one. So TRADES uses `pgd` as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from advrun.engine import ops
from advrun.system.classifier import Loss, Through
from advrun.types import Tensor


class Climbing:
    """The white-box view for an attack that shall make `loss(logits, y, *given)` large instead of its own loss.

    `lead`, by which attacks keep their best image, grows with that loss and is never above 0: there is nothing in which an attack could
    succeed, so none stops early.

    Args:
        model: the white-box view (`Gradients`) that is asked.
        loss: (logits (n, classes), y (n,), *given) -> (n,).
        given: tensors (n, ...) that belong to the images, such as the logits of clean ones; a `part` sees those of its images.
    """

    def __init__(self, model: Any, loss: Callable[..., Tensor], *given: Tensor) -> None:
        self._model, self._loss, self._given = model, loss, given

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def part(self, rows: Tensor) -> Climbing:
        return Climbing(self._model.part(rows), self._loss, *(ops.take(each, rows, axis=0) for each in self._given))

    def value_and_gradient(
        self, loss: Loss, x: Tensor, y: Tensor, through: Through | None = None, asked: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        answer: tuple[Tensor, Tensor, Tensor] = self._model.value_and_gradient(self._own, x, y, through, asked)
        return answer

    def gradient(self, loss: Loss, x: Tensor, y: Tensor, through: Through | None = None, asked: Tensor | None = None) -> Tensor:
        return self.value_and_gradient(loss, x, y, through, asked)[2]

    def value(self, loss: Loss, logits: Tensor, y: Tensor) -> Tensor:
        return self._model.value(self._own, logits, y)

    def lead(self, logits: Tensor, y: Tensor) -> Tensor:
        value = self._model.value(self._own, logits, y)
        return ops.where(value > 0, -1 / (1 + ops.abs(value)), value - 1)

    def succeeds(self, x: Tensor, y: Tensor, asked: Tensor | None = None) -> Tensor:
        return self.lead(self._model.logits(x, asked), y) > 0

    def _own(self, logits: Tensor, y: Tensor) -> Tensor:
        return self._loss(logits, y, *self._given)
