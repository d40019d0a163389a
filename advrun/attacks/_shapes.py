"""What a sticker may cover: outlines of signs, shapes of stickers, and the markers that `advrun photos` finds a sign by.

Places are in units of the sign: its bounding square runs from -1 to 1, right and down. A mask is (FINE, FINE) bool over the whole image,
of which the sign takes the share `fill` of each side.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from advrun.errors import ConfigError, DataError
from advrun.survey import BLACK, FREE, NOTHING, WHITE

FINE = 512
"""Pixels to a side of a mask: far more than an image has, so that edges are smooth."""
MARKERS = ((-0.55, -0.66), (0.55, -0.66), (0.55, 0.66), (-0.55, 0.66))
"""Centres of the four markers, clockwise from the top left."""
MARKER, CORE = 0.12, 0.06
"""Radii of a marker, a white disc, and of the black disc in it."""
LARGEST_PICTURE = 8192

_CORNER = math.tan(math.pi / 8)
OUTLINES: dict[str, tuple[tuple[float, float], ...]] = {
    "octagon": tuple((a, b) for a, b in ((-_CORNER, -1), (_CORNER, -1), (1, -_CORNER), (1, _CORNER)))
    + tuple((a, b) for a, b in ((_CORNER, 1), (-_CORNER, 1), (-1, _CORNER), (-1, -_CORNER))),
    "circle": tuple((math.sin(t), -math.cos(t)) for t in np.linspace(0, 2 * math.pi, 120, endpoint=False)),
    "triangle": ((0, -1), (1, 1), (-1, 1)),
    "yield": ((-1, -1), (1, -1), (0, 1)),
    "diamond": ((0, -1), (1, 0), (0, 1), (-1, 0)),
    "square": ((-1, -1), (1, -1), (1, 1), (-1, 1)),
}
STROKES = (
    *(((-0.62, -0.52), (-0.62, -0.2)), ((-0.62, -0.2), (-0.4, -0.2)), ((-0.3, -0.5), (-0.12, -0.18)), ((-0.12, -0.18), (0.02, -0.5))),
    *(((0.16, -0.5), (0.16, -0.2)), ((0.16, -0.5), (0.42, -0.46)), ((0.16, -0.35), (0.38, -0.33)), ((0.16, -0.2), (0.44, -0.22))),
    *(((-0.55, 0.2), (-0.6, 0.52)), ((-0.58, 0.36), (-0.36, 0.34)), ((-0.34, 0.2), (-0.38, 0.52)), ((-0.2, 0.52), (-0.04, 0.2))),
    *(((-0.04, 0.2), (0.1, 0.52)), ((-0.14, 0.4), (0.05, 0.4)), ((0.14, 0.22), (0.48, 0.2)), ((0.31, 0.21), (0.29, 0.54))),
)
"""Two words, one above the other, as a hand sprays them."""


Shape = Callable[[float], np.ndarray]
"""A size from 0 to 1 -> a mask; larger sizes cover more."""


class Cut(NamedTuple):
    """A sticker's shape, (FINE, FINE) bool each: all that it covers, and of that the markers and their white."""

    covered: np.ndarray
    markers: np.ndarray
    white: np.ndarray

    @property
    def kinds(self) -> np.ndarray:
        """(FINE, FINE) uint8: what a `survey.Survey` says of each place."""
        return np.select([~self.covered, ~self.markers, self.white], [NOTHING, FREE, WHITE], BLACK).astype(np.uint8)

    def planes(self, height: int, width: int) -> np.ndarray:
        """(height, width, 3) float32: shares of each pixel that are sticker, that are free to choose, and a marker's white."""
        return np.stack([shrunk(each, height, width) for each in (self.covered, self.covered & ~self.markers, self.white)], -1)


