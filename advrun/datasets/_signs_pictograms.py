"""What stands on the plates: vehicles, people, animals, arrows. One function per pictogram, drawn by a `Pen`.

Frames: on round signs the unit is the radius of the plate. On warning signs the frame's origin is the middle of the white
triangle, whose visible part reaches from about -0.5 to 0.35 downwards and, at the foot, to 0.5 on both sides.
"""

from __future__ import annotations

from advrun.datasets._signs_pen import Colour, Pen, arc, ellipse

WHITE = (235, 235, 235)
BLACK = (22, 22, 24)
RED = (168, 34, 28)
BLUE = (20, 76, 180)
YELLOW = (236, 164, 40)
GREEN = (30, 150, 120)
GREY = (92, 94, 96)


# Vehicles, which face the observer's left or are seen from behind.


def car(pen: Pen, colour: Colour) -> None:
    """A car seen from behind, 1 wide."""
    roof = [(-0.24, -0.28), (0.24, -0.28), (0.34, -0.04), (0.5, 0.0), (0.5, 0.2)]
    pen.polygon([*roof, (-0.5, 0.2), (-0.5, 0.0), (-0.34, -0.04)], colour)
    pen.polygon([(-0.17, -0.2), (0.17, -0.2), (0.23, -0.06), (-0.23, -0.06)], WHITE)
    for side in (-1, 1):
        pen.polygon([(side * 0.45, 0.15), (side * 0.27, 0.15), (side * 0.27, 0.34), (side * 0.45, 0.34)], colour)


def truck_rear(pen: Pen, colour: Colour) -> None:
    """A lorry seen from behind, 1 wide."""
    pen.polygon([(-0.5, -0.6), (0.5, -0.6), (0.5, 0.22), (-0.5, 0.22)], colour)
    for side in (-1, 1):
        pen.polygon([(side * 0.45, 0.15), (side * 0.22, 0.15), (side * 0.22, 0.36), (side * 0.45, 0.36)], colour)


def no_passing(pen: Pen) -> None:
    """A red car beside a black one."""
    car(pen.at(-0.34, 0.0, 0.62), RED)
    car(pen.at(0.34, 0.0, 0.62), BLACK)


def no_passing_trucks(pen: Pen) -> None:
    """A red lorry beside a black car."""
    truck_rear(pen.at(-0.32, 0.04, 0.6), RED)
    car(pen.at(0.34, 0.06, 0.6), BLACK)


def passing_over(pen: Pen) -> None:
    """Two grey cars."""
    car(pen.at(-0.36, 0.02, 0.64), GREY)
    car(pen.at(0.36, 0.02, 0.64), GREY)


def passing_over_trucks(pen: Pen) -> None:
    """A grey lorry beside a grey car."""
    truck_rear(pen.at(-0.33, 0.03, 0.7), GREY)
    car(pen.at(0.4, 0.06, 0.62), GREY)


def truck(pen: Pen) -> None:
    """A lorry from the side, facing left."""
    pen.polygon([(-0.2, -0.3), (0.62, -0.3), (0.62, 0.16), (-0.2, 0.16)], BLACK)
    pen.polygon([(-0.62, 0.2), (-0.62, 0.0), (-0.52, -0.2), (-0.27, -0.2), (-0.27, 0.1), (0.62, 0.1), (0.62, 0.2)], BLACK)
    pen.polygon([(-0.54, -0.01), (-0.48, -0.13), (-0.36, -0.13), (-0.36, -0.01)], WHITE)
    for x in (-0.44, 0.36):
        pen.disc((x, 0.23), 0.14, WHITE)
        pen.disc((x, 0.23), 0.11, BLACK)


# Warnings.


def exclamation(pen: Pen) -> None:
    """General danger."""
    pen.polygon([(-0.09, -0.52), (0.09, -0.52), (0.05, 0.16), (-0.05, 0.16)], BLACK)
    pen.disc((0, 0.32), 0.085, BLACK)


def crossroads(pen: Pen) -> None:
    """Right of way at the next crossing."""
    pen.polygon([(0, -0.48), (0.17, -0.26), (0.17, 0.4), (0, 0.3), (-0.17, 0.4), (-0.17, -0.26)], BLACK)
    pen.stroke([(-0.37, 0.04), (0.37, 0.04)], 0.12, BLACK)


def curve(pen: Pen) -> None:
    """A bend to the left."""
    pen.arrow([(0.24, 0.4), (0.24, 0.12), (0.16, -0.06), (0.0, -0.13), (-0.36, -0.15)], 0.16, 0.22, BLACK)


