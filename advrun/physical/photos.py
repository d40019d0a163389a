"""Photographs of a sign with its sticker: opened, the sign found and made flat, classified, and counted by distance and angle."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from advrun.errors import DataError, printable
from advrun.metrics import softmax
from advrun.physical.chosen import Chosen
from advrun.physical.corners import found, homography, mapped
from advrun.physical.sheet import fine
from advrun.physical.table import TABLE, Known, by_name, read_table
from advrun.results import binomial_interval
from advrun.survey import NOTHING

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm")
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM")
"""Pillow's names; JPEG also opens the several pictures in one that some phones make."""
MOST_PIXELS = 120_000_000
FINER = 8
"""The flat sign is made with up to so many times the pixels that the classifier sees, and then averaged."""
SQUARE = np.array([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)])


@dataclass(frozen=True)
class Photo:
    """One photograph. by: "markers" or "table". predicted: -1 where no sign was found, or the file is none; `problem` says why."""

    file: str
    distance: float | None
    angle: float | None
    by: str = ""
    predicted: int = -1
    confidence: float = 0.0
    reached: bool = False
    problem: str = ""


@dataclass(frozen=True)
class Share:
    """Photographs of one distance and angle; distance and angle None for all together, or where they are not known."""

    distance: float | None
    angle: float | None
    n: int
    reached: int

    @property
    def interval(self) -> tuple[float, float]:
        """Exact binomial, 95 %."""
        return binomial_interval(self.reached, self.n)


def photographs(folder: Path, table: Path | None) -> list[tuple[Path, Known]]:
    """The pictures of a folder by name, and what is known of them: by `table`, else by the folder's photos.csv, else by their names.

    Raises:
        DataError: where there are none, or the table is wrong, or names files that are not there.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; name the folder of the photographs")
    files = {path.name: path for path in sorted(folder.iterdir()) if path.suffix.lower() in ENDINGS and not path.name.startswith(".")}
    if not files:
        raise DataError(f"{folder}: no photographs; expected files that end in {', '.join(ENDINGS)}")
    table = folder / TABLE if table is None and (folder / TABLE).is_file() else table
    rows = read_table(table) if table else {}
    missing = sorted(rows.keys() - files.keys())
    if missing:
        raise DataError(f"{table}: {missing[0]} and {len(missing) - 1} others are no photographs of {folder}" if len(missing) > 1 else
                        f"{table}: {missing[0]} is no photograph of {folder}")  # fmt: skip
    return [(path, _joined(rows.get(name), by_name(name))) for name, path in files.items()]


def _joined(row: Known | None, name: Known) -> Known:
    """What the table says goes before what the name says."""
    if row is None:
        return name
    return Known(name.distance if row.distance is None else row.distance, name.angle if row.angle is None else row.angle, row.corners)


def read_back(chosen: Chosen, photos: Sequence[tuple[Path, Known]]) -> tuple[list[Photo], np.ndarray]:
    """Each photograph, and what the classifier was shown, (m, h, w, c) uint8, of those in which the sign was found."""
    survey, classifier = chosen.survey, chosen.classifier()
    shape = survey.stickers.shape[1:3]
    colours, hidden = fine(survey, chosen.number), survey.cuts[chosen.number] != NOTHING
    marked = bool((survey.cuts[chosen.number] > 1).any())
    seen, signs = [], []
    for path, known in photos:
        try:
            image = opened_photo(path)
            corners = known.corners
            if corners is None:
                if not marked:
                    raise DataError("the sticker has no markers; say in the table where the sign is")
                plane = found(image, colours, hidden, survey.fill)
                if plane is None:
                    raise DataError("no four markers with this sticker; give a sharper photograph, or its corners in a table")
                corners = mapped(plane, SQUARE / survey.fill)
            signs.append(flat(image, corners, shape))
            seen.append(Photo(path.name, known.distance, known.angle, "markers" if known.corners is None else "table"))
        except DataError as error:
            seen.append(Photo(path.name, known.distance, known.angle, problem=str(error)))
    if not signs:
        return seen, np.empty((0, *shape, 3), np.uint8)
    shown = np.stack(signs)
    shown = shown if survey.stickers.shape[-1] == 4 else np.rint(shown.mean(-1, keepdims=True)).astype(np.uint8)
    scores = iter(softmax(classifier.predict(shown)))
    return [_judged(photo, next(scores), chosen, classifier.classes) if photo.by else photo for photo in seen], shown


def _judged(photo: Photo, scores: np.ndarray, chosen: Chosen, classes: int) -> Photo:
    """What is rejected, by an output behind those of the classes, has not reached anything."""
    predicted = int(scores.argmax())
    reached = predicted == chosen.target if chosen.target is not None else predicted not in (chosen.source_class, classes)
    return Photo(photo.file, photo.distance, photo.angle, photo.by, predicted, float(scores[predicted]), reached)


def opened_photo(file: Path | BinaryIO, most_pixels: int = MOST_PIXELS) -> np.ndarray:
    """(height, width, 3) uint8, turned as the camera says (EXIF), on white where transparent. Raises DataError with the reason alone."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(file, formats=FORMATS) as image:
                if image.width * image.height > most_pixels or min(image.size) < 8:
                    raise DataError(f"{image.width} x {image.height} pixels; expected 8 to a side, and at most {most_pixels:,}")
                if image.mode in ("I", "F") or image.mode.startswith("I;"):
                    raise DataError(f"pixels of more than 8 bit, mode {image.mode}; save it as 8-bit")
                turned = ImageOps.exif_transpose(image)
                if turned.has_transparency_data:
                    turned = Image.alpha_composite(Image.new("RGBA", turned.size, "white"), turned.convert("RGBA"))
                return np.asarray(turned.convert("RGB"))
    except DataError:
        raise
    except Exception as error:  # a damaged image raises whatever its bytes lead to
        unknown = isinstance(error, UnidentifiedImageError)
        said = "its bytes are of no known image format" if unknown else " ".join(str(error).replace(str(file), "").split())
        raise DataError(f"no photograph that can be read ({said or type(error).__name__})") from error