class Sign:
    """A sign in the middle of an image: its outline, and the share `fill` of the image's sides that it takes."""

    def __init__(self, outline: str, fill: float) -> None:
        self.fill = fill
        self.outline = self.polygon(OUTLINES[outline])

    def cut(self, mask: np.ndarray, markers: bool) -> Cut:
        """The sticker of a mask: within the outline, the markers on top of it."""
        discs, cores = (self.discs(radius) if markers else np.zeros_like(mask) for radius in (MARKER, CORE))
        return Cut((mask | discs) & self.outline, discs & self.outline, discs & ~cores & self.outline)

    def covered(self, cut: Cut) -> float:
        """Share of the sign that the sticker covers, markers included."""
        return float(cut.covered.sum() / self.outline.sum())

    def grown(self, shape: Shape, cover: float, markers: bool) -> Cut:
        """The largest sticker of that shape that covers at most the share `cover` of the sign. Raises ConfigError where the markers do."""
        low, high = 0.0, 1.0
        if self.covered(self.cut(shape(low), markers)) >= cover:
            raise ConfigError(f"sticker: cover is {cover:g}, which leaves nothing beside the markers; raise it, or set markers: false")
        for _ in range(16):
            middle = (low + high) / 2
            low, high = (middle, high) if self.covered(self.cut(shape(middle), markers)) <= cover else (low, middle)
        return self.cut(shape(low), markers)

    # Masks --------------------------------------------------------------------------------------------------------

    def bars(self, size: float) -> np.ndarray:
        """Two bars, above and below the middle, where a stop sign has no letters."""
        half = size / 2
        return self._boxes((-0.82, -0.42 - half, 0.82, -0.42 + half), (-0.82, 0.42 - half, 0.82, 0.42 + half)) if size else self._empty()

    def graffiti(self, size: float) -> np.ndarray:
        """Two sprayed words; their strokes become wider."""
        return self._drawn(lambda pen, place: [pen.line([place(a), place(b)], 1, width=self._pixels(size / 2)) for a, b in STROKES])

    def border(self, size: float) -> np.ndarray:
        """A ring inside the outline, of the outline's own shape."""
        if not size:
            return self._empty()
        inner = self._scaled(self.outline, 1 - size)
        return self.outline & ~inner

    def hottest(self, heat: np.ndarray) -> Shape:
        """Where a picture (height, width) is largest, smoothed: the share `size` of the sign."""
        from PIL import Image

        smooth = np.asarray(Image.fromarray(heat.astype(np.float32)).resize((FINE, FINE), Image.Resampling.BICUBIC))
        levels = np.sort(smooth[self.outline])[::-1]

        def shape(size: float) -> np.ndarray:
            count = int(size * len(levels))
            return (smooth >= levels[count - 1]) & self.outline if count else self._empty()

        return shape

    def discs(self, radius: float) -> np.ndarray:
        """The four markers, or their cores."""
        boxes = [(x - radius, y - radius, x + radius, y + radius) for x, y in MARKERS]
        return self._drawn(lambda pen, place: [pen.ellipse(_corners(place, box), 1) for box in boxes])

    def polygon(self, points: Any) -> np.ndarray:
        """The inside of a polygon."""
        return self._drawn(lambda pen, place: pen.polygon([place(point) for point in points], 1))

    def _boxes(self, *boxes: tuple[float, float, float, float]) -> np.ndarray:
        return self._drawn(lambda pen, place: [pen.rectangle(_corners(place, box), 1) for box in boxes])

    def _drawn(self, draw: Callable[[Any, Callable[[Any], tuple[float, float]]], Any]) -> np.ndarray:
        from PIL import Image, ImageDraw

        image = Image.new("1", (FINE, FINE))
        draw(ImageDraw.Draw(image), lambda point: tuple(FINE * (0.5 + self.fill / 2 * each) - 0.5 for each in point))  # type: ignore[arg-type]
        return np.array(image)

    def _scaled(self, mask: np.ndarray, factor: float) -> np.ndarray:
        """A mask, smaller about its middle."""
        places = np.rint((np.arange(FINE) - (FINE - 1) / 2) / max(factor, 1e-3) + (FINE - 1) / 2).astype(int)
        inside = (places >= 0) & (places < FINE)
        places = places.clip(0, FINE - 1)
        return mask[np.ix_(places, places)] & inside[:, None] & inside[None, :]

    def _pixels(self, length: float) -> int:
        return round(FINE * self.fill / 2 * length)

    def _empty(self) -> np.ndarray:
        return np.zeros((FINE, FINE), bool)


def _corners(place: Callable[[Any], tuple[float, float]], box: tuple[float, ...]) -> list[float]:
    """Of a box for Pillow, which paints its last row and column too."""
    (left, top), (right, bottom) = place(box[:2]), place(box[2:])
    return [left + 0.5, top + 0.5, right - 0.5, bottom - 0.5]


def read_mask(path: str) -> np.ndarray:
    """The mask of a picture: where it is opaque if it has transparency, else where it is white. Raises DataError."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            if max(image.size) > LARGEST_PICTURE:
                raise DataError(f"{path}: {image.width} x {image.height} pixels; a mask has at most {LARGEST_PICTURE} to a side")
            image.load()
            clear = "A" in image.getbands() or "transparency" in image.info
            plane = image.convert("RGBA").getchannel("A") if clear else image.convert("L")
            mask = np.asarray(plane.resize((FINE, FINE), Image.Resampling.BOX)) >= 128
    except DataError:
        raise
    except Exception as error:  # a damaged image raises whatever its bytes lead to
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: no picture that can be read ({reason}); give a PNG that is white where the sticker is") from error
    if not mask.any():
        raise DataError(f"{path}: it is {'transparent' if clear else 'black'} everywhere; the sticker is where it is white, or opaque")
    return mask


def shrunk(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """(height, width) float32: the share of each pixel that a mask covers."""
    from PIL import Image

    return np.asarray(Image.fromarray(mask.astype(np.float32)).resize((width, height), Image.Resampling.BOX)).clip(0, 1)
