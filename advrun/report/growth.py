"""The figure of a generator's training: what it made of the same few images, or of the same noise, after each epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from advrun.report.lettering import folded, height
from advrun.report.style import INK

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROWS, COLUMNS = 6, 8
"""Epochs and images that are shown, at most."""
SIDE, GAP, MARGIN, SIZE = 0.5, 0.04, 0.62, 7
"""Inches: the height of an image, the space between two, the column of row titles. Points: text."""
CRISP = 64
"""Up to so many pixels a side an image is shown pixel by pixel."""


def growth(label: str, images: np.ndarray) -> tuple[Figure, str]:
    """A row for each of some epochs, the first and the last among them; a column for each image.

    Args:
        label: whose training it is.
        images: (epochs, k, height, width, channels) uint8.
    """
    from matplotlib.figure import Figure

    epochs = np.unique(np.linspace(0, len(images) - 1, min(ROWS, len(images))).round().astype(int))
    shown = images[epochs][:, :COLUMNS]
    rows, columns, tall, wide = shown.shape[:4]
    side = SIDE * wide / tall
    across = MARGIN + columns * (side + GAP) + GAP
    title = folded(label, SIZE + 1, across - 2 * GAP, 3, "bold")
    top = height(len(title), SIZE + 1) + 3 * GAP
    down = top + rows * (SIDE + GAP)
    figure = Figure(figsize=(across, down))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.text(GAP, GAP, "\n".join(title), fontsize=SIZE + 1, fontweight="bold", va="top", color=INK)
    smooth = "nearest" if max(tall, wide) <= CRISP else "antialiased"
    for row, epoch in enumerate(epochs):
        y = top + row * (SIDE + GAP)
        axes.text(GAP, y + SIDE / 2, f"epoch {epoch + 1}", fontsize=SIZE, va="center", color=INK)
        for column in range(columns):
            x = MARGIN + column * (side + GAP)
            image = np.repeat(shown[row, column], 3, axis=-1) if shown.shape[-1] == 1 else shown[row, column][..., :3]
            axes.imshow(image, extent=(x, x + side, y + SIDE, y), interpolation=smooth)
    axes.set(xlim=(0, across), ylim=(down, 0), aspect="auto")
    return figure, f"What {label} made after {'each epoch' if len(epochs) == len(images) else 'some of the epochs'} of its training."
