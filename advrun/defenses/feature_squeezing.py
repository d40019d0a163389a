"""Feature squeezing as a detector (Xu, Evans and Qi, 2018, NDSS, arXiv:1704.01155, section V)."""

from __future__ import annotations

from advrun.defenses._squeeze import fewer_bits, median_of
from advrun.engine import ops
from advrun.system import Chain, Detector
from advrun.train import Fit
from advrun.types import Count, Minority, Tensor

PRESETS = {"mnist": {"bits": 1, "size": 2}, "cifar": {"bits": 5, "size": 2}}


def feature_squeezing(
    system: Chain,
    fit: Fit,
    *,
    false_positives: Minority = 0.05,
    bits: Count = 5,
    size: Count = 2,
) -> Chain:
    """Reject images of which the network says something else when there is less in them; nothing is trained.

    score(x) = max over squeezers s of |softmax(Z(x)) - softmax(Z(s(x)))|_1, from 0 to 2 (section V.A): s rounds to fewer grey levels, or
    takes the median of each neighbourhood. NOTE: the paper's third squeezer, non-local means, is left out. Backward rounding is passed as
    the identity and the median as a mean (BPDA). An even neighbourhood moves the image by half a pixel, and finds less: of C&W's examples
    of an L-net on GTSRB the median alone has an area under the ROC curve of 0.84 at 2, the paper's, and 0.95 at 3. It finds few examples
    that the network is sure of, as PGD makes them. Attacks that know it get past it (He et al., 2017, arXiv:1706.04701).

    Args:
        false_positives: share of the validation images that is rejected; it gives the threshold.
        bits: of each channel that the first squeezer leaves, so that there are 2**bits grey levels.
        size: side of the square neighbourhood that the second squeezer takes the median of, in pixels.
    """

    def distance(logits: Tensor, squeezed: Tensor) -> Tensor:
        return ops.sum(ops.abs(ops.softmax(logits) - ops.softmax(system.logits(squeezed))), axis=-1)

    def score(x: Tensor, logits: Tensor) -> Tensor:
        return ops.maximum(distance(logits, fewer_bits(x, bits)), distance(logits, median_of(x, size)))

    return system.beside(Detector(score), fit, false_positives)
