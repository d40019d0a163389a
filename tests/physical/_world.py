"""A printed page, scissors, and a sign in a photograph."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from advrun.physical.corners import homography, mapped
from advrun.physical.sheet import INCH, Sheet
from advrun.survey import NOTHING

FINER = 5
"""The photograph is made with so many times its pixels to a side, and averaged."""


def printed(sheet: Sheet, dpi: float) -> list[np.ndarray]:
    """The pages as a printer makes them, (height, width, 3) uint8 each."""
    pages = []
    for number in range(sheet.pages):
        buffer = io.BytesIO()
        sheet.page(number).savefig(buffer, dpi=dpi, format="png")
        pages.append(np.asarray(Image.open(buffer).convert("RGB")))
    return pages


def cut_out(sheet: Sheet, pages: list[np.ndarray], dpi: float) -> np.ndarray:
    """(fine, fine, 3) uint8: the pieces taken from the pages by their places in mm, and put where the plan says."""
    sign = np.full((*sheet.kinds.shape, 3), 128, np.uint8)
    for piece in sheet.pieces:
        rows, columns = np.mgrid[piece.top : piece.bottom, piece.left : piece.right]
        down = (piece.y + (rows - piece.top + 0.5) * sheet.mm) / INCH * dpi
        right = (piece.x + (columns - piece.left + 0.5) * sheet.mm) / INCH * dpi
        sign[rows, columns] = pages[piece.page][down.astype(int), right.astype(int)]
    return sign


def stuck_on(photograph: np.ndarray, corners: np.ndarray, sign: np.ndarray, kinds: np.ndarray, light: float) -> np.ndarray:
    """A photograph (height, width, 3) uint8 with the pieces on the sign whose image has these corners, in that light."""
    height, width = photograph.shape[:2]
    side = len(kinds)
    square = np.array([(0, 0), (side, 0), (side, side), (0, side)], float)
    back = np.linalg.inv(homography(square, corners))
    rows, columns = np.mgrid[0 : height * FINER, 0 : width * FINER]
    places = np.floor(mapped(back, np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5], -1) / FINER)).astype(int)
    on = ((places >= 0) & (places < side)).all(-1)
    places = places.clip(0, side - 1)
    hidden = (on & (kinds[places[:, 1], places[:, 0]] != NOTHING)).astype(float)[:, None]
    ink = hidden * sign[places[:, 1], places[:, 0]] * light

    def averaged(values: np.ndarray) -> np.ndarray:
        return values.reshape(height, FINER, width, FINER, -1).mean((1, 3))

    return np.rint(photograph * (1 - averaged(hidden)) + averaged(ink)).clip(0, 255).astype(np.uint8)


def tilted(left: float, top: float, right: float, bottom: float, by: float) -> np.ndarray:
    """Corners of a box, seen from a little to the side: `by` of its width."""
    by *= right - left
    return np.array([(left + by, top + by), (right - by, top), (right - by, bottom), (left + by, bottom - by)])
