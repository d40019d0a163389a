"""CLEVER: cross-Lipschitz extreme value for network robustness (Weng et al., 2018, arXiv:1801.10578, section 4, algorithm 1)."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from annotated_types import Interval

from advrun.bounds._weibull import location
from advrun.engine import Rng, in_python, ops, repeat
from advrun.errors import UnboundedError
from advrun.geometry import L1, L2, Ball, Linf
from advrun.system import Chain, Gradients
from advrun.types import Cost, Count, Labels, Positive, Targets, Tensor

SOUND = False
IN_PYTHON = True
CONTRACT = {"settings": {"batches": 10, "samples": 8}}
PRESETS = {"paper": {"batches": 500, "samples": 1024, "classes": None}}
REACH: dict[type[Ball], float] = {L2: 5.0, Linf: 0.05, L1: 40.0}
"""The radius of the ball that is sampled, where none is given: that of the paper, and in L1 one of a similar size."""


def clever(
    model: Gradients,
    system: Chain,
    x: Tensor,
    y: Labels | Targets,
    norm: L2 | Linf | L1,
    rng: Rng,
    *,
    batches: Annotated[int, Interval(ge=3)] = 50,
    samples: Count = 64,
    radius: Positive | None = None,
    classes: Count | None = 10,
) -> tuple[Tensor, dict[str, Tensor]]:
    """An estimate of the distance to the nearest adversarial example: the gap between two logits, over how fast it may close.

    How fast is the largest norm of the gap's gradient in a ball around the image (theorem 3.2; the dual norm: L2 for L2, L1 for Linf).
    It is estimated from samples: the maxima of batches of them have a reverse Weibull distribution, whose end point is fitted by maximum
    likelihood. That makes it no bound: the true distance may be smaller, where the gradient is larger in a corner that no sample met
    (Goodfellow, 2018, arXiv:1804.07870), and is never said to be more than the radius of the ball. Where gradients are masked it means
    nothing: where all that are sampled are zero, the score is the radius of the ball, however near an example is; `no_gradient` counts such
    images, and the table flags them. The untargeted score is the smallest
    over the other classes; the targeted one is about one class. NOTE: fresh samples for each batch and image, not drawn again from a pool
    as in the authors' code; they lie in the image box too. Beside it stands the p value of the Kolmogorov-Smirnov test of the fit: a small
    one says that the maxima are not of such a distribution. Where many scores are `capped`, take a larger radius.
    ART's score of the reference L-net is 1.5 % larger in the median where its pool is large, and 5 to 9 % where it draws from a small one.

    Args:
        batches: N_b, how many maxima the distribution is fitted to, which has three parameters.
        samples: N_s, how many gradients each maximum is of.
        radius: R, of the ball that is sampled; by default 5 in L2, 0.05 in Linf and 40 in L1.
        classes: of the other classes only this many, those with the largest logits; null for all, as in the paper.
    """
    if system.votes:
        raise UnboundedError("the system votes, as a smoothed classifier does, and votes have no slope")
    reach = radius or REACH[type(norm)]
    ball = norm.resized(reach)
    logits = model.logits(x)
    own = ops.argmax(logits, axis=-1) if model.targeted else ops.cast(y, "int64")
    if model.targeted:
        rivals = ops.cast(y, "int32")[None]
    else:
        others = ops.where(ops.cast(ops.one_hot(own, model.classes), "bool"), -np.inf, logits)
        rivals = ops.transpose(ops.top_k(others, min(classes or model.classes, model.classes - 1))[1])
    pairs = ops.concatenate([ops.cast(own, "int32")[None], ops.cast(rivals, "int32")])  # (k + 1, n)
    gaps = _gathered(logits, pairs[:1]) - _gathered(logits, pairs[1:])

    def steepness(z: Tensor) -> Tensor:
        """Dual norms (k, n) of the gradients of the gaps at z."""
        gradients = model.jacobian(z, pairs)[1]
        return norm.dual(gradients[1:] - gradients[:1])

    def maximum(batch: Tensor) -> Tensor:
        return repeat(
            lambda i, most: ops.maximum(most, steepness(ball.sample(x, rng.fold(batch * samples + i)))),
            samples,
            ops.zeros_like(gaps),
        )

    def collect(batch: Tensor, maxima: Tensor) -> Tensor:
        here = ops.reshape(ops.arange(batches) == batch, (-1, 1, 1))
        return ops.where(here, maximum(batch)[None], maxima)

    maxima = repeat(collect, batches, ops.zeros((batches, *gaps.shape), "float32"))
    found = in_python(lambda maxima, gaps: scores(maxima, gaps, reach), [maxima, gaps], like=gaps[:1] + ops.zeros((3, 1)))
    flat = ops.cast(ops.max(maxima, axis=(0, 1)) == 0, "float32")
    return found[0], {"ks_p": found[1], "capped": found[2], "no_gradient": flat}


def scores(maxima: np.ndarray, gaps: np.ndarray, reach: float) -> np.ndarray:
    """From maxima (b, k, n) and gaps (k, n): the smallest score over the k classes, the p value of its fit, and whether it is `reach`,
    (3, n) float32."""
    places, p = location(maxima.reshape(len(maxima), -1))
    each = np.minimum(gaps / np.maximum(places.reshape(gaps.shape), 1e-30), reach)
    nearest = each.argmin(0)[None]
    chosen = (np.take_along_axis(array, nearest, axis=0)[0] for array in (each, p.reshape(gaps.shape)))
    score, kept = (np.maximum(value, 0) for value in chosen)
    return np.stack([score, kept, score >= reach]).astype(np.float32)


def _gathered(logits: Tensor, classes: Tensor) -> Tensor:
    """Logits (k, n) of the classes (k, n)."""
    return ops.transpose(ops.take_along_axis(logits, ops.transpose(classes), axis=-1))


def cost(batches: int, samples: int, classes: int | None) -> Cost:
    """A gradient for the class itself and for each other, at each sample; the forward pass is shared."""
    return Cost(gradients=batches * samples * (1 + (classes or 10)), queries=1)
