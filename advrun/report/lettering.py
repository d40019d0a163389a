"""Text in figures: how wide it is, and how it is made to fit and to be legible with the fonts there are.

Widths are in inches, sizes in points; the fonts are those of matplotlib's current settings, which `style.picture` makes.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from typing import Any

from advrun.fonts import Font

BOX = "□"
LINE = 1.2
"""Distance of two lines of text, in units of the size."""
POINTS = 72.0
"""An inch."""


def width(text: str, size: float, weight: str = "normal") -> float:
    """Of one line, in inches."""
    import matplotlib

    return _width(legible(text), size, weight, tuple(matplotlib.rcParams["font.family"]))


def widest(texts: Iterable[str], size: float, weight: str = "normal") -> float:
    """Of the widest line, in inches; 0 without any."""
    return max((width(text, size, weight) for text in texts), default=0.0)


def height(lines: int, size: float) -> float:
    """Of so many lines, in inches."""
    return lines * LINE * size / POINTS


def legible(text: str) -> str:
    """In one line, with a box for each character that no font has."""
    lacking = _lacking(text)
    return "".join(BOX if letter in lacking else letter for letter in " ".join(text.split()))


def class_labels(class_names: Sequence[str]) -> list[str]:
    """The names as they can be drawn: the number of the class where no font has the characters of its name."""
    return [str(index) if _lacking(name) or not name.strip() else legible(name) for index, name in enumerate(class_names)]


def shortened(text: str, size: float, room: float, weight: str = "normal") -> str:
    """The text, or its beginning and its end with '…' between, at most `room` inches wide."""
    text = legible(text)
    if width(text, size, weight) <= room:
        return text

    def cut(kept: int) -> str:
        tail = kept // 3
        return f"{text[: kept - tail].rstrip()}…{text[len(text) - tail :].lstrip()}"

    kept = bisect_right(range(1, len(text)), room, key=lambda kept: width(cut(kept), size, weight))
    return cut(kept)


def folded(text: str, size: float, room: float, lines: int = 2, weight: str = "normal") -> list[str]:
    """At most so many lines, none wider than `room` inches, broken behind spaces and signs, within words only where it must be."""
    rest = legible(text)
    found: list[str] = []
    while rest and len(found) < lines - 1 and width(rest, size, weight) > room:
        end = _break(rest, max(1, bisect_right(range(1, len(rest) + 1), room, key=lambda end: width(rest[:end].rstrip(), size, weight))))
        found.append(rest[:end].rstrip())
        rest = rest[end:].lstrip()
    return [*found, shortened(rest, size, room, weight)] if rest or not found else found


def _break(text: str, end: int) -> int:
    """The last place up to `end` where a line may end: behind a space, else behind a sign, else `end` itself."""
    for signs in (r"\s+", r"[_/,.-]+"):
        places = [match.end() for match in re.finditer(signs, text) if end / 3 < match.end() <= end]
        if places:
            return places[-1]
    return end


def _lacking(text: str) -> set[str]:
    import matplotlib

    lacking = set(text)
    for path in _paths(tuple(matplotlib.rcParams["font.family"])):
        lacking &= Font("", path).lacks(text)
    return lacking


@cache
def _paths(families: tuple[str, ...]) -> list[str]:
    from matplotlib import font_manager

    return [str(font_manager.findfont(font_manager.FontProperties(family=[family]))) for family in families]


@lru_cache(maxsize=20_000)
def _width(text: str, size: float, weight: str, families: tuple[str, ...]) -> float:
    from matplotlib.font_manager import FontProperties

    properties = FontProperties(family=list(families), size=size, weight=weight)
    across, _, _ = _renderer().get_text_width_height_descent(text, properties, ismath=False)
    return float(across) / RESOLUTION


RESOLUTION = 200
"""Dots per inch at which text is measured: those of the figures."""


@cache
def _renderer() -> Any:
    from matplotlib.backends.backend_agg import RendererAgg

    return RendererAgg(8, 8, RESOLUTION)  # type: ignore[no-untyped-call]  # matplotlib's stub
