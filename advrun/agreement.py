"""Whether two systems err alike: examples of one on another, and, where both are fooled, whether they say the same wrong class.

The examples are crafted on a source and shown to a target. What counts are the images that both got right without the attack.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from advrun.results import binomial_interval


@dataclass(frozen=True)
class Agreement:
    """What became of n images that source and target both got right.

    n: how many. fooled: how many of them the target now gets wrong; low, high: exact 95 % interval of their share.
    both: how many both now get wrong. same: how many of these both give the same wrong class; same_low, same_high: exact 95 % interval.
    chance: the share that would be the same if the target's wrong answers had nothing to do with the source's, or None; see `chance_of`.
    p: of as many agreements, or more, by that chance; 1 where nothing is to be compared.
    """

    n: int
    fooled: int
    low: float
    high: float
    both: int
    same: int
    same_low: float
    same_high: float
    chance: float | None
    p: float

    @property
    def share(self) -> float | None:
        """Of the n images, those that fooled the target."""
        return self.fooled / self.n if self.n else None

    @property
    def same_share(self) -> float | None:
        """Of the images that fooled both, those with the same wrong class."""
        return self.same / self.both if self.both else None


def agreement(y: np.ndarray, common: np.ndarray, source: np.ndarray, target: np.ndarray) -> Agreement:
    """Compare two systems on one set of adversarial images.

    Args:
        y: (n,) int, true classes. common: (n,) bool, images that both got right without the attack.
        source, target: (n,) int, what each of them says of the adversarial images.
    """
    y, source, target = y[common], source[common], target[common]
    fooled = target != y
    both = fooled & (source != y)
    alike = chances(y[both], source[both], target[both])
    same = int((source[both] == target[both]).sum())
    n, wrong, fooled_both = len(y), int(fooled.sum()), int(both.sum())
    low, high = binomial_interval(wrong, n) if n else (0.0, 1.0)
    same_low, same_high = binomial_interval(same, fooled_both) if fooled_both else (0.0, 1.0)
    chance = float(alike.mean()) if fooled_both else None
    return Agreement(n, wrong, low, high, fooled_both, same, same_low, same_high, chance, at_least(same, alike))


def chances(y: np.ndarray, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """For each image that fooled both, the chance that two answers drawn apart from each other are the same class, (n,) in [0, 1].

    One is drawn from all wrong answers of the source, the other from those of the target; neither can be the image's true class, whose
    share is given to the others: sum over c of P(c) Q(c). Classes that both take many images for are therefore common, and no merit.
    """
    if not len(y):
        return np.zeros(0)
    most = int(max(y.max(), source.max(), target.max())) + 1
    p, q = (np.bincount(answers, minlength=most) / len(y) for answers in (source, target))
    product = p * q
    return np.asarray((product.sum() - product[y]) / ((1 - p[y]) * (1 - q[y])))


def at_least(k: int, shares: np.ndarray) -> float:
    """P(X >= k) where X counts successes of independent draws, each with a share of its own (Poisson's binomial distribution, exact)."""
    probabilities = np.ones(1)
    for share in shares:
        probabilities = np.convolve(probabilities, (1 - share, share))
    return float(min(1.0, probabilities[k:].sum()))
