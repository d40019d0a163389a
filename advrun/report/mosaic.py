"""The figure of examples: original, perturbation, adversarial and defended images with what the system says to them."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from advrun.report.findings import Gallery
from advrun.report.layout import attack_label, eps_label, norm_label
from advrun.report.style import INK, RIGHT, WRONG
from advrun.report.summary import AttackId

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 6
"""Examples per figure."""
SIDE, GAP, MARGIN, LINE = 0.92, 0.09, 0.86, 0.125
"""Inches: one image, the space between two, the column of row titles, a line of text."""
WRAP = 16
"""Characters that fit under an image."""


@dataclass(frozen=True)
class Band:
    """One row of images (k, height, width, channels) with, for each, lines of text below it and their colour."""

    title: str
    images: np.ndarray
    texts: Sequence[tuple[list[str], str]] = ()

    @property
    def height(self) -> float:
        lines = max((len(text) for text, _ in self.texts), default=0)
        return SIDE + GAP + LINE * lines


def mosaic(gallery: Gallery, class_names: Sequence[str]) -> tuple[Figure, str]:
    """One column per example. The perturbation is multiplied by the factor said beside it; grey means no change."""
    from matplotlib.figure import Figure

    shown = slice(SHOWN)
    factor = magnification(gallery.x_adv[shown] - gallery.x[shown])
    titles = [_wrapped(class_names[label]) for label in gallery.label[shown]]
    bands = [
        Band("original", gallery.x[shown], _answers(gallery.label, gallery.predicted, gallery.confidence, class_names)),
        Band(f"perturbation\n× {factor}", 0.5 + factor * (gallery.x_adv[shown] - gallery.x[shown])),
        Band(
            "adversarial",
            gallery.x_adv[shown],
            _answers(gallery.label, gallery.predicted_adv, gallery.confidence_adv, class_names),
        ),
    ]
    if gallery.defended is not None:
        bands.append(Band("defended", gallery.defended[shown]))
    header = LINE * max(map(len, titles)) + GAP
    size = MARGIN + len(titles) * (SIDE + GAP), header + sum(band.height for band in bands)
    figure = Figure(figsize=size)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, size[0]), ylim=(size[1], 0))
    axes.set_axis_off()
    _texts(axes, [(title, INK) for title in titles], header - GAP, "bottom")
    top = header
    for band in bands:
        _draw(axes, band, top)
        top += band.height
    axes.set(xlim=(0, size[0]), ylim=(size[1], 0), aspect="auto")
    return figure, _caption(gallery, factor)


def magnification(change: np.ndarray) -> int:
    """The largest whole factor, at least 1, that keeps 0.5 + factor * change within [0, 1]."""
    largest = float(np.abs(change).max(initial=0.0))
    return max(1, math.floor(0.5 / largest + 1e-3)) if largest else 1


def _answers(label: np.ndarray, predicted: np.ndarray, confidence: np.ndarray, class_names: Sequence[str]) -> list[tuple[list[str], str]]:
    texts = []
    for truth, answer, sure in list(zip(label, predicted, confidence, strict=True))[:SHOWN]:
        if truth == answer:
            texts.append(([f"✓ {100 * sure:.0f} %"], RIGHT))
        else:
            texts.append(([f"✗ {100 * sure:.0f} %", *_wrapped(class_names[answer])], WRONG))
    return texts


def _wrapped(name: str) -> list[str]:
    return textwrap.wrap(name, WRAP, max_lines=2, placeholder=" …") or [""]


def _draw(axes: Axes, band: Band, top: float) -> None:
    axes.text(0.02, top + SIDE / 2, band.title, va="center", fontsize=7)
    for column, image in enumerate(np.clip(band.images, 0, 1)):
        shown = image.mean(-1, keepdims=True) if image.shape[-1] == 2 else image[..., :3]
        pixels = np.broadcast_to(shown, (*image.shape[:2], 3))
        left = MARGIN + column * (SIDE + GAP)
        axes.imshow(pixels, extent=(left, left + SIDE, top + SIDE, top), interpolation="nearest")
    _texts(axes, band.texts, top + SIDE + 0.03, "top")


def _texts(axes: Axes, texts: Sequence[tuple[list[str], str]], y: float, anchor: str) -> None:
    for column, (lines, color) in enumerate(texts):
        center = MARGIN + column * (SIDE + GAP) + SIDE / 2
        axes.text(center, y, "\n".join(lines), ha="center", va=anchor, fontsize=6.5, color=color, linespacing=1.15)


def _caption(gallery: Gallery, factor: int) -> str:
    reach = f"{norm_label(gallery.norm)} {eps_label(gallery.norm, gallery.eps)}" if gallery.eps else norm_label(gallery.norm)
    seen = " Defended: what the purifier hands to the classifier." if gallery.defended is not None else ""
    attack = attack_label(AttackId(gallery.attack, gallery.norm, gallery.target))
    return (
        f"{gallery.model} / {gallery.defense} under {attack} ({reach}, {gallery.threat}, seed {gallery.seed}). True class "
        f"above; below, the answer with its confidence. Perturbation × {factor}, grey is no change.{seen}"
    )
