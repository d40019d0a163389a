"""Box-constrained L-BFGS (Szegedy, Zaremba, Sutskever, Bruna, Erhan, Goodfellow and Fergus, 2014, ICLR, arXiv:1312.6199, section 4.1)."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, Literal

import numpy as np

from advrun import engine
from advrun.attacks._rivals import rivals
from advrun.attacks._search import Search
from advrun.geometry import L2
from advrun.losses import cross_entropy
from advrun.system import Gradients
from advrun.types import Cost, Count, Labels, Positive, Targets, Tensor

CONTRACT = {"ratio": 1.05}  # goes to the likeliest class, not to the nearest

PRESETS = {"paper": {"penalty": "norm"}}

IN_PYTHON = True
LINE_SEARCH = 20
"""Evaluations that one line search of SciPy's may take beyond `maxfun`."""
Answer = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""(images (n, h, w, c), which of them are asked about (n,)) -> (losses (n,), gradients (n, h, w, c))."""


def lbfgs(
    model: Gradients,
    x: Tensor,
    y: Labels | Targets,
    norm: L2,
    *,
    search_steps: Count = 9,
    steps: Count = 30,
    initial_c: Positive = 0.1,
    penalty: Literal["square", "norm"] = "square",
) -> Tensor:
    """L-BFGS: minimise |r|_2^2 + c loss(x + r) for x + r in the box by SciPy's L-BFGS-B, and search c for each image.

    The loss is the cross-entropy towards the target; in the untargeted form, which the paper does not have, towards the likeliest wrong
    class. The paper minimises c |r| + loss: preset `paper` has its |r|, which is squared by default; in both c stands before the loss, so
    that the smallest c is searched where the paper has the largest. Every image has a minimiser of its own, and all that wait for a
    gradient get it from one batch. The closest success of all evaluations is kept; what is never fooled comes back clean.

    Args:
        search_steps: steps of the search over c: tenfold until the first success, then bisection.
        steps: evaluations of each minimisation.
        initial_c: first c.
        penalty: the term beside the loss: square for |r|_2^2, norm for |r|_2.
    """

    def objective(images: Tensor, y: Tensor, goal: Tensor, asked: Tensor) -> tuple[Tensor, ...]:
        aim, sign = (y, -1.0) if model.targeted else (goal, 1.0)
        loss, logits, slope = model.value_and_gradient(lambda logits, _: cross_entropy(logits, aim), images, y, asked=asked)
        return sign * loss, sign * slope, model.lead(logits, y)

    evaluate = engine.compiled(objective)

    def solve(x: np.ndarray, y: np.ndarray, goal: np.ndarray) -> np.ndarray:
        best, closest = x.copy(), np.full(len(x), np.inf)
        search = Search.start(len(x), initial_c)
        for _ in range(search_steps):
            success, c = np.zeros(len(x), bool), np.asarray(search.c)

            def answer(images: np.ndarray, asked: np.ndarray, success: np.ndarray = success, c: np.ndarray = c) -> Any:
                loss, slope, lead = (np.asarray(part) for part in evaluate(images, y, goal, asked))
                change = images - x
                square = (change**2).sum((1, 2, 3))
                fooled = asked & (lead > 0)
                closer = fooled & (square < closest)
                best[closer], closest[closer] = images[closer], square[closer]
                success |= fooled
                if penalty == "square":
                    return square + c * loss, 2 * change + c[:, None, None, None] * slope
                length = np.sqrt(square)
                return length + c * loss, change / np.maximum(length, 1e-12)[:, None, None, None] + c[:, None, None, None] * slope

            minimise_all(answer, x, steps)
            search = search.narrow(success)
        return best

    return engine.in_python(solve, [x, y, rivals(model.logits(x), y, 1)[0]], like=x)


def cost(search_steps: int, steps: int) -> Cost:
    """One gradient for each evaluation, and a look at the clean image."""
    return Cost(gradients=search_steps * (steps + LINE_SEARCH), queries=1)


def minimise_all(answer: Answer, x: np.ndarray, steps: int) -> None:
    """L-BFGS-B from each image inside the box, each in a thread of its own; `answer` is asked when every thread waits."""
    from scipy.optimize import Bounds, minimize

    asking: SimpleQueue[tuple[int, Any]] = SimpleQueue()
    answers: list[SimpleQueue[Any]] = [SimpleQueue() for _ in x]

    def run(i: int) -> None:
        def function(pixels: np.ndarray) -> tuple[float, np.ndarray]:
            asking.put((i, pixels.reshape(x[i].shape)))
            loss, slope = answers[i].get()
            return float(loss), slope.ravel().astype(np.float64)

        start, options = x[i].ravel().astype(np.float64), {"maxfun": steps, "maxls": LINE_SEARCH}
        try:
            minimize(function, start, jac=True, method="L-BFGS-B", bounds=Bounds(0, 1), options=options)
        finally:
            asking.put((i, None))

    for i in range(len(x)):
        Thread(target=run, args=(i,), daemon=True).start()
    images, waiting, running = x.copy(), np.zeros(len(x), bool), len(x)
    while running:
        i, pixels = asking.get()
        if pixels is None:
            running -= 1
        else:
            images[i], waiting[i] = pixels, True
        if running and waiting.sum() == running:
            loss, slope = answer(images, waiting)
            for i in np.flatnonzero(waiting).tolist():
                answers[i].put((loss[i], slope[i]))
            waiting[:] = False