def flat(image: np.ndarray, corners: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """What lies between four corners (4, 2) of a photograph, as (height, width, 3) uint8.

    First with about as many pixels as the photograph has there, then averaged by Pillow's BILINEAR, as data sets of crops are.
    """
    from PIL import Image

    height, width = shape
    sides = np.linalg.norm(np.roll(corners, -1, 0) - corners, axis=-1)
    finer = int(np.clip(np.ceil(max(sides[[0, 2]].max() / width, sides[[1, 3]].max() / height)), 1, FINER))
    size = (width * finer, height * finer)
    whole = np.array([(0, 0), (size[0], 0), size, (0, size[1])], float)
    try:
        plane = homography(whole, corners)
    except np.linalg.LinAlgError:
        raise DataError("its corners span no square") from None
    turned = Image.fromarray(image).transform(size, Image.Transform.PERSPECTIVE, tuple(plane.ravel()[:8]), Image.Resampling.BICUBIC)
    return np.asarray(turned.resize((width, height), Image.Resampling.BILINEAR))


def shares(photos: Sequence[Photo]) -> list[Share]:
    """By distance and angle, nearest first, and all together at the end; photographs without a sign that was found do not count."""
    usable = [photo for photo in photos if photo.by]

    def place(photo: Photo) -> tuple[float, float]:
        return tuple(float("inf") if each is None else each for each in (photo.distance, photo.angle))  # type: ignore[return-value]

    lines = []
    for _, group in groupby(sorted(usable, key=place), key=place):
        same = list(group)
        lines.append(Share(same[0].distance, same[0].angle, len(same), sum(photo.reached for photo in same)))
    total = Share(None, None, len(usable), sum(photo.reached for photo in usable))
    return [*lines, total] if usable else []


def in_words(photos: Sequence[Photo], chosen: Chosen) -> Iterator[str]:
    """A line for each photograph, one for each distance and angle, and one for all."""
    width = min(max(len(printable(photo.file)) for photo in photos), 40)
    for photo in photos:
        what = photo.problem or f"{chosen.named(photo.predicted)} ({photo.confidence:.0%}), found by {photo.by}"
        yield f"{'yes' if photo.reached else 'no' if photo.by else '-':<4} {printable(photo.file):<{width}}  {printable(what)}"
    lines = shares(photos)
    for line in lines:
        low, high = line.interval
        where = "all" if line is lines[-1] else f"{_said(line.distance, ' m')}, {_said(line.angle, '°')}"
        yield f"{where:<24} {line.reached} of {line.n}: {line.reached / line.n:.0%} (95 %: {low:.0%} to {high:.0%})"


def _said(value: float | None, unit: str) -> str:
    return "unknown" if value is None else f"{value:g}{unit}"


def rows(photos: Sequence[Photo]) -> list[dict[str, Any]]:
    """The photographs, as JSON has them."""
    return [vars(photo) | {"file": printable(photo.file)} for photo in photos]


def counts(photos: Sequence[Photo]) -> list[dict[str, Any]]:
    """The shares, as JSON has them."""
    return [vars(line) | {"interval": line.interval} for line in shares(photos)]


def contact_sheet(shown: np.ndarray, side: int = 128, across: int = 8) -> bytes:
    """The flat signs (m, h, w, c) as one PNG, in the order of the photographs."""
    import io

    from PIL import Image

    large = [Image.fromarray(each.squeeze()).resize((side, side), Image.Resampling.NEAREST) for each in shown]
    sheet = Image.new("RGB", (side * min(across, len(large)), side * -(-len(large) // across)), "white")
    for number, each in enumerate(large):
        sheet.paste(each, (side * (number % across), side * (number // across)))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()
