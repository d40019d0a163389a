"""Which installed fonts have the characters of a text: matplotlib brings DejaVu Sans, which has no Chinese, Japanese or Korean."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

BASE = "DejaVu Sans"
LATIN = 0x250
"""Before this, all visible characters are in DejaVu Sans."""


@dataclass(frozen=True)
class Font:
    """An installed font: its name for matplotlib, its file for Pillow."""

    family: str
    path: str

    def lacks(self, text: str) -> set[str]:
        """The visible characters of `text` that the font has no glyph for; line breaks and other controls have none in any font."""
        return {letter for letter in text if not letter.isspace() and ord(letter) not in _characters(self.path)}


def base() -> Font:
    """The font that is always there."""
    from matplotlib import font_manager

    return Font(BASE, str(font_manager.findfont(BASE)))


def families(texts: Iterable[str]) -> list[str]:
    """The names of `fonts_for`. Loads nothing for Latin letters."""
    texts = list(texts)
    if all(ord(letter) < LATIN for text in texts for letter in text):
        return [BASE]
    return [font.family for font in fonts_for(texts)[0]]


def fonts_for(texts: Iterable[str]) -> tuple[list[Font], set[str]]:
    """DejaVu Sans, then the fewest installed fonts that have what it lacks; and the characters that no installed font has."""
    chosen = [base()]
    lacking = chosen[0].lacks("".join(texts))
    while lacking:
        best = min(_installed(), key=lambda font: (len(font.lacks("".join(sorted(lacking)))), font.family, font.path), default=chosen[0])
        left = best.lacks("".join(lacking))
        if left == lacking:
            break
        chosen.append(best)
        lacking = left
    return chosen, lacking


def _installed() -> list[Font]:
    """Upright fonts of ordinary weight; not the ones that have a box for every character."""
    from matplotlib import font_manager

    entries = [entry for entry in font_manager.fontManager.ttflist if entry.style == "normal" and entry.variant == "normal"]
    plain = {400, "normal", "regular", "book", "medium"}
    return [Font(entry.name, entry.fname) for entry in entries if entry.weight in plain and "lastresort" not in _squeezed(entry.name)]


def _squeezed(name: str) -> str:
    return name.replace(" ", "").lower()


@cache
def _characters(path: str) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(path).get_charmap())
    except (OSError, RuntimeError, ValueError):  # a damaged font has none
        return frozenset()
