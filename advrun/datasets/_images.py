"""Image files to one uint8 array. Headers are judged before a pixel is decoded, and every unusable file is named."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from advrun.datasets._sniff import HEAD, describe
from advrun.errors import DataError

MAX_SIDE = 4096
"""Pixels; larger images are refused by their header."""
MAX_BYTES = 8 * 2**30
"""Arrays that declare more than this are refused before they are read."""
NAMED = 4
"""So many unusable files are named in an error; the others are counted."""


class Source(NamedTuple):
    """One image file, and the region to cut out: left, top, right, bottom in pixels, right and bottom excluded."""

    path: Path
    box: tuple[int, int, int, int] | None = None


def read_images(sources: Sequence[Source], size: int, formats: tuple[str, ...], root: Path, remedy: str) -> np.ndarray:
    """Decode, cut out and resize every image: (n, size, size, 3) uint8 RGB, in the order of `sources`.

    Resizing is Pillow's BILINEAR (antialiased when shrinking). Grey and palette images become RGB; an alpha channel is dropped.

    Args:
        sources: the files.
        size: height and width of the result, in pixels.
        formats: Pillow's names of the file formats to accept.
        root: folder named in errors.
        remedy: ends the error message.

    Raises:
        DataError: some files are missing, damaged, too large or of the wrong kind; names the first few, each with its reason.
    """
    from PIL import Image

    if len(sources) * size * size * 3 > MAX_BYTES:
        raise DataError(f"{root}: {len(sources)} images of {size} x {size} need over {MAX_BYTES >> 30} GiB; lower image_size")
    images = np.empty((len(sources), size, size, 3), np.uint8)

    def read(row: int) -> tuple[Path, str] | None:
        try:
            images[row] = _decode(sources[row], size, formats)
        except Exception as error:  # a damaged image raises whatever its bytes lead to
            return sources[row].path, reason(sources[row].path, error)
        return None

    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.simplefilter("ignore")  # of metadata, which nothing here reads
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        problems = [problem for problem in pool.map(read, range(len(sources))) if problem]
    refuse(problems, len(sources), root, remedy)
    return images


def refuse(problems: Sequence[tuple[Path, str]], total: int, root: Path, remedy: str) -> None:
    """Raise DataError when there are problems: how many, the first few files with their reasons, and the remedy."""
    if not problems:
        return
    named = ", ".join(f"{_relative(path, root)} ({reason})" for path, reason in problems[:NAMED])
    more = f" and {len(problems) - NAMED} more" if len(problems) > NAMED else ""
    raise DataError(f"{root}: {len(problems)} of {total} images cannot be used: {named}{more}; {remedy}")


def _decode(source: Source, size: int, formats: tuple[str, ...]) -> np.ndarray:
    from PIL import Image

    image: Any
    with Image.open(source.path, formats=formats) as image:
        width, height = image.size
        if max(width, height) > MAX_SIDE:
            raise ValueError(f"{width} x {height} pixels, more than {MAX_SIDE}")
        if image.mode in ("I", "F") or image.mode.startswith("I;"):
            raise ValueError(f"pixels of more than 8 bit, mode {image.mode}: save it as 8-bit")
        if source.box is not None:
            left, top, right, bottom = source.box
            if not (0 <= left < right <= width and 0 <= top < bottom <= height):
                raise ValueError(f"region {left},{top} to {right},{bottom} is not inside {width} x {height}")
            image = image.crop(source.box)
        if image.mode == "P":
            image = image.convert("RGBA")
        return np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))


def reason(path: Path, error: Exception) -> str:
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, FileNotFoundError):
        return "missing"
    if isinstance(error, UnidentifiedImageError):
        with open(path, "rb") as file:
            return describe(file.read(HEAD)) or "not an image of the expected format"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"a header that declares far more than {MAX_SIDE} x {MAX_SIDE} pixels"
    return " ".join(str(error).split()) or type(error).__name__


def _relative(path: Path, root: Path) -> Path:
    return path.relative_to(root) if path.is_relative_to(root) else path
