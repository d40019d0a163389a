"""Randomised smoothing (Cohen, Rosenfeld and Kolter, 2019, arXiv:1902.02918, section 3.2, CERTIFY)."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
from annotated_types import Interval

from advrun.engine import Rng, in_python, ops, repeat
from advrun.errors import UnboundedError
from advrun.geometry import L2
from advrun.system import Chain, Decisions
from advrun.types import Cost, Count, Labels, Positive, Tensor

SOUND = True
ABOUT = "the smoothed classifier"
IN_PYTHON = True
CONTRACT = {"settings": {"n": 300}}
PRESETS = {"paper": {"n0": 100, "n": 100_000, "alpha": 0.001}}


def smoothing(
    model: Decisions,
    system: Chain,
    x: Tensor,
    y: Labels,
    norm: L2,
    rng: Rng,
    *,
    sigma: Positive = 0.25,
    n0: Count = 100,
    n: Count = 1000,
    alpha: Annotated[float, Interval(gt=0, lt=0.5)] = 0.001,
) -> tuple[Tensor, dict[str, Tensor]]:
    """How far the answer of the smoothed classifier holds: the class that the system gives most often under Gaussian noise.

    The class is guessed from n0 noisy images; n others say how often it is given, at least, at the confidence 1 - alpha (exact, Clopper
    and Pearson, 1934); if that is at most half, the classifier abstains, else the radius is sigma times the normal quantile of it (theorem
    1). The radius is 0 where it abstains, or where its class is wrong. It is about the smoothed classifier, which answers otherwise than
    the system itself: an attack on the system does not contradict it. The defence `randomized_smoothing` makes the smoothed classifier a
    system that can be attacked; given that, at the same sigma, this is about the system itself. It holds for each image with probability
    1 - alpha. With n samples no radius is above sigma times the quantile of alpha^(1/n): 2.5 sigma for 1,000, 3.8 sigma for 100,000.

    Args:
        sigma: standard deviation of the noise; pixels run from 0 to 1, and noisy ones beyond.
        n0: noisy images from which the class is guessed.
        n: noisy images from which its probability is estimated.
        alpha: the probability of a radius that is too large.
    """

    base = model.unsmoothed() if is_itself(system, sigma=sigma) else model

    def counts(rng: Rng, times: int) -> Tensor:
        """How often each class is given, (n, classes)."""

        def step(i: Tensor, sums: Tensor) -> Tensor:
            noisy = x + sigma * rng.fold(i).normal(ops.shape(x))
            return sums + ops.one_hot(base.labels(noisy), model.classes)

        return repeat(step, times, ops.zeros((x.shape[0], model.classes), "float32"))

    first, second = counts(rng.fold(0), n0), counts(rng.fold(1), n)
    like = ops.zeros((2, x.shape[0]), "float32")
    found = in_python(lambda first, second, y: certified(first, second, y, sigma, alpha), [first, second, y], like=like)
    return found[0], {"abstained": found[1]}


def nonsense(*, n: int, alpha: float) -> tuple[str, str] | None:
    """So few samples that it abstains even where all of them are of one class: alpha^(1/n), the bound of that share, is 1/2 at most."""
    if alpha ** (1 / n) > 0.5:
        return None
    least = math.floor(math.log(alpha) / math.log(0.5)) + 1
    return "n", f"got {n}; at alpha {alpha:g} every image is abstained from with fewer than {least} samples, whatever they show"


def is_itself(system: Chain, *, sigma: float) -> bool:
    """Whether the system is the smoothed classifier. Raises UnboundedError where it is one of another sigma, or may reject images."""
    if system.detectors:
        raise UnboundedError("a detector stands beside the network, and what it rejects under noise is not bounded by votes")
    if system.smoothed is None:
        return False
    if abs(system.smoothed - sigma) > 1e-6 * sigma:
        raise UnboundedError(f"the system is smoothed already, with sigma {system.smoothed:g}, and this bound is about sigma {sigma:g}")
    return True


def certified(first: np.ndarray, second: np.ndarray, y: np.ndarray, sigma: float, alpha: float) -> np.ndarray:
    """From counts (n, classes) of both kinds, and the true classes (n,): radii, and whether it abstained, (2, n) float32."""
    from scipy.stats import beta, norm

    guessed = first.argmax(-1)
    given = np.take_along_axis(second, guessed[:, None], axis=-1)[:, 0].astype(np.float64)
    total = second.sum(-1).astype(np.float64)
    least = np.where(given > 0, beta.ppf(alpha, given, total - given + 1), 0.0)
    abstained = ~(least > 0.5)
    radius = np.where(abstained | (guessed != y), 0.0, sigma * norm.ppf(np.maximum(least, 0.5)))
    return np.stack([_no_more(radius), abstained.astype(np.float32)])


def _no_more(radius: np.ndarray) -> np.ndarray:
    """As float32, rounded down."""
    rounded = radius.astype(np.float32)
    return np.where(rounded > radius, np.nextafter(rounded, np.float32(0)), rounded)


def cost(n0: int, n: int) -> Cost:
    """One answer for each noisy image."""
    return Cost(queries=n0 + n)
