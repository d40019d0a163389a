"""The end point of a reverse Weibull distribution, by maximum likelihood: what maxima of more and more samples would come to.

Of maxima m that never exceed a location l, t = l - m has a Weibull distribution with a shape and a scale. For each location the other two
follow (one equation in the shape); the profile likelihood over locations may have several peaks, so it is looked at from many starts.
A shape below 1 would make the likelihood infinite at l = max(m) (Smith, 1985, doi:10.1093/biomet/72.1.67) and is not allowed. Where it
still rises a whole spread above the largest maximum, no end is to be seen in the maxima (they look like Gumbel's distribution, which has
none, and any location far away fits as well): there the largest of them is all that is known, and is what is returned.
"""

from __future__ import annotations

import numpy as np

STARTS = np.geomspace(1e-4, 1.0, 20)
"""Locations above the largest maximum, in units of the spread of the maxima."""
NEWTON, GOLDEN = 12, 24
"""Steps for the shape, and of the search between the neighbours of the best start."""
STEEPEST = 500.0
"""The largest shape: there the distribution is Gumbel's, and has no end."""
CONSTANT = 1e-5
"""Maxima that differ by a smaller share are one number, but for rounding."""


def location(maxima: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit each column by itself.

    Args:
        maxima: (b, m), b maxima of m distributions.

    Returns:
        The locations (m,), never below the largest maximum, and the p values (m,) of the Kolmogorov-Smirnov test of each fit, 1 where
        the maxima are all the same.
    """
    from scipy.stats import kstwo

    maxima = np.asarray(maxima, np.float64)
    largest = maxima.max(0)
    spread = largest - maxima.min(0)
    moving = spread > CONSTANT * np.abs(largest)
    places, p = largest.copy(), np.ones(maxima.shape[1])
    if moving.any():
        below = (largest - maxima)[:, moving] / spread[moving]
        offset = _best(below)
        places[moving] += offset * spread[moving]
        p[moving] = kstwo.sf(_distance(below + np.where(offset > 0, offset, STARTS[-1])), len(maxima))
    return places, p


def _best(below: np.ndarray) -> np.ndarray:
    """Offsets (m,) with the largest profile likelihood: the best start, then golden section between its neighbours."""
    values = np.stack([_likelihood(below + start) for start in STARTS])
    peak = values.argmax(0).clip(1, len(STARTS) - 2)
    ends = values.argmax(0) < len(STARTS) - 1
    low, high = np.log(STARTS[peak - 1]), np.log(STARTS[peak + 1])
    ratio = (np.sqrt(5) - 1) / 2
    for _ in range(GOLDEN):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        better = _likelihood(below + np.exp(left)) > _likelihood(below + np.exp(right))
        low, high = np.where(better, low, left), np.where(better, right, high)
    return np.where(ends, np.exp((low + high) / 2), 0.0)


def _shape_and_scale(t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of Weibull distributed t (b, m), by maximum likelihood; the shape is 1 at least."""
    logs = np.log(t)
    mean = logs.mean(0)
    centred = logs - mean
    shape = np.clip(1.28 / np.maximum(centred.std(0), 1e-9), 1.0, STEEPEST)  # what their variance would say
    for _ in range(NEWTON):
        weights = np.exp(shape * (centred - centred.max(0)))
        weights /= weights.sum(0)
        first = (weights * centred).sum(0)
        slope = (weights * np.square(centred)).sum(0) - np.square(first) + 1 / np.square(shape)
        shape = np.clip(shape - (first - 1 / shape) / slope, np.maximum(shape / 3, 1.0), np.minimum(3 * shape, STEEPEST))
    top = centred.max(0)
    return shape, np.exp(mean + top + np.log(np.exp(shape * (centred - top)).mean(0)) / shape)


def _likelihood(t: np.ndarray) -> np.ndarray:
    """Mean log likelihood (m,) of t at its best shape and scale."""
    shape, scale = _shape_and_scale(t)
    ratio = np.log(t) - np.log(scale)
    return np.asarray(np.log(shape) - np.log(scale) + ((shape - 1) * ratio - np.exp(shape * ratio)).mean(0))


def _distance(t: np.ndarray) -> np.ndarray:
    """Largest difference (m,) between the empirical and the fitted distribution functions."""
    shape, scale = _shape_and_scale(t)
    fitted = -np.expm1(-np.exp(shape * (np.log(np.sort(t, axis=0)) - np.log(scale))))
    steps = np.arange(len(t) + 1)[:, None] / len(t)
    return np.asarray(np.maximum(fitted - steps[:-1], steps[1:] - fitted).max(0))
