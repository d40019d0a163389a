"""The attacked images of the page: as many of each row as fit into it, small enough to be drawn at once.

An image is its original, of which there is one for all rows, and its change, in steps of `step`: fifteen levels for a small perturbation,
which keep its shape, and steps of 1.5 grey levels for a large one. Both are bytes, deflated and in base64, which a script can open without
asking anybody; originals as differences from the pixel before.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from advrun.report.findings import Gallery
from advrun.report.layout import distance_label
from advrun.report.mosaic import magnification
from advrun.results import Result

LONGEST = 96
"""Pixels: of images with a longer side every second pixel, or third, ... is shown."""
LEVELS, FINEST = 7, 1.5 / 255
"""Steps of a change to either side where it is small, and the size of a step where it is large."""
PACKED = "z:"
"""What a packed text of the page begins with: other versions of zlib may pack the same in other bytes."""
WRONG, FELL, STOOD = 0, 1, 2
"""What became of an image: wrong before the attack, right and then wrong, right."""


@dataclass
class Plates:
    """What a script draws. shape: (height, width, channels) of all images. originals: their bytes. rows: by number, the images of each."""

    shape: tuple[int, ...] = ()
    originals: list[str] = field(default_factory=list)
    rows: dict[int, dict[str, list[Any]]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Kept:
    """A row's images in the order in which they are wanted: its number, its gallery, and the outcomes behind it."""

    row: int
    gallery: Gallery
    result: Result
    order: list[int]


def album(kept: Mapping[int, tuple[Gallery, Result]], budget: int) -> Plates:
    """The images of these rows, of every row the same number (where it has so many), in at most `budget` bytes.

    First of each row comes that which fell first, then that which stood last, the second that fell, and so on.
    """
    rows = [Kept(row, gallery, result, _wanted(gallery)) for row, (gallery, result) in kept.items() if gallery.x.size]
    made, known, spent = Plates(), dict[bytes, int](), 0
    for layer in range(max((len(each.order) for each in rows), default=0)):
        trial = [(each, _entry(each, each.order[layer])) for each in rows if layer < len(each.order)]
        new = dict.fromkeys(original for _, (original, _) in trial if original not in known)
        texts = {original: packed(_differences(original, _shape(rows[0].gallery))) for original in new}
        cost = sum(map(len, texts.values())) + sum(len(entry["change"]) + 60 for _, (_, entry) in trial)
        if spent + cost > budget:
            break
        spent += cost
        made.shape = _shape(rows[0].gallery)
        for original, text in texts.items():
            known[original] = len(made.originals)
            made.originals.append(text)
        for each, (original, entry) in trial:
            columns = made.rows.setdefault(each.row, {name: [] for name in ("original", *entry)})
            for name, value in {"original": known[original], **entry}.items():
                columns[name].append(value)
    return made


def levels(change: np.ndarray) -> tuple[np.ndarray, float]:
    """A change as whole numbers of steps, int8, and the size of a step."""
    reach = float(np.abs(change).max(initial=0.0))
    step = max(min(reach / LEVELS, FINEST), reach / 127) or 1.0
    return np.rint(change / step).astype(np.int8), step


def _wanted(gallery: Gallery) -> list[int]:
    """First from the one end of the order of falling, then from the other; those that were wrong before come last."""
    order = [int(index) for index in np.argsort(gallery.rank, kind="stable") if gallery.rank[index] >= 0]
    both = [order[place // 2] if place % 2 == 0 else order[-1 - place // 2] for place in range(len(order))]
    return both + [int(index) for index in np.flatnonzero(gallery.rank < 0)]


def _entry(each: Kept, index: int) -> tuple[bytes, dict[str, Any]]:
    """The original as bytes, and what is said of one image of a row."""
    gallery = each.gallery
    x, change = (_thinned(images[index]) for images in (gallery.x, gallery.x_adv - gallery.x))
    counts, step = levels(change)
    place, rank = int(gallery.place[index]), int(gallery.rank[index])
    right = bool(each.result.correct[place]) if place < each.result.row.n else bool(gallery.predicted_adv[index] == gallery.label[index])
    return np.rint(x * 255).astype(np.uint8).tobytes(), {
        "change": packed(counts.tobytes()),
        "step": round(step, 6),
        "factor": magnification(change),
        "label": int(gallery.label[index]),
        "before": int(gallery.predicted[index]),
        "sureBefore": round(100 * float(gallery.confidence[index])),
        "after": int(gallery.predicted_adv[index]),
        "sureAfter": round(100 * float(gallery.confidence_adv[index])),
        "fate": WRONG if rank < 0 else STOOD if right else FELL,
        "rank": rank,
        "distance": distance_label(float(gallery.distance[index])) if gallery.norm else "",
        "place": place,
    }


def _thinned(image: np.ndarray) -> np.ndarray:
    """Not averaged: noise would vanish. Grey and two channels as grey, of more than three the first three."""
    step = -(-max(image.shape[:2]) // LONGEST)
    shown = image[::step, ::step]
    return shown.mean(-1, keepdims=True) if shown.shape[-1] == 2 else shown[..., :3]


def _shape(gallery: Gallery) -> tuple[int, ...]:
    return _thinned(gallery.x[0]).shape


def _differences(original: bytes, shape: tuple[int, ...]) -> bytes:
    """Each channel as the difference from the pixel before, modulo 256: it deflates better."""
    image = np.frombuffer(original, np.uint8).reshape(-1, shape[-1])
    return np.diff(image, axis=0, prepend=np.zeros((1, shape[-1]), np.uint8)).tobytes()


def packed(content: bytes) -> str:
    """Deflated, in base64, behind PACKED. What is mostly noise, such as a change, is smaller where no repetitions are looked for."""
    ways = (zlib.compressobj(9, strategy=strategy) for strategy in (zlib.Z_DEFAULT_STRATEGY, zlib.Z_HUFFMAN_ONLY))
    return PACKED + base64.b64encode(min((way.compress(content) + way.flush() for way in ways), key=len)).decode("ascii")
