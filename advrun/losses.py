"""Per-example losses of logits: (n, classes) float32 and (n,) int32 -> (n,) float32. Attacks make them large."""

from __future__ import annotations

from advrun.engine import ops
from advrun.types import Tensor


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """-log softmax(logits)[y]."""
    return ops.logsumexp(logits, axis=-1) - at_label(logits, y)


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """max over j != y of logits[j], minus logits[y]: above 0 exactly when another class wins.

    This is -f of Carlini and Wagner (2017, arXiv:1608.04644, section V.A, objective 6) before clipping at kappa.
    """
    other = ops.max(logits - one_hot(logits, y) * 1e9, axis=-1)
    return other - at_label(logits, y)


def one_hot(logits: Tensor, y: Tensor) -> Tensor:
    """(n, classes): 1 at the label, 0 elsewhere."""
    return ops.one_hot(y, logits.shape[-1], dtype=logits.dtype)


def at_label(logits: Tensor, y: Tensor) -> Tensor:
    """logits[i, y[i]], (n,)."""
    return ops.sum(logits * one_hot(logits, y), axis=-1)
