"""Ascent along gradients that are estimated from scores, until each image succeeds or its queries are spent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from advrun.engine import Rng, ops, repeat, repeat_undecided, select
from advrun.geometry import per_image
from advrun.system import Scores
from advrun.system.classifier import Loss
from advrun.types import Tensor


class State(NamedTuple):
    """For each image: itself, its label, the iterate, what the method remembers, and the lead of the most adversarial iterate, `x_best`."""

    x: Tensor
    y: Tensor
    x_adv: Tensor
    memory: Any
    x_best: Tensor
    lead: Tensor


Move = Callable[[Tensor, Tensor, "Ask", State], tuple[Tensor, Any]]
"""(iteration, numbers of the images in work, loss of images, state) -> (next iterate, next memory)."""
Ask = Callable[[Tensor], Tensor]
"""Images (k * m, ...), k stacked for each of the m in work -> the loss of each, (k * m,); k queries."""


def climb(model: Scores, x: Tensor, y: Tensor, loss: Loss, move: Move, memory: Any, *, queries: int, per_step: int) -> Tensor:
    """Each image's first successful iterate, else its most adversarial one.

    Asks once about the clean image, then `per_step` times within every move and once after it, never more than `queries` times.
    """

    def step(i: Tensor, rows: Tensor, now: State) -> State:
        view, undecided = model.part(rows), now.lead <= 0

        def ask(images: Tensor) -> Tensor:
            times = ops.shape(images)[0] // ops.shape(now.x)[0]
            logits = view.logits(images, asked=ops.tile(undecided, (times,)))
            return view.value(loss, logits, ops.tile(now.y, (times,)))

        x_adv, memory = move(i, rows, ask, now)
        lead = ops.where(undecided, view.lead(view.logits(x_adv, asked=undecided), now.y), -float("inf"))
        better = lead > now.lead
        return State(now.x, now.y, x_adv, memory, select(better, x_adv, now.x_best), select(better, lead, now.lead))

    start = State(x, y, x, memory, x, model.lead(model.logits(x), y))
    return repeat_undecided(step, (queries - 1) // (per_step + 1), start, decided=lambda now: now.lead > 0).x_best


def pairs_within(queries: int, samples: int) -> int:
    """Pairs of samples of each gradient: fewer than asked for where the queries would not last for a single step."""
    return max(min(samples, queries - 2) // 2, 1)


def slope(ask: Ask, x: Tensor, direction: Callable[[Rng], Tensor], rng: Rng, *, pairs: int, radius: float) -> Tensor:
    """The mean over pairs of (f(x + r u) - f(x - r u)) / (2 r) * u, for random directions u: 2 queries each."""
    n = ops.shape(x)[0]

    def add(i: Tensor, total: Tensor) -> Tensor:
        u = direction(rng.fold(i))
        f = ask(ops.concatenate([x + radius * u, x - radius * u]))
        return total + per_image((f[:n] - f[n:]) / (2 * radius), x) * u

    return repeat(add, pairs, ops.zeros_like(x)) / pairs
