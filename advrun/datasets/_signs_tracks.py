"""Random numbers of photographs that come in tracks: several frames of one physical sign, as a car drives towards it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class Tracks:
    """Draws for `tracks` signs of `frames` photographs each; arrays (tracks * frames,) float32, track by track.

    Numbers are computed in double precision and rounded to multiples of 2**-12, which removes the last bits of normals
    and exponentials, in which processors and libraries differ.
    """

    def __init__(self, rng: np.random.Generator, tracks: int, frames: int) -> None:
        self.rng, self.tracks, self.frames = rng, tracks, frames

    def normal(self, steady: float, jitter: float = 0.0) -> Floats:
        """Normal deviates around 0: standard deviation `steady` between tracks and `jitter` within a track."""
        return _rounded(self._normal(steady, jitter))

    def lognormal(self, median: float, steady: float, jitter: float = 0.0) -> Floats:
        """Positive factors around `median`, whose logarithms vary like `normal`."""
        return _rounded(median * np.exp(self._normal(steady, jitter)))

    def uniform(self, low: float, high: float) -> Floats:
        """One uniform number per track."""
        return _rounded(np.repeat(self.rng.uniform(low, high, self.tracks), self.frames))

    def chance(self, probability: float) -> NDArray[np.bool_]:
        """True for `probability` of the tracks, bool."""
        return np.repeat(self.rng.random(self.tracks) < probability, self.frames)

    def choice(self, count: int) -> NDArray[np.int64]:
        """One whole number below `count` per track, int64."""
        return np.repeat(self.rng.integers(count, size=self.tracks), self.frames)

    def colour(self, palette: Sequence[tuple[float, float, float]]) -> Floats:
        """One colour of the palette per track: (tracks * frames, 3)."""
        return np.asarray(palette, np.float32)[self.choice(len(palette))]

    def cast(self, spread: float, warmth: float = 0.0) -> Floats:
        """Factors of red, green and blue, from cold to warm light around `warmth`: (tracks * frames, 3)."""
        warm, green = warmth + self._normal(spread, 0), self._normal(spread / 3, 0)
        return _rounded(np.exp(np.stack([warm, green, -warm], 1)))

    def approach(self) -> Floats:
        """How far the car has come, 0 to 1; a track's frames are spread evenly, in random order."""
        steps = self.rng.permuted(np.tile(np.arange(self.frames), (self.tracks, 1)), axis=1)
        return _rounded((steps + self.rng.random(steps.shape)).ravel() / self.frames)

    def _normal(self, steady: float, jitter: float) -> NDArray[np.float64]:
        between = self.rng.standard_normal((self.tracks, 1))
        within = self.rng.standard_normal((self.tracks, self.frames))
        return (steady * between + jitter * within).ravel()


def _rounded(values: NDArray[np.float64]) -> Floats:
    return (np.rint(values * 4096) / 4096).astype(np.float32)
