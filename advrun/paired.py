"""Two systems, or two attacks, on the same images: are they different, and by how much?

All answers are in pairs: image by image, both were right, both wrong, or only one of them. Only the last kind tells them apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.05
"""Level of the test whether two systems are different, to which the 95 % interval belongs."""


@dataclass(frozen=True)
class Difference:
    """How much more often the first is right than the second, on the images that both met.

    value, and the 95 % interval from low to high: shares, -1 to 1. n: common images. seeds: trained models of each.
    p: of the exact test of McNemar for one seed, None for several. apart: whether they are different at the level of 5 %.
    """

    value: float
    low: float
    high: float
    n: int
    seeds: int
    p: float | None
    apart: bool


def difference(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> Difference:
    """Compare two systems.

    Args:
        first, second: for each seed, bool (n,): which images were right, all in one order. Where one has more images than the other,
            the common ones count: the first.

    With one seed: McNemar's exact test, and the score interval of Tango (1998). Both see chance in the images alone. Two systems are
    apart where the test and the interval both say so. With several seeds training varies too: the interval is Student's t about the
    mean difference, of so many seeds less one, its variance that between seeds plus that of images; the second holds part of the first,
    so the interval is rather too wide than too narrow.
    """
    pairs = [_common(one, other) for one, other in zip(first, second, strict=True)]
    n, seeds = min(len(one) for one, _ in pairs), len(pairs)
    if seeds > 1:
        value, low, high = _over_seeds(np.stack([one[:n].astype(float) - other[:n] for one, other in pairs]))
        return Difference(value, low, high, n, seeds, None, not low <= 0 <= high)
    one, other = pairs[0]
    only_first, only_second = int((one & ~other).sum()), int((~one & other).sum())
    low, high = score_interval(only_first, only_second, n)
    p = exact_test(only_first, only_second)
    return Difference((only_first - only_second) / n, low, high, n, 1, p, p < LEVEL and not low <= 0 <= high)


def exact_test(only_first: int, only_second: int) -> float:
    """Two-sided p that as many images differ in one direction by chance (McNemar, 1947, doi:10.1007/BF02295996; exact: binomial)."""
    return min(1.0, 2 * one_sided(max(only_first, only_second), min(only_first, only_second)))


def one_sided(more: int, fewer: int) -> float:
    """p that `more` or yet more of the images that differ are on this side by chance, each being as likely to be on either."""
    return at_least(more, more + fewer, 0.5)


def at_least(k: int, n: int, share: float) -> float:
    """P(X >= k) for a binomial X of n draws that succeed at this share."""
    from scipy.special import bdtrc

    return 1.0 if k <= 0 else float(bdtrc(k - 1, n, share))


def score_interval(only_first: int, only_second: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of the difference of two paired proportions (Tango, 1998, Statistics in Medicine 17, 891-908).

    Args:
        only_first, only_second: images that only one of them got right. n: all images, at least 1.

    Holds those differences that the score test does not reject; its coverage is near nominal for few images too, where Wald's fails.
    """
    from scipy.optimize import brentq
    from scipy.special import ndtri

    z = float(ndtri((1 + confidence) / 2))
    value = (only_first - only_second) / n
    if abs(value) == 1:
        inner = 1 / (1 + z * z / n)
        return (inner * 2 - 1, 1.0) if value > 0 else (-1.0, 1 - inner * 2)

    def excess(delta: float, side: float) -> float:
        return _score(only_first, only_second, n, delta) - side * z

    edge = 1 - 1e-12
    low = brentq(excess, -edge, value, args=(1,)) if excess(-edge, 1) > 0 else -1.0
    high = brentq(excess, value, edge, args=(-1,)) if excess(edge, -1) < 0 else 1.0
    return float(low), float(high)


