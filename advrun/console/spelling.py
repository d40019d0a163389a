"""Text as the reader's terminal can show it: ASCII for our signs where it knows no Unicode, escapes for what no terminal should get."""

from __future__ import annotations

import codecs
import re
import sys
from typing import TextIO

# fmt: off
GLYPHS = {
    "∞": "inf", "ε": "eps", "±": "+-", "×": "x", "≤": "<=", "≥": ">=", "≈": "~", "−": "-", "—": "-", "–": "-", "…": "...",
    "✓": "yes", "✗": "no", "→": "->", "’": "'", "‘": "'", "“": '"', "”": '"', "·": ".", "½": "1/2",
    "†": "[1]", "‡": "[2]", "§": "[3]", "¶": "[4]", "‖": "[5]", "◊": "[6]", "★": "[7]", "♯": "[8]", "△": "[9]", "○": "[10]",
    "◇": "[11]", "∝": "[12]", "⊤": "[13]", "♮": "[14]", "♭": "[15]", "∂": "[16]", "∅": "[17]", "⊥": "[18]",
    "⊗": "[19]", "≠": "[20]", "∄": "[21]", "∇": "[22]", "‼": "[!]",
}
# fmt: on
"""Our signs, and what stands for them in ASCII; the marks of flags (`flags.py`) are numbered."""
DANGEROUS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What moves the cursor, changes colours, turns the direction of writing, or is half a character: part of no honest name."""


def spelt(text: str, stream: TextIO | None = None) -> str:
    """`text` as `stream` (standard output) can show it. Widths are to be counted after this, not before."""
    safe = DANGEROUS.sub(lambda match: escaped(match[0]), text)
    encoding = getattr(stream or sys.stdout, "encoding", None) or "ascii"
    if safe.isascii() or is_unicode(encoding):
        return safe
    return "".join(character if character.isascii() else _known(character, encoding) for character in safe)


def is_unicode(encoding: str) -> bool:
    """Whether every character has its bytes in an encoding."""
    try:
        return codecs.lookup(encoding).name.startswith("utf")
    except LookupError:
        return False


def escaped(text: str) -> str:
    r"""Backslash escapes, such as \x1b or \udce9."""
    return text.encode("unicode_escape").decode("ascii")


def _known(character: str, encoding: str) -> str:
    if character in GLYPHS:
        return GLYPHS[character]
    if "\u2500" <= character <= "\u257f":  # lines of boxes
        return "-" if character in "─━╌╍╴╶╸╺═" else "|" if character in "│┃║╎╏" else "+"
    try:
        character.encode(encoding)
    except (UnicodeError, LookupError):
        return escaped(character)
    return character


def _spell_error(error: UnicodeError) -> tuple[str, int]:
    """For what others write: rich, click, and Python's own tracebacks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    wrong = error.object[error.start : error.end]
    return "".join(escaped(each) if DANGEROUS.match(each) else _known(each, "ascii") for each in wrong), error.end


codecs.register_error("advrun", _spell_error)


def accept_everything() -> None:
    """Let standard output and error take every text, whatever their encoding, also what does not come through `spelt`."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="advrun")
