"""The figure of examples: the same images under one attack for all defences, with what each system says to them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from advrun.report.findings import Gallery
from advrun.report.layout import attack_label, eps_label, norm_label
from advrun.report.lettering import class_labels, folded, height
from advrun.report.style import DPI, FAINT, INK, RIGHT, WRONG
from advrun.report.summary import AttackId

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 5
"""Examples per figure, or as many as fit."""
PAGE = 7.0
"""Inches: the width of a figure at most."""
AREA, LONGEST, NARROWEST, SMALLER = 0.5, 0.9, 0.42, 0.44
"""Of an image: square inches, inches of its longer side at most, and of the column that it stands in at least; the scale of the
two smaller ones beside it."""
GAP, MARGIN, HEAD, BODY, NOTE = 0.1, 1.0, 7, 6.5, 5.5
"""Inches: the space between two things, the column of row titles. Points: sizes of text."""
CRISP = 64
"""Up to so many pixels a side an image is shown pixel by pixel; larger ones are smoothed, as photographs are."""
COMMON = 0.95
"""Of the changed values of a perturbation, the share that its factor keeps within the range of colours; the rest is cut off."""
ROUNDING = 1e-6
"""Changes below this are those of arithmetic."""


@dataclass(frozen=True)
class Size:
    """Inches: of an image, and of the cell it stands in with two smaller ones beside it, a line of text between them."""

    width: float
    height: float

    @property
    def small(self) -> tuple[float, float]:
        return self.width * SMALLER, self.height * SMALLER

    @property
    def cell(self) -> float:
        return max(self.height, 2 * self.small[1] + height(1, NOTE) + 0.03)

    @property
    def column(self) -> float:
        return max(self.width, NARROWEST) + GAP / 2 + max(self.small[0], 0.3) + GAP


@dataclass(frozen=True)
class Strip:
    """One system: its title, and for each image the lines below it, with their colour."""

    title: list[str]
    gallery: Gallery
    answers: list[tuple[list[str], str]]

    def height(self, size: Size) -> float:
        """Inches, the space below included."""
        text = height(max(len(lines) for lines, _ in self.answers), BODY)
        return max(size.cell, height(len(self.title), HEAD)) + 0.06 + text + GAP


def mosaic(galleries: Sequence[Gallery], class_names: Sequence[str], colors: Mapping[str, str] | None = None) -> tuple[Figure, str]:
    """One column per image, one row per system: the adversarial image with the answer below it; beside it its change, and
    what a purifier makes of it. The change is multiplied by the factor below it; grey means no change.

    Args:
        galleries: of one attack on one model, one per defence, all of the same images.
        class_names: by class.
        colors: of the defences' names.
    """
    from matplotlib.figure import Figure

    first, labels = galleries[0], class_labels(class_names)
    size = _size(first.x.shape[1], first.x.shape[2])
    shown = chosen(galleries, min(SHOWN, int((PAGE - MARGIN - GAP) / size.column)))
    room = size.column - GAP / 2
    heads = [folded(labels[label], BODY, room) for label in first.label[shown]]
    rows = [Strip(_row_title(gallery, galleries), gallery, _answers(gallery, shown, labels, room)) for gallery in galleries]
    across = MARGIN + max(len(shown) * size.column, 2.2) + GAP
    title = folded(_title(galleries), HEAD + 1, across - 2 * GAP, 3, "bold")
    top = GAP + height(len(title), HEAD + 1) + GAP
    above = height(max(map(len, heads)), BODY)
    down = top + above + 0.04 + size.cell + GAP + sum(row.height(size) for row in rows)
    figure = Figure(figsize=(across, down))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.text(GAP, GAP, "\n".join(title), fontsize=HEAD + 1, fontweight="bold", va="top")
    top += above + 0.04
    for column, head in enumerate(heads):
        _text(axes, column, size, top - 0.06, "\n".join(head), INK, "baseline")
    _originals(axes, first.x[shown], size, top, purified=any(gallery.defended is not None for gallery in galleries))
    top += size.cell + GAP
    for row in rows:
        color = (colors or {}).get(row.gallery.defense, INK)
        axes.text(GAP, top + size.cell / 2, "\n".join(row.title), fontsize=HEAD, va="center", color=color)
        _system(axes, row, shown, size, top)
        top += row.height(size)
    axes.set(xlim=(0, across), ylim=(down, 0), aspect="auto")
    return figure, _caption(galleries, shown)


def chosen(galleries: Sequence[Gallery], most: int) -> list[int]:
    """Places of the images to show: the first that all systems had right before the attack, then those that most had right."""
    known = min(gallery.common for gallery in galleries)
    right = sum(gallery.right[:known].astype(int) for gallery in galleries)
    return np.argsort(-np.asarray(right), kind="stable")[:most].tolist()


def magnification(change: np.ndarray) -> int:
    """The whole factor, at least 1, at which 95 % of the changed values still fit within [0, 1] as 0.5 + factor * change.

    The few greatest changes of a minimal perturbation do not leave the others invisible.
    """
    sizes = np.abs(change[np.abs(change) > ROUNDING])
    return max(1, math.floor(0.5 / float(np.quantile(sizes, COMMON, method="higher")) + 1e-3)) if len(sizes) else 1


def pooled(change: np.ndarray, pixels: int) -> np.ndarray:
    """(height, width, channels) with at most so many pixels a side: of each block the greatest change, so that none is lost."""
    step = -(-max(change.shape[:2]) // pixels)
    if step <= 1:
        return change
    high, wide, channels = change.shape
    padded = np.pad(change, ((0, -high % step), (0, -wide % step), (0, 0)))
    blocks = padded.reshape(-(-high // step), step, -(-wide // step), step, channels).transpose(0, 2, 4, 1, 3)
    flat = blocks.reshape(*blocks.shape[:3], step * step)
    return np.take_along_axis(flat, np.abs(flat).argmax(-1, keepdims=True), -1)[..., 0]


def _size(high: int, wide: int) -> Size:
    """An image in its proportions, of about the same area whatever they are."""
    scale = min(math.sqrt(AREA / (high * wide)), LONGEST / max(high, wide))
    return Size(wide * scale, high * scale)


def _answers(gallery: Gallery, shown: Sequence[int], labels: Sequence[str], room: float) -> list[tuple[list[str], str]]:
    texts = []
    for index in shown:
        answer, sure = int(gallery.predicted_adv[index]), f"{100 * gallery.confidence_adv[index]:.0f} %"
        if answer == gallery.label[index]:
            texts.append(([f"✓ {sure}"], RIGHT))
        else:
            before = [] if gallery.right[index] else ["wrong before"]
            texts.append(([f"✗ {sure}", *folded(labels[answer], BODY, room), *before], WRONG))
    return texts


def _originals(axes: Axes, images: np.ndarray, size: Size, top: float, *, purified: bool) -> None:
    note = folded(f"beside the others: what was changed{', and the purified image' if purified else ''}", NOTE, MARGIN - 2 * GAP, 4)
    middle = top + size.cell / 2
    axes.text(GAP, middle - 0.02, "original", fontsize=HEAD, va="bottom")
    axes.text(GAP, middle + 0.02, "\n".join(note), fontsize=NOTE, va="top", color=FAINT)
    for column, image in enumerate(images):
        _image(axes, image, column, size, top)


def _system(axes: Axes, row: Strip, shown: Sequence[int], size: Size, top: float) -> None:
    """Adversarial images, and beside each its change with the factor, and the purified image."""
    gallery, (wide, high) = row.gallery, size.small
    for column, (index, (lines, color)) in enumerate(zip(shown, row.answers, strict=True)):
        _image(axes, gallery.x_adv[index], column, size, top)
        _text(axes, column, size, top + size.cell + 0.03, "\n".join(lines), color, "top")
        left = _left(column, size) + max(size.width, NARROWEST) + GAP / 2
        change = gallery.x_adv[index] - gallery.x[index]
        factor = magnification(change)
        seen = 0.5 + factor * pooled(change, round(max(wide, high) * DPI))
        _show(axes, seen, (left, left + wide, top + high, top), crisp=True)
        note = f"× {factor:,}" if np.abs(change).max() > ROUNDING else "none"
        axes.text(left, top + high + 0.02, note, va="top", fontsize=NOTE, color=FAINT)
        if gallery.defended is not None:
            _show(axes, gallery.defended[index], (left, left + wide, top + size.cell, top + size.cell - high))


def _left(column: int, size: Size) -> float:
    return MARGIN + column * size.column


def _text(axes: Axes, column: int, size: Size, y: float, text: str, color: str, anchor: str) -> None:
    axes.text(_left(column, size), y, text, ha="left", va=anchor, fontsize=BODY, color=color, linespacing=1.15)


def _image(axes: Axes, image: np.ndarray, column: int, size: Size, top: float) -> None:
    left = _left(column, size)
    _show(axes, image, (left, left + size.width, top + size.height, top))


def _show(axes: Axes, image: np.ndarray, extent: tuple[float, float, float, float], *, crisp: bool = False) -> None:
    """Grey and two channels as grey, of more than three the first three."""
    drawn = image.mean(-1, keepdims=True) if image.shape[-1] == 2 else image[..., :3]
    pixels = np.broadcast_to(np.clip(drawn, 0, 1), (*image.shape[:2], 3))
    smooth = not crisp and max(image.shape[:2]) > CRISP
    axes.imshow(pixels, extent=extent, interpolation="hanning" if smooth else "nearest")


def _row_title(gallery: Gallery, galleries: Sequence[Gallery]) -> list[str]:
    """The defence, and what it does not share with the other rows."""
    lines = folded(gallery.defense, HEAD, MARGIN - 2 * GAP, 4)
    if len({other.eps for other in galleries}) > 1:
        lines += folded(_reach(gallery), HEAD, MARGIN - 2 * GAP)
    if gallery.threat != "adaptive":
        lines += folded(gallery.threat, HEAD, MARGIN - 2 * GAP)
    return lines


def _reach(gallery: Gallery) -> str:
    if gallery.eps is None:
        return norm_label(gallery.norm) if gallery.norm else ""
    return f"{norm_label(gallery.norm)} {eps_label(gallery.norm, gallery.eps)}"


def _title(galleries: Sequence[Gallery]) -> str:
    first = galleries[0]
    attack = attack_label(AttackId(first.attack, first.norm, first.target))
    same = len({gallery.eps for gallery in galleries}) == 1
    return f"{first.model} under {', '.join(filter(None, (attack, _reach(first) if same else norm_label(first.norm))))}"


def _caption(galleries: Sequence[Gallery], shown: Sequence[int]) -> str:
    threats = ", ".join(dict.fromkeys(gallery.threat for gallery in galleries))
    everywhere = all(gallery.right[index] for gallery in galleries for index in shown)
    systems = "every system" if len(galleries) > 1 else "the system"
    images = (
        f"The first test images that {systems} had right." if everywhere else "The first test images; some were wrong before the attack."
    )
    seen = ", and what the purifier makes of it" if any(gallery.defended is not None for gallery in galleries) else ""
    return (
        f"{_title(galleries)} ({threats}, seed {galleries[0].seed}). {images} A row per system: the adversarial image and, below, the "
        f"answer with its confidence. Beside it what was changed, times the factor below it and grey where nothing was{seen}."
    )
