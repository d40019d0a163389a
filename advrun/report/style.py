"""The look of all figures, and how they become bytes: the same bytes for the same figure."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

from advrun.fonts import BASE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMN = 3.4
"""Width of one column of a paper, in inches."""
DPI = 200
INK, FAINT, RIGHT, WRONG = "#222222", "#8a8a8a", "#0072B2", "#D55E00"
SHADES = ("#ffffff", "#bcd7ec", "#3f8fc6", "#0b3c68", "#051c33")
"""From nothing to all, in matrices."""
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#332288", "#999933", "#882255", "#7f5f3f")
"""The colour-blind safe palette of Okabe and Ito (2008), the strongest contrasts first; then of Tol (2021), and a brown."""
MARKERS = ("s", "^", "D", "v", "P", "X", "<", "p", ">", "h", "*")
"""One more than colours, so that in any two of 110 systems one of both differs, and in print without colour of 11 the marker."""

STYLE: Any = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "lines.markersize": 4,
    "figure.facecolor": "white",
    "text.parse_math": False,
    "pdf.fonttype": 42,
}


@dataclass(frozen=True)
class Picture:
    """A finished figure.

    name: file name without ending. kind: one of `page.SECTIONS`, such as robustness. caption: one paragraph of text.
    width: in inches.
    """

    name: str
    kind: str
    caption: str
    width: float
    png: bytes
    pdf: bytes


def picture(draw: Callable[[], tuple[Figure, str]], name: str, kind: str, families: Sequence[str] = (BASE,)) -> Picture:
    """Draw in the style of the report, whatever the user's own matplotlib settings are.

    Args:
        draw: makes the figure and its caption.
        name: file name without ending.
        kind: as in `Picture`.
        families: fonts; a character that one lacks is taken from the next.
    """
    import matplotlib

    with matplotlib.rc_context(), _silent("matplotlib.font_manager"):
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE | {"font.family": list(families)})
        figure, caption = draw()
        png, pdf = io.BytesIO(), io.BytesIO()
        figure.savefig(png, format="png", dpi=DPI, metadata={"Software": None})
        figure.savefig(pdf, format="pdf", dpi=DPI, metadata={"CreationDate": None, "Creator": None, "Producer": None})
        return Picture(name, kind, caption, figure.get_figwidth(), png.getvalue(), pdf.getvalue())


@contextmanager
def _silent(name: str) -> Iterator[None]:
    """Without warnings of that logger: that a font for a rare script has no bold face is nothing to act on."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def look(defenses: list[str]) -> dict[str, dict[str, str]]:
    """Colour and marker of each defence, as arguments of `Axes.plot`; the undefended model is dark grey with discs."""
    others = dict.fromkeys(defense for defense in defenses if defense != "none")
    styles = {
        defense: {"color": color, "marker": marker} for defense, color, marker in zip(others, cycle(PALETTE), cycle(MARKERS), strict=False)
    }
    return {"none": {"color": "#4d4d4d", "marker": "o"}, **styles}
