"""Drawing in the plane of a traffic sign: polygons, strokes, arrows and a stroke font, on a Pillow canvas.

Coordinates are those of the sign: x to the right and y downwards, both from -1 to 1. They are rounded to whole pixels of
a large canvas before Pillow fills anything, so that the drawing needs no font, no image file and no anti-aliasing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

Point = tuple[float, float]
Colour = tuple[int, int, int]

REACH = 1.1
"""Half the side of the canvas in units of the sign: the sign reaches to 1, beyond it the canvas is transparent."""


def ellipse(centre: Point, radii: Point, angle: float) -> Point:
    """The point of an ellipse at `angle` in degrees: 0 is to the right, 90 is down."""
    return centre[0] + radii[0] * math.cos(math.radians(angle)), centre[1] + radii[1] * math.sin(math.radians(angle))


def arc(centre: Point, radii: Point, start: float, stop: float) -> list[Point]:
    """Points of an ellipse from angle `start` to `stop`, backwards when `stop` is the smaller."""
    steps = 1 + int(abs(stop - start) / 12)
    return [ellipse(centre, radii, start + (stop - start) * i / steps) for i in range(steps + 1)]


GLYPHS: dict[str, list[list[Point]]] = {
    "0": [[*arc((0.25, 0.27), (0.25, 0.27), 180, 360), *arc((0.25, 0.73), (0.25, 0.27), 0, 180), (0, 0.27), (0.02, 0.2)]],
    "1": [[(0, 0.2), (0.2, 0.02), (0.2, 1)]],
    "2": [[*arc((0.25, 0.26), (0.25, 0.26), 180, 385), (0, 1), (0.52, 1)]],
    "3": [[*arc((0.25, 0.25), (0.24, 0.25), 195, 450), *arc((0.24, 0.73), (0.26, 0.27), -90, 165)]],
    "5": [[(0.47, 0), (0.07, 0), (0.04, 0.44), *arc((0.24, 0.68), (0.27, 0.32), 230, 515)]],
    "6": [[*arc((0.25, 0.7), (0.25, 0.3), 0, 380)], [(0.35, 0), (0.12, 0.38), (0.01, 0.64), (0, 0.7)]],
    "7": [[(0, 0), (0.5, 0), (0.34, 0.4), (0.18, 1)]],
    "8": [[*arc((0.25, 0.24), (0.22, 0.24), 0, 380)], [*arc((0.25, 0.73), (0.26, 0.27), 0, 380)]],
    "O": [[*arc((0.2, 0.22), (0.2, 0.22), 180, 360), *arc((0.2, 0.78), (0.2, 0.22), 0, 180), (0, 0.22), (0.02, 0.14)]],
    "P": [[(0, 1), (0, 0), *arc((0.16, 0.28), (0.22, 0.28), -90, 90), (0, 0.56)]],
    "S": [[*arc((0.2, 0.25), (0.2, 0.25), -25, -270), *arc((0.2, 0.75), (0.2, 0.25), -90, 155)]],
    "T": [[(0, 0), (0.44, 0)], [(0.22, 0), (0.22, 1)]],
}
"""Centre lines of the digits and letters on the signs, in a box of height 1."""


@dataclass(frozen=True)
class Pen:
    """Draws on `canvas` in a frame at (`x`, `y`) of the sign, whose unit is `scale` of the sign's.

    weight: factor on the width of every stroke. mirror: -1 draws left for right.
    """

    canvas: Image
    x: float = 0.0
    y: float = 0.0
    scale: float = 1.0
    weight: float = 1.0
    mirror: int = 1

    def at(self, x: float, y: float, scale: float = 1.0) -> Pen:
        """A pen whose frame stands at (`x`, `y`) of this frame."""
        return replace(self, x=self.x + self.mirror * self.scale * x, y=self.y + self.scale * y, scale=self.scale * scale)

    def mirrored(self) -> Pen:
        """A pen that draws left for right."""
        return replace(self, mirror=-self.mirror)

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        """Fill a polygon."""
        from PIL import ImageDraw

        ImageDraw.Draw(self.canvas).polygon([self._pixel(point) for point in points], fill=(*colour, 255))

    def disc(self, centre: Point, radius: float, colour: Colour) -> None:
        """Fill a circle."""
        from PIL import ImageDraw

        (x, y), reach = self._pixel(centre), self._pixels(radius)
        ImageDraw.Draw(self.canvas).ellipse((x - reach, y - reach, x + reach, y + reach), fill=(*colour, 255))

    def stroke(self, points: Sequence[Point], width: float, colour: Colour) -> None:
        """Draw a line of constant width with round joints and straight ends."""
        half = width * self.weight / 2
        for (x0, y0), (x1, y1) in pairwise(points):
            length = math.hypot(x1 - x0, y1 - y0) or 1.0  # where two arcs meet, a point comes twice
            across_x, across_y = (y0 - y1) / length * half, (x1 - x0) / length * half
            corners = [(x0, y0, 1), (x1, y1, 1), (x1, y1, -1), (x0, y0, -1)]
            self.polygon([(x + side * across_x, y + side * across_y) for x, y, side in corners], colour)
        for joint in points[1:-1]:
            self.disc(joint, half, colour)

    def rounded(self, corners: Sequence[Point], radius: float, colour: Colour) -> None:
        """Fill a polygon grown by `radius`, which rounds its corners."""
        self.polygon(corners, colour)
        replace(self, weight=1.0).stroke([*corners, corners[0], corners[1]], 2 * radius, colour)

    def arrow(self, points: Sequence[Point], width: float, head: float, colour: Colour) -> None:
        """Draw a stroke along `points` with a head `head` long and 1.7 times as wide, whose tip is the last point."""
        (x0, y0), tip = points[-2], points[-1]
        length = math.hypot(tip[0] - x0, tip[1] - y0)
        along_x, along_y = head * (tip[0] - x0) / length, head * (tip[1] - y0) / length
        neck = (tip[0] - along_x, tip[1] - along_y)
        overlap = (tip[0] - 0.8 * along_x, tip[1] - 0.8 * along_y)
        self.stroke([*points[:-1], overlap], width, colour)
        barbs = [(neck[0] - side * 0.85 * along_y, neck[1] + side * 0.85 * along_x) for side in (-1, 1)]
        self.polygon([tip, *barbs], colour)

    def text(self, text: str, height: float, width: float, colour: Colour) -> None:
        """Write in the stroke font, centred on the frame, `height` high with strokes `width` wide."""
        size, gap = height - width, 1.4 * width
        widths = [size * max(x for line in GLYPHS[letter] for x, _ in line) for letter in text]
        left = -(sum(widths) + gap * (len(text) - 1)) / 2
        for letter, advance in zip(text, widths, strict=True):
            for line in GLYPHS[letter]:
                self.stroke([(left + size * x, size * (y - 0.5)) for x, y in line], width, colour)
            left += advance + gap

    def _pixel(self, point: Point) -> tuple[int, int]:
        middle = self.canvas.width // 2
        x, y = self.x + self.mirror * self.scale * point[0], self.y + self.scale * point[1]
        return middle + round(middle * x / REACH), middle + round(middle * y / REACH)

    def _pixels(self, length: float) -> int:
        return round(self.canvas.width / 2 * self.scale * length / REACH)
