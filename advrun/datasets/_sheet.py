"""What a data set looks like: counts as data, and a contact sheet with sample images of every class."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from advrun.data import Dataset
from advrun.files import atomic
from advrun.fonts import fonts_for

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

TILE, WIDEST = 56, 168
"""About the height of a sample image on the sheet, and its greatest width, in pixels."""
LINES = 52
"""Pixels that name and counts of a class take."""
GAP = 4
MARGIN = 36
HEADER = 84
BAR_WIDTH = 150
LONGEST_NAME = 420
ROWS = 24
"""With more classes than this, the sheet has two panels, side by side."""
MANY = 120
"""With more classes than this, those without images are left out, and then all but so many."""
INK, GREY, PAPER = (24, 28, 36), (120, 127, 138), (255, 255, 255)
TRAIN, TEST = (52, 101, 180), (242, 161, 84)


def describe(dataset: Dataset) -> dict[str, Any]:
    """Name, variant, shape, counts and fingerprint, as plain data; `counts` has one entry for each class."""
    train, test = (np.bincount(y, minlength=dataset.classes).tolist() for y in (dataset.y_train, dataset.y_test))
    return {
        "name": dataset.name,
        "variant": dataset.variant,
        "image_shape": dataset.image_shape,
        "classes": dataset.classes,
        "train": len(dataset.y_train),
        "test": len(dataset.y_test),
        "groups": None if dataset.group is None else len(np.unique(dataset.group)),
        "fingerprint": dataset.fingerprint,
        "counts": [
            {"label": label, "name": name, "train": train[label], "test": test[label]} for label, name in enumerate(dataset.class_names)
        ],
    }


def contact_sheet(dataset: Dataset, path: Path, columns: int = 12) -> None:
    """Write a PNG with one row for each class: name, counts, and `columns` images, evenly spaced over the class.

    They are training images, or test images where a data set has no others. Of more than MANY classes, some are
    shown.
    """
    from PIL import Image, ImageDraw

    counts = describe(dataset)["counts"]
    if len(counts) > MANY:
        counts = [entry for entry in counts if entry["train"] + entry["test"]][:MANY]
    texts = _texts([dataset.name, dataset.variant, *dataset.class_names])
    tile = tile_size(*dataset.image_shape[:2])
    line = max(tile[1], LINES) + GAP
    panels = 1 if len(counts) <= ROWS else 2
    rows = -(-len(counts) // panels)
    names = [f"{entry['label']}  {entry['name']}" for entry in counts]
    label_width = min(LONGEST_NAME, max(BAR_WIDTH + 100, *(round(texts(name, 15).getlength(name)) for name in names))) + 4 * GAP
    panel = label_width + columns * (tile[0] + GAP) + MARGIN
    page = Image.new("RGB", (MARGIN + panels * panel, HEADER + rows * line + MARGIN), PAPER)
    draw = ImageDraw.Draw(page)
    _header(draw, dataset, texts)
    x, y = (dataset.x_train, dataset.y_train) if len(dataset.y_train) else (dataset.x_test, dataset.y_test)
    longest = max(entry["train"] + entry["test"] for entry in counts)
    for place, (name, entry) in enumerate(zip(names, counts, strict=True)):
        left, top = MARGIN + place // rows * panel, HEADER + place % rows * line
        font = texts(name, 15)
        draw.text((left, top + 4), _shortened(name, font, label_width - 4 * GAP), INK, font)
        _bar(draw, left, top + 34, entry, BAR_WIDTH / longest, texts("", 12))
        for column, row in enumerate(_samples(y, entry["label"], columns)):
            corner = left + label_width + column * (tile[0] + GAP), top
            page.paste(_scaled(_picture(x[row]), tile), corner)
    with atomic(path) as temporary:
        page.save(temporary, "PNG")


def tile_size(height: int, width: int) -> tuple[int, int]:
    """Width and height of a sample on the sheet, in the proportions of the image: small images a whole number of times as large."""
    scale: float = round(TILE / height) if height <= TILE else TILE / height
    scale = min(scale, WIDEST / width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _texts(texts: Sequence[str]) -> Callable[[str, int], Any]:
    """The font for a text in a size: the first that has all its characters."""
    from PIL import ImageFont

    fonts, _ = fonts_for(texts)

    @cache
    def load(path: str, size: int) -> Any:
        return ImageFont.truetype(path, size)

    return lambda text, size: load(next((font.path for font in fonts if not font.lacks(text)), fonts[0].path), size)


def _scaled(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Enlarged pixel by pixel, reduced smoothly."""
    from PIL import Image

    return image.resize(size, Image.Resampling.NEAREST if size[0] >= image.width else Image.Resampling.LANCZOS)


def _header(draw: ImageDraw.ImageDraw, dataset: Dataset, texts: Callable[[str, int], Any]) -> None:
    height, width, channels = dataset.image_shape
    draw.text((MARGIN, 16), dataset.name, INK, texts(dataset.name, 24))
    facts = f"{dataset.variant}   |   {dataset.classes} classes, {height} x {width} x {channels}   |   "
    draw.text((MARGIN, 53), facts, GREY, texts(facts, 12))
    left, font = MARGIN + texts(facts, 12).getlength(facts), texts("", 12)
    for word, colour in (("training", TRAIN), ("test", TEST)):
        draw.rectangle((left, 56, left + 9, 65), colour)
        draw.text((left + 15, 53), word, GREY, font)
        left += 15 + font.getlength(word) + 15


def _bar(draw: ImageDraw.ImageDraw, left: int, top: int, entry: Mapping[str, Any], scale: float, font: Any) -> None:
    middle, right = left + entry["train"] * scale, left + (entry["train"] + entry["test"]) * scale
    draw.rectangle((left, top, right, top + 7), TEST)
    draw.rectangle((left, top, middle, top + 7), TRAIN)
    draw.text((right + 8, top - 4), f"{entry['train']:,} + {entry['test']:,}", GREY, font)


def _samples(labels: np.ndarray, label: int, count: int) -> np.ndarray:
    """Row numbers of at most `count` images, from the first to the last of the class."""
    rows = np.flatnonzero(labels == label)
    return rows[np.unique(np.linspace(0, len(rows) - 1, count).round().astype(int))] if len(rows) else rows


def _picture(image: np.ndarray) -> Image.Image:
    from PIL import Image

    return Image.fromarray(image[..., 0] if image.shape[-1] < 3 else image[..., :3])


def _shortened(text: str, font: Any, width: int) -> str:
    while font.getlength(text) > width:
        text = text.rstrip("\u2026")[:-1].rstrip() + "\u2026"
    return text
