"""The 43 signs of GTSRB as flat artwork, drawn from scratch: the plates and the list of signs.

Shapes and colours follow the annexes of the German road traffic regulations (StVO).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from advrun.datasets import _signs_pictograms as pictogram
from advrun.datasets._signs_pen import Colour, Pen
from advrun.datasets._signs_pictograms import BLACK, BLUE, GREY, RED, WHITE, YELLOW

Drawing = Callable[[Pen], None]
Plate = Callable[[Pen, float], None]

MAKERS = ((1.0, 1.0), (0.88, 0.95), (1.12, 1.03), (0.97, 0.9))
"""Stroke weight and size of the pictogram, relative to the drawing: signs by different makers differ a little."""


def _prohibition(draw: Drawing) -> Plate:
    def plate(pen: Pen, size: float) -> None:
        pen.disc((0, 0), 1.0, WHITE)
        pen.disc((0, 0), 0.97, RED)
        pen.disc((0, 0), 0.97 - 0.22 * pen.weight, WHITE)
        draw(pen.at(0, 0, size))

    return plate


def _end(draw: Drawing) -> Plate:
    def plate(pen: Pen, size: float) -> None:
        pen.disc((0, 0), 1.0, BLACK)
        pen.disc((0, 0), 0.96, WHITE)
        draw(pen.at(0, 0, size))
        for step in (-2, -1, 0, 1, 2):
            middle, reach = 0.08 * step, 0.68 - 0.015 * step * step
            pen.stroke([(middle - reach, middle + reach), (middle + reach, middle - reach)], 0.088, BLACK)

    return plate


def _warning(draw: Drawing) -> Plate:
    def plate(pen: Pen, size: float) -> None:
        corners = [(0.0, -0.88), (0.9, 0.81), (-0.9, 0.81)]
        pen.rounded(corners, 0.1, WHITE)
        pen.rounded(corners, 0.075, RED)
        inner = 0.92 - 0.17 * pen.weight
        pen.rounded([(inner * x, 0.27 + inner * (y - 0.27)) for x, y in corners], 0.02, WHITE)
        draw(pen.at(0, 0.24, 0.98 * size))

    return plate


def _mandatory(draw: Drawing) -> Plate:
    def plate(pen: Pen, size: float) -> None:
        pen.disc((0, 0), 1.0, WHITE)
        pen.disc((0, 0), 0.965, BLUE)
        draw(pen.at(0, 0, size))

    return plate


def _mirrored(draw: Drawing) -> Drawing:
    return lambda pen: draw(pen.mirrored())


def _speed(digits: str, colour: Colour = BLACK, scale: float = 1.0) -> Drawing:
    height, width = (0.94, 0.13) if len(digits) == 2 else (0.8, 0.11)
    return lambda pen: pen.text(digits, scale * height, width, colour)


def _nothing(pen: Pen) -> None:
    """An empty plate."""


def _priority_road(pen: Pen, size: float) -> None:
    for reach, colour in ((0.92, BLACK), (0.885, WHITE), (0.56 * size, YELLOW)):
        pen.rounded([(0, -reach), (reach, 0), (0, reach), (-reach, 0)], 0.06, colour)


def _yield(pen: Pen, size: float) -> None:
    corners = [(-0.9, -0.81), (0.9, -0.81), (0.0, 0.88)]
    pen.rounded(corners, 0.1, WHITE)
    pen.rounded(corners, 0.075, RED)
    inner = 0.90 - 0.19 * pen.weight
    pen.rounded([(inner * x, -0.27 + inner * (y + 0.27)) for x, y in corners], 0.02, WHITE)


def _stop(pen: Pen, size: float) -> None:
    for reach, colour in ((1.0, WHITE), (0.95, RED)):
        near = 0.4142 * reach
        right = [(reach, -near), (reach, near), (near, reach), (-near, reach)]
        pen.polygon([*right, *((-x, -y) for x, y in right)], colour)
    pen.at(0, 0, size).text("STOP", 0.78, 0.115, WHITE)


def _no_entry(pen: Pen, size: float) -> None:
    pen.disc((0, 0), 1.0, WHITE)
    pen.disc((0, 0), 0.97, RED)
    pen.polygon([(-0.8 * size, -0.17), (0.8 * size, -0.17), (0.8 * size, 0.17), (-0.8 * size, 0.17)], WHITE)


SIGNS: dict[str, Plate] = {
    "Speed limit (20km/h)": _prohibition(_speed("20")),
    "Speed limit (30km/h)": _prohibition(_speed("30")),
    "Speed limit (50km/h)": _prohibition(_speed("50")),
    "Speed limit (60km/h)": _prohibition(_speed("60")),
    "Speed limit (70km/h)": _prohibition(_speed("70")),
    "Speed limit (80km/h)": _prohibition(_speed("80")),
    "End of speed limit (80km/h)": _end(_speed("80", GREY, 1.14)),
    "Speed limit (100km/h)": _prohibition(_speed("100")),
    "Speed limit (120km/h)": _prohibition(_speed("120")),
    "No passing": _prohibition(pictogram.no_passing),
    "No passing for vehicles over 3.5 metric tons": _prohibition(pictogram.no_passing_trucks),
    "Right-of-way at the next intersection": _warning(pictogram.crossroads),
    "Priority road": _priority_road,
    "Yield": _yield,
    "Stop": _stop,
    "No vehicles": _prohibition(_nothing),
    "Vehicles over 3.5 metric tons prohibited": _prohibition(pictogram.truck),
    "No entry": _no_entry,
    "General caution": _warning(pictogram.exclamation),
    "Dangerous curve to the left": _warning(pictogram.curve),
    "Dangerous curve to the right": _warning(_mirrored(pictogram.curve)),
    "Double curve": _warning(pictogram.double_curve),
    "Bumpy road": _warning(pictogram.bumps),
    "Slippery road": _warning(pictogram.skid),
    "Road narrows on the right": _warning(pictogram.narrowing),
    "Road work": _warning(pictogram.worker),
    "Traffic signals": _warning(pictogram.traffic_light),
    "Pedestrians": _warning(pictogram.pedestrian),
    "Children crossing": _warning(pictogram.children),
    "Bicycles crossing": _warning(pictogram.bicycle),
    "Beware of ice/snow": _warning(pictogram.snowflake),
    "Wild animals crossing": _warning(pictogram.deer),
    "End of all speed and passing limits": _end(_nothing),
    "Turn right ahead": _mandatory(pictogram.turn),
    "Turn left ahead": _mandatory(_mirrored(pictogram.turn)),
    "Ahead only": _mandatory(pictogram.ahead),
    "Go straight or right": _mandatory(pictogram.ahead_or_right),
    "Go straight or left": _mandatory(_mirrored(pictogram.ahead_or_right)),
    "Keep right": _mandatory(pictogram.keep_right),
    "Keep left": _mandatory(_mirrored(pictogram.keep_right)),
    "Roundabout mandatory": _mandatory(pictogram.roundabout),
    "End of no passing": _end(pictogram.passing_over),
    "End of no passing by vehicles over 3.5 metric tons": _end(pictogram.passing_over_trucks),
}
"""GTSRB's classes in its order: name, and what draws it with a pen and a size of the pictogram."""


@cache
def artwork(size: int) -> NDArray[np.uint8]:
    """Every sign by every maker: (43, makers, size, size, 4) uint8 RGBA, colours multiplied by opacity.

    Drawn at four times the size and averaged over 4 x 4 pixels, which smooths the edges, then once more over 4 x 4, so
    that an image a quarter as large may pick the nearest pixel. Pillow averages in whole numbers.
    """
    from PIL import Image, ImageFilter

    sheets = np.empty((len(SIGNS), len(MAKERS), size, size, 4), np.uint8)
    for label, draw in enumerate(SIGNS.values()):
        for maker, (weight, scale) in enumerate(MAKERS):
            canvas = Image.new("RGBA", (4 * size, 4 * size))
            draw(Pen(canvas, weight=weight), scale)
            sheets[label, maker] = np.asarray(canvas.convert("RGBa").reduce(4).filter(ImageFilter.BoxBlur(1.5)))
    return sheets