def _score(only_first: int, only_second: int, n: int, delta: float) -> float:
    """Tango's statistic for the difference `delta`: that observed less delta, over its standard error where delta is true."""
    a = 2 * n
    b = -only_first - only_second + (2 * n - only_first + only_second) * delta
    c = -only_second * delta * (1 - delta)
    share = max(0.0, (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a))  # most likely share of `only_second`, given delta
    variance = n * (2 * share + delta * (1 - delta))
    gap = only_first - only_second - n * delta
    return gap / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, gap) if gap else 0.0


@dataclass(frozen=True)
class Contrast:
    """One result against another.

    value, and the 95 % interval from low to high: the second share less the first, -1 to 1. p: two-sided, exact.
    paired: whether it is image by image; then `common` images are, else 0. agree: on these images both have the same outcomes.
    """

    value: float
    low: float
    high: float
    p: float
    common: int
    agree: bool = False

    @property
    def paired(self) -> bool:
        return self.common > 0


def in_pairs(before: np.ndarray, after: np.ndarray) -> Contrast:
    """By how much more often `after` is right than `before`; bool (n,), of the same images in the same order.

    The score interval of Tango (1998) and McNemar's exact test, as `difference` has them.
    """
    found = difference([after], [before])
    return Contrast(found.value, found.low, found.high, 1.0 if found.p is None else found.p, found.n, bool((before == after).all()))


def unpaired(before: np.ndarray, after: np.ndarray) -> Contrast:
    """The same of different images; bool (n,) and (m,).

    Newcombe's hybrid score interval of two independent proportions (1998, Statistics in Medicine 17, 873-890, method 10), and Fisher's
    exact test (1922, doi:10.2307/2340521).
    """
    from scipy.stats import fisher_exact

    (right, n), (right_after, m) = ((int(each.sum()), len(each)) for each in (before, after))
    low, high = newcombe_interval(right_after, m, right, n)
    p = float(fisher_exact([[right, n - right], [right_after, m - right_after]]).pvalue)
    return Contrast(right_after / m - right / n, low, high, min(1.0, p), 0)


def newcombe_interval(first: int, n: int, second: int, m: int, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of first / n - second / m, of independent proportions (Newcombe, 1998, Statistics in Medicine 17, 873-890, method 10)."""
    (one, other), intervals = (first / n, second / m), [wilson_interval(*each, confidence) for each in ((first, n), (second, m))]
    (low_one, high_one), (low_other, high_other) = intervals
    below, above = math.hypot(one - low_one, high_other - other), math.hypot(high_one - one, other - low_other)
    return max(-1.0, one - other - below), min(1.0, one - other + above)


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Score interval of a proportion (Wilson, 1927, doi:10.1080/01621459.1927.10502953)."""
    from scipy.stats import binomtest

    found = binomtest(successes, n).proportion_ci(confidence, "wilson")
    return float(found.low), float(found.high)


def holm(chances: Sequence[float]) -> list[float]:
    """The p of tests that are made together, adjusted (Holm, 1979, Scandinavian Journal of Statistics 6, 65-70), in the order given.

    That any of those below a level is false is no likelier than this level, however the tests depend on each other.
    """
    adjusted, least = [1.0] * len(chances), 0.0
    for rank, place in enumerate(sorted(range(len(chances)), key=chances.__getitem__)):
        least = max(least, min(1.0, chances[place] * (len(chances) - rank)))
        adjusted[place] = least
    return adjusted


def _over_seeds(differences: np.ndarray) -> tuple[float, float, float]:
    """Mean and interval of differences (seeds, images) of -1, 0 and 1."""
    from scipy.special import stdtrit

    seeds, n = differences.shape
    between = differences.mean(axis=1).var(ddof=1) / seeds
    images = differences.mean(axis=0).var() / n
    reach = float(stdtrit(seeds - 1, 0.975)) * math.sqrt(between + images)
    value = float(differences.mean())
    return value, max(-1.0, value - reach), min(1.0, value + reach)


def _common(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    n = min(len(one), len(other))
    return one[:n], other[:n]
