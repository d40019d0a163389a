"""Random resizing and padding in front of the classifier (Xie, Wang, Zhang, Ren and Yuille, 2018, arXiv:1711.01991)."""

from __future__ import annotations

from advrun.engine import Rng, ops
from advrun.system import Chain, Purifier
from advrun.types import Share, Tensor


def random_resize_pad(system: Chain, *, smallest: Share = 299 / 331) -> Chain:
    """Shrink every image to a random size, and put it at a random place on black, before it is classified; nothing is trained.

    For each image a side of `smallest` to the whole is drawn, all sizes in whole pixels with the same probability, then the place. The
    authors enlarge 299 pixels to a side of up to 331, and classify 331; a network that takes images of one size sees the same share of its
    input filled. The gradient is that of the resizing that was drawn, and attacks average it over draws (EOT, Athalye et al., 2018,
    arXiv:1802.00420, section 5.3.2).

    Args:
        smallest: of the sides that are drawn, as a share of the image's.
    """

    def resized(x: Tensor, rng: Rng) -> Tensor:
        n, (height, width) = ops.shape(x)[0], x.shape[1:3]
        size = ops.cast(rng.integers((n,), max(round(height * smallest), 1), height + 1), "float32")
        rows = _placed(height, size, rng.uniform((n,)))
        columns = _placed(width, ops.maximum(ops.round(width * size / height), 1), rng.uniform((n,)))
        return ops.clip(ops.einsum("nij,njwc->niwc", rows, ops.einsum("nij,nhjc->nhic", columns, x)), 0.0, 1.0)

    return system.behind(Purifier(resized, backward="exact", random=True))


def _placed(side: int, size: Tensor, place: Tensor) -> Tensor:
    """(n, side, side): matrices that shrink a line of `side` pixels to `size` (n,), and put it where `place` (n,), 0 to 1, says.

    Interpolation is linear between pixel centres; nothing is mixed with what lies beyond the border.
    """
    before = ops.minimum(ops.floor(place * (side - size + 1)), side - size)
    pixel = ops.arange(side, dtype="float32")
    inside = pixel[None] - before[:, None]
    source = ops.clip((inside + 0.5) * side / size[:, None] - 0.5, 0, side - 1)
    weights = ops.maximum(1 - ops.abs(source[:, :, None] - pixel), 0)
    within = ops.logical_and(inside >= 0, inside < size[:, None])
    return weights * ops.cast(within, "float32")[:, :, None]
