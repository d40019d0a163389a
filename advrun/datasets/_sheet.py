"""What a data set looks like: counts as data, and a contact sheet with sample images of every class."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from advrun.data import Dataset
from advrun.files import atomic

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

TILE = 56
"""Height of a sample image on the sheet, in pixels."""
GAP = 4
MARGIN = 36
HEADER = 84
BAR_WIDTH = 150
LONGEST_NAME = 360
ROWS = 24
"""With more classes than this, the sheet has two panels, side by side."""
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

    They are training images, or test images where a data set has no others.
    """
    from PIL import Image, ImageDraw, ImageFont

    counts = describe(dataset)["counts"]
    fonts = {size: ImageFont.load_default(size) for size in (12, 15, 26)}
    height, width, _ = dataset.image_shape
    tile = max(1, round(TILE * width / height)), TILE
    panels = 1 if dataset.classes <= ROWS else 2
    rows = -(-dataset.classes // panels)
    names = [f"{entry['label']}  {entry['name']}" for entry in counts]
    label_width = min(LONGEST_NAME, max(BAR_WIDTH + 100, *(round(fonts[15].getlength(name)) for name in names))) + 4 * GAP
    panel = label_width + columns * (tile[0] + GAP) + MARGIN
    page = Image.new("RGB", (MARGIN + panels * panel, HEADER + rows * (TILE + GAP) + MARGIN), PAPER)
    draw = ImageDraw.Draw(page)
    _header(draw, dataset, fonts)
    x, y = (dataset.x_train, dataset.y_train) if len(dataset.y_train) else (dataset.x_test, dataset.y_test)
    longest = max(entry["train"] + entry["test"] for entry in counts)
    for label, entry in enumerate(counts):
        left, top = MARGIN + label // rows * panel, HEADER + label % rows * (TILE + GAP)
        draw.text((left, top + 6), _shortened(names[label], fonts[15], label_width - 4 * GAP), INK, fonts[15])
        _bar(draw, left, top + 36, entry, BAR_WIDTH / longest, fonts[12])
        for column, row in enumerate(_samples(y, label, columns)):
            place = left + label_width + column * (tile[0] + GAP), top
            page.paste(_picture(x[row]).resize(tile, Image.Resampling.BICUBIC), place)
    with atomic(path) as temporary:
        page.save(temporary, "PNG")


def _header(draw: ImageDraw.ImageDraw, dataset: Dataset, fonts: Mapping[int, Any]) -> None:
    height, width, channels = dataset.image_shape
    draw.text((MARGIN, 18), dataset.name, INK, fonts[26])
    facts = f"{dataset.variant}   |   {dataset.classes} classes, {height} x {width} x {channels}   |   "
    draw.text((MARGIN, 53), facts, GREY, fonts[12])
    left = MARGIN + fonts[12].getlength(facts)
    for word, colour in (("training", TRAIN), ("test", TEST)):
        draw.rectangle((left, 57, left + 9, 66), colour)
        draw.text((left + 15, 53), word, GREY, fonts[12])
        left += 15 + fonts[12].getlength(word) + 15


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