def double_curve(pen: Pen) -> None:
    """Two bends, the first to the left."""
    pen.arrow([(0.13, 0.42), (0.13, -0.04), (-0.13, 0.1), (-0.13, -0.44)], 0.17, 0.2, BLACK)


def bumps(pen: Pen) -> None:
    """An uneven road."""
    for x in (-0.22, 0.22):
        pen.polygon(arc((x, 0.26), (0.2, 0.2), 180, 360), BLACK)
    pen.polygon([(-0.52, 0.25), (0.52, 0.25), (0.52, 0.34), (-0.52, 0.34)], BLACK)


def skid(pen: Pen) -> None:
    """A car that slides, with its tracks."""
    pen.polygon([(-0.3, -0.12), (-0.18, -0.32), (0.14, -0.37), (0.27, -0.22), (0.34, -0.18), (0.33, -0.03), (-0.28, 0.04)], BLACK)
    pen.polygon([(-0.14, -0.18), (-0.1, -0.26), (0.1, -0.29), (0.16, -0.22)], WHITE)
    pen.polygon([(-0.25, 0.0), (-0.13, -0.02), (-0.11, 0.08), (-0.22, 0.1)], BLACK)
    pen.polygon([(0.18, -0.04), (0.3, -0.06), (0.32, 0.03), (0.21, 0.05)], BLACK)
    for x in (-0.18, 0.26):
        pen.stroke([(x, 0.1), (x - 0.16, 0.2), (x + 0.06, 0.28), (x - 0.16, 0.4)], 0.05, BLACK)


def narrowing(pen: Pen) -> None:
    """The road narrows on the right."""
    pen.stroke([(-0.14, 0.42), (-0.14, -0.4)], 0.11, BLACK)
    pen.stroke([(0.28, 0.42), (0.28, 0.14), (0.1, -0.06), (0.1, -0.4)], 0.11, BLACK)


def worker(pen: Pen) -> None:
    """A man with a shovel, and a heap."""
    pen.disc((0.02, -0.42), 0.09, BLACK)
    pen.polygon([(-0.1, -0.34), (0.05, -0.28), (-0.02, 0.02), (-0.2, 0.02), (-0.22, -0.14)], BLACK)
    pen.stroke([(-0.16, 0.0), (-0.18, 0.2), (-0.32, 0.44)], 0.1, BLACK)
    pen.stroke([(-0.06, 0.0), (0.0, 0.2), (-0.04, 0.44)], 0.1, BLACK)
    pen.stroke([(-0.02, -0.26), (0.16, -0.1), (0.08, 0.06)], 0.08, BLACK)
    pen.stroke([(-0.16, -0.12), (0.34, 0.24)], 0.055, BLACK)
    pen.polygon([(0.12, 0.44), (0.34, 0.16), (0.6, 0.44)], BLACK)


def traffic_light(pen: Pen) -> None:
    """Red, yellow, green."""
    for y, colour in ((-0.34, RED), (-0.03, YELLOW), (0.28, GREEN)):
        pen.disc((0, y), 0.115, colour)


def pedestrian(pen: Pen) -> None:
    """A man walking."""
    pen.disc((0.0, -0.46), 0.09, BLACK)
    pen.polygon([(-0.11, -0.34), (0.1, -0.34), (0.1, 0.02), (-0.09, 0.02)], BLACK)
    pen.stroke([(0.03, -0.02), (0.06, 0.18), (0.22, 0.44)], 0.1, BLACK)
    pen.stroke([(-0.03, -0.02), (-0.06, 0.18), (-0.2, 0.44)], 0.1, BLACK)
    pen.stroke([(-0.08, -0.3), (-0.22, -0.08), (-0.2, 0.04)], 0.07, BLACK)
    pen.stroke([(0.08, -0.3), (0.22, -0.1), (0.3, -0.04)], 0.07, BLACK)


def child(pen: Pen) -> None:
    """A running child, about 1 high."""
    pen.disc((0, -0.46), 0.13, BLACK)
    pen.polygon([(-0.12, -0.3), (0.12, -0.3), (0.13, 0.12), (-0.13, 0.12)], BLACK)
    pen.stroke([(-0.05, 0.08), (-0.12, 0.28), (-0.36, 0.46)], 0.11, BLACK)
    pen.stroke([(0.05, 0.08), (0.18, 0.28), (0.2, 0.54)], 0.11, BLACK)
    pen.stroke([(-0.1, -0.25), (-0.28, -0.08), (-0.42, -0.16)], 0.09, BLACK)
    pen.stroke([(0.1, -0.25), (0.28, -0.1), (0.4, -0.2)], 0.09, BLACK)


