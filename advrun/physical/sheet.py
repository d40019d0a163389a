"""A sticker as a PDF to scale: every piece at the size that the sign has, cut lines around it, and a plan of where it goes."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from advrun.errors import ConfigError
from advrun.survey import BLACK, NOTHING, WHITE, Survey

PAPERS = {"a4": (210.0, 297.0), "letter": (215.9, 279.4)}
"""Width and height in mm."""
MARGIN, GAP, FOOT = 10.0, 6.0, 14.0
"""mm that printers leave white, between pieces, and below them, where the ruler is."""
INCH = 25.4
SMALLEST, LARGEST = 2.0, 300.0
"""Of a sign, in cm."""
RULER = 100.0


@dataclass(frozen=True)
class Piece:
    """A part of the sticker that is printed in one place: rows and columns of the fine picture, which page, and where on it, in mm."""

    name: str
    top: int
    bottom: int
    left: int
    right: int
    page: int = 0
    x: float = 0.0
    y: float = 0.0


@dataclass(frozen=True, eq=False)
class Sheet:
    """A sticker for a printer. colours: (fine, fine, 3) in [0, 1]; kinds: (fine, fine), as `Survey.cuts`; mm: one place of them."""

    colours: np.ndarray
    kinds: np.ndarray
    mm: float
    fill: float
    pieces: tuple[Piece, ...]
    paper: tuple[float, float]

    @property
    def pages(self) -> int:
        """With pieces; the plan comes before them."""
        return 1 + max(piece.page for piece in self.pieces)

    def pdf(self, title: str) -> bytes:
        """The plan, then the pages; the same sheet gives the same bytes."""
        import matplotlib
        from matplotlib.backends.backend_pdf import PdfPages

        buffer = io.BytesIO()
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            with PdfPages(buffer, metadata={"CreationDate": None, "Creator": None, "Producer": None}) as pages:
                for figure in (self.plan(title), *map(self.page, range(self.pages))):
                    pages.savefig(figure)
        return buffer.getvalue()

    def plan(self, title: str) -> Any:
        """The whole sign on one page, not to scale, with the pieces' names."""
        axes = _page(self.paper)
        width, height = self.paper
        side = len(self.kinds)
        shown = min(width - 2 * MARGIN, height - 6 * MARGIN)
        scale, top = shown / side, 5 * MARGIN
        _paint(axes, self.colours, self.kinds, MARGIN, top, scale)
        sign = (1 - self.fill) / 2 * shown
        axes.plot(*_square(MARGIN + sign, top + sign, shown - 2 * sign), color="0.6", linewidth=0.5, linestyle=":")
        for piece in self.pieces:
            axes.text(
                MARGIN + scale * (piece.left + piece.right) / 2,
                top + scale * piece.top - 1,
                piece.name,
                ha="center",
                va="bottom",
                fontsize=8,
            )
        size = self.mm * side * self.fill / 10
        lines = [
            title,
            f"For a sign {size:g} cm wide: the dotted square is its bounding box. {len(self.pieces)} pieces on {self.pages} pages follow.",
            f"Print at 100 %, not fitted to the page: the ruler is {RULER:g} mm long. Cut along the thin lines, and put the pieces",
            "where they are here, the discs too: advrun photos finds the sign by them. This page is not to scale.",
        ]
        axes.text(MARGIN, MARGIN, "\n".join(lines), va="top", fontsize=9, parse_math=False)
        return axes.figure

    def page(self, number: int) -> Any:
        """One page, to scale."""
        axes = _page(self.paper)
        for piece in self.pieces:
            if piece.page != number:
                continue
            part = np.s_[piece.top : piece.bottom, piece.left : piece.right]
            _paint(axes, self.colours[part], self.kinds[part], piece.x, piece.y, self.mm)
            axes.text(piece.x, piece.y - 0.6, piece.name, fontsize=6, va="bottom", color="0.4")
        height = self.paper[1]
        base = height - MARGIN - 2
        axes.plot([MARGIN, MARGIN + RULER], [base, base], color="black", linewidth=0.5, gid="ruler")
        for tick in np.arange(0, RULER + 1, 10):
            axes.plot([MARGIN + tick] * 2, [base, base - 2], color="black", linewidth=0.5)
        axes.text(MARGIN + RULER + 3, base, f"{RULER:g} mm   page {number + 1} of {self.pages}", fontsize=7, va="center")
        return axes.figure


def width(cm: str | float) -> float:
    """The width of a sign. Raises ConfigError for one of no size."""
    try:
        number = float(cm)
    except ValueError:
        number = math.nan
    if not SMALLEST <= number <= LARGEST:
        raise ConfigError(f"got {cm!r}; expected the width of the sign, {SMALLEST:g} to {LARGEST:g} cm (a stop sign: 75 to 90)")
    return number


