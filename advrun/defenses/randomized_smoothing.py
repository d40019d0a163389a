"""Randomised smoothing (Cohen, Rosenfeld and Kolter, 2019, arXiv:1902.02918, section 3; Lecuyer et al., 2019, arXiv:1802.03471)."""

from __future__ import annotations

from advrun.engine import Rng
from advrun.system import Chain, Purifier
from advrun.types import Positive, Tensor


def randomized_smoothing(system: Chain, *, sigma: Positive = 0.25) -> Chain:
    """Answer with the class that the system gives most often under Gaussian noise; nothing is trained.

    The smoothed classifier g(x) = argmax_c P(f(x + noise) = c), equation 1. The noise is not clipped. It is asked by `draws`, and votes;
    `draws: 100` or more brings the votes near to the probabilities. Attacks that see gradients climb the mean softmax over draws of
    their own (SmoothAdv, Salman et al., 2019, arXiv:1906.04584, equation 6). The bound `smoothing` of the same sigma certifies it. A
    network that has not seen such noise knows little behind it: put `gaussian_augmentation` first in the chain.

    Args:
        sigma: standard deviation of the noise; pixels run from 0 to 1, and noisy ones beyond.
    """

    def noisy(x: Tensor, rng: Rng) -> Tensor:
        return x + sigma * rng.normal(x.shape)

    return system.behind(Purifier(noisy, backward="exact", random=True, votes=True, sigma=sigma))