def children(pen: Pen) -> None:
    """Two children hand in hand, the right one taller."""
    child(pen.at(-0.26, 0.12, 0.56))
    child(pen.at(0.18, 0.02, 0.72))


def bicycle(pen: Pen) -> None:
    """A bicycle from the side."""
    for x in (-0.3, 0.3):
        pen.disc((x, 0.18), 0.22, BLACK)
        pen.disc((x, 0.18), 0.22 - 0.06 * pen.weight, WHITE)
    frame = [
        [(-0.3, 0.18), (-0.12, -0.14), (0.18, -0.14), (0.0, 0.18), (-0.3, 0.18)],
        [(-0.18, -0.26), (0.0, 0.18)],
        [(0.3, 0.18), (0.14, -0.26)],
    ]
    for line in frame:
        pen.stroke(line, 0.06, BLACK)
    pen.stroke([(-0.28, -0.27), (-0.08, -0.27)], 0.08, BLACK)
    pen.stroke([(0.14, -0.26), (0.3, -0.3)], 0.07, BLACK)


def snowflake(pen: Pen) -> None:
    """Six arms with barbs."""
    centre = (0.0, -0.02)
    polar = ((0.36, 0), (0.2, 0), (0.31, 25), (0.31, -25))
    for angle in range(30, 390, 60):
        tip, fork, left, right = (ellipse(centre, (radius, radius), angle + turn) for radius, turn in polar)
        pen.stroke([centre, tip], 0.085, BLACK)
        pen.stroke([left, fork, right], 0.06, BLACK)


def deer(pen: Pen) -> None:
    """A leaping stag, facing left."""
    pen.polygon([(-0.18, -0.1), (0.04, 0.0), (0.3, 0.08), (0.38, 0.03), (0.35, 0.16), (0.18, 0.22), (-0.04, 0.14), (-0.2, 0.1)], BLACK)
    pen.polygon([(-0.22, 0.04), (-0.24, -0.18), (-0.38, -0.15), (-0.38, -0.2), (-0.24, -0.29), (-0.15, -0.22), (-0.06, -0.04)], BLACK)
    pen.stroke([(-0.2, -0.26), (-0.14, -0.38), (-0.18, -0.48)], 0.045, BLACK)
    pen.stroke([(-0.18, -0.26), (-0.04, -0.34), (-0.02, -0.44)], 0.045, BLACK)
    pen.stroke([(-0.16, 0.08), (-0.36, 0.12), (-0.32, 0.24)], 0.055, BLACK)
    pen.stroke([(-0.08, 0.1), (-0.22, 0.22), (-0.4, 0.28)], 0.055, BLACK)
    pen.stroke([(0.28, 0.14), (0.36, 0.28), (0.52, 0.38)], 0.06, BLACK)
    pen.stroke([(0.2, 0.16), (0.24, 0.3), (0.38, 0.42)], 0.055, BLACK)


# Arrows on blue.


def turn(pen: Pen) -> None:
    """Turn right ahead."""
    pen.arrow([(-0.4, 0.62), (-0.4, 0.1), (-0.3, -0.12), (-0.1, -0.2), (0.7, -0.2)], 0.24, 0.4, WHITE)


def ahead(pen: Pen) -> None:
    """Straight ahead."""
    pen.arrow([(0, 0.7), (0, -0.72)], 0.24, 0.42, WHITE)


def ahead_or_right(pen: Pen) -> None:
    """Straight ahead or right."""
    pen.arrow([(-0.22, 0.7), (-0.22, -0.74)], 0.2, 0.36, WHITE)
    pen.arrow([(-0.22, 0.5), (-0.14, 0.3), (0.02, 0.22), (0.74, 0.22)], 0.2, 0.34, WHITE)


def keep_right(pen: Pen) -> None:
    """An arrow down to the right."""
    pen.arrow([(-0.52, -0.52), (0.57, 0.57)], 0.26, 0.5, WHITE)


def roundabout(pen: Pen) -> None:
    """Three arrows chase each other anticlockwise."""
    for start in (32, 152, 272):
        tip = ellipse((0, 0), (0.6, 0.6), start - 100)
        pen.arrow([*arc((0, 0), (0.63, 0.63), start, start - 74), tip], 0.14, 0.28, WHITE)