def sheet(survey: Survey, number: int, sign_cm: float, paper: str) -> Sheet:
    """The sheet of a survey's sticker.

    Args:
        survey: of a finished attack.
        number: which of its stickers.
        sign_cm: width of the sign.
        paper: a4 or letter.

    Raises:
        ConfigError: for a sign of no size.
    """
    sign_cm = width(sign_cm)
    kinds = survey.cuts[number]
    mm = 10 * sign_cm / survey.fill / len(kinds)
    pieces = tuple(_placed(list(_pieces(kinds, mm, PAPERS[paper])), mm, PAPERS[paper]))
    return Sheet(fine(survey, number), kinds, mm, survey.fill, pieces, PAPERS[paper])


def fine(survey: Survey, number: int) -> np.ndarray:
    """(fine, fine, 3) float32 in [0, 1]: the colours as they are printed, each pixel of the sticker a square."""
    ink, hidden, kinds = survey.stickers[number, ..., :-1], survey.stickers[number, ..., -1:], survey.cuts[number]
    height, width = hidden.shape[:2]
    side = len(kinds)
    shares = [_shrunk(kinds == kind, height, width)[..., None] for kind in (WHITE, BLACK)]
    free = hidden - shares[0] - shares[1]
    colours = np.where(free > 0.02, (ink - shares[0]) / np.maximum(free, 0.02), 0.5).clip(0, 1)
    colours = np.broadcast_to(colours, (height, width, 3)) if colours.shape[-1] == 1 else colours
    large = colours[np.ix_(np.arange(side) * height // side, np.arange(side) * width // side)].astype(np.float32)
    large[kinds == WHITE], large[kinds == BLACK] = 1.0, 0.0
    return large


def _shrunk(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.fromarray(mask.astype(np.float32)).resize((width, height), Image.Resampling.BOX))


def _pieces(kinds: np.ndarray, mm: float, paper: tuple[float, float]) -> Iterator[Piece]:
    """The connected parts, from the top down; what is larger than a page in tiles."""
    from scipy import ndimage

    room = np.array([paper[1] - 2 * MARGIN - FOOT, paper[0] - 2 * MARGIN]) / mm
    most = np.maximum(room.astype(int), 1)
    parts, _ = ndimage.label(kinds != NOTHING)
    number = 0
    for rows, columns in ndimage.find_objects(parts):
        if (rows.stop - rows.start) * (columns.stop - columns.start) < 9:  # a crumb of the edge
            continue
        number += 1
        tiles = [
            (top, min(top + most[0], rows.stop), left, min(left + most[1], columns.stop))
            for top in range(rows.start, rows.stop, most[0])
            for left in range(columns.start, columns.stop, most[1])
        ]
        tiles = [tile for tile in tiles if (kinds[tile[0] : tile[1], tile[2] : tile[3]] != NOTHING).any()]
        for letter, tile in enumerate(tiles):
            yield Piece(f"{number}{_letters(letter) if len(tiles) > 1 else ''}", *map(int, tile))


def _letters(number: int) -> str:
    return (_letters(number // 26 - 1) if number >= 26 else "") + "abcdefghijklmnopqrstuvwxyz"[number % 26]


def _placed(pieces: list[Piece], mm: float, paper: tuple[float, float]) -> Iterator[Piece]:
    """In rows from the top of each page, tall pieces first."""
    page, x, y, tallest = 0, MARGIN, MARGIN + GAP, 0.0
    for piece in sorted(pieces, key=lambda each: each.top - each.bottom):
        width, height = mm * (piece.right - piece.left), mm * (piece.bottom - piece.top)
        if x + width > paper[0] - MARGIN + 1e-6:
            x, y, tallest = MARGIN, y + tallest + GAP, 0.0
        if y > MARGIN + GAP and y + height > paper[1] - MARGIN - FOOT + GAP + 1e-6:
            page, x, y, tallest = page + 1, MARGIN, MARGIN + GAP, 0.0
        yield Piece(piece.name, piece.top, piece.bottom, piece.left, piece.right, page, x, y)
        x, tallest = x + width + GAP, max(tallest, height)


def _page(paper: tuple[float, float]) -> Any:
    """Axes over a whole page, in mm from its top left corner."""
    from matplotlib.figure import Figure

    axes = Figure(figsize=(paper[0] / INCH, paper[1] / INCH)).add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, paper[0]), ylim=(paper[1], 0))
    axes.axis("off")
    return axes


def _paint(axes: Any, colours: np.ndarray, kinds: np.ndarray, x: float, y: float, mm: float) -> None:
    """A piece with its left top corner at (x, y), and its cut lines; nothing where it is no sticker."""
    height, width = kinds.shape
    image = np.concatenate([colours, (kinds != NOTHING)[..., None].astype(colours.dtype)], -1)
    place = (x, x + mm * width, y + mm * height, y)
    axes.imshow(np.rint(255 * image).astype(np.uint8), extent=place, interpolation="nearest", aspect="auto", resample=False)
    border = np.pad((kinds != NOTHING).astype(np.float32), 1)
    columns, rows = x + mm * (np.arange(width + 2) - 0.5), y + mm * (np.arange(height + 2) - 0.5)
    axes.contour(columns, rows, border, levels=[0.5], colors="0.4", linewidths=0.25)
    axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())


def _square(x: float, y: float, side: float) -> tuple[list[float], list[float]]:
    return [x, x + side, x + side, x, x], [y, y, y + side, y + side, y]
