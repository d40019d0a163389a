"""The classes that an untargeted attack tries to reach, one after the other or all at once."""

from __future__ import annotations

from advrun.engine import ops
from advrun.losses import others
from advrun.types import Tensor


def rivals(logits: Tensor, y: Tensor, count: int) -> Tensor:
    """The `count` most likely classes other than y, or all where there are fewer: (k, n) int32, the most likely first."""
    count = min(count, logits.shape[-1] - 1)
    return ops.transpose(ops.top_k(others(logits, y), count)[1])
