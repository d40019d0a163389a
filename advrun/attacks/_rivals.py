"""The classes that an untargeted attack tries to reach, one after the other or all at once."""

from __future__ import annotations

from advrun.engine import ops
from advrun.geometry import Ball
from advrun.losses import at_label, others
from advrun.system import Gradients
from advrun.types import Tensor


def rivals(logits: Tensor, y: Tensor, count: int) -> Tensor:
    """The `count` most likely classes other than y, or all where there are fewer: (k, n) int32, the most likely first."""
    count = min(count, logits.shape[-1] - 1)
    return ops.transpose(ops.top_k(others(logits, y), count)[1])


def malt(model: Gradients, x: Tensor, y: Tensor, norm: Ball, count: int, candidates: int) -> Tensor:
    """Of the most likely classes other than y the `count` that the linearised network reaches first: (k, n) int32, the nearest first.

    Mesoscopic almost linearity targeting (MALT; Melamed, Yehudai and Shamir, 2024, arXiv:2407.02240): the largest
    (z_c - z_y) / |grad z_c - grad z_y|, minus the distance to the hyperplane, where the norm is the dual of the attack's.

    Args:
        candidates: so many classes are looked at, y and the most likely others. One gradient for each of them.
    """
    model = model.without_corners()
    likely = rivals(model.logits(x), y, max(candidates - 1, 1))
    logits, slopes = model.jacobian(x, ops.concatenate([ops.expand_dims(y, 0), likely]))
    gaps = ops.take_along_axis(ops.transpose(logits), likely, axis=0) - at_label(logits, y)
    score = gaps / ops.maximum(norm.dual(slopes[1:] - slopes[:1]), 1e-12)
    nearest = ops.top_k(ops.transpose(score), min(count, likely.shape[0]))[1]
    return ops.take_along_axis(likely, ops.transpose(nearest), axis=0)
