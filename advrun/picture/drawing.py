"""`advrun try` as a figure: a row for each attack, a column for each system, in the style of the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from advrun.picture.pixels import is_changed, is_crisp, seen
from advrun.picture.study import Reply, Shot, Subject, Told
from advrun.report.lettering import class_labels, folded, height
from advrun.report.style import FAINT, INK, RIGHT, WRONG

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIDE, SMALL, GAP, MARGIN = 0.95, 0.44, 0.12, 1.15
"""Inches: of an image, of the change beside it, the space between two things, the column of row titles."""
HEAD, BODY, NOTE = 7.5, 6.5, 5.5
"""Points."""


def sheet(told: Sequence[Told], subject: Subject, class_names: Sequence[str], title: str) -> Figure:
    """What each system says to the picture, clean and after each attack.

    A cell of a defended system shows the image that was crafted on it, where there is one, with its answer; below, the answer to the
    image that was crafted on the undefended model.
    """
    from matplotlib.figure import Figure

    labels = class_labels(class_names)
    names = list(dict.fromkeys(each.name for each in told))
    attacks = list(dict.fromkeys(each.shot.attack.label if each.shot else "" for each in told))
    width = SIDE + GAP / 2 + SMALL
    across = MARGIN + len(names) * (width + GAP) + GAP
    heads = [folded(name.defense if name.defended else name.model, HEAD, width, 2, "bold") for name in names]
    caption = folded(title, HEAD + 1.5, across - 2 * GAP, 3, "bold")
    above = GAP + height(len(caption), HEAD + 1.5) + GAP
    top = above + height(max(map(len, heads)), HEAD) + GAP / 2
    rows = [[[each for each in told if each.name == name and _of(each, attack)] for name in names] for attack in attacks]
    texts = [[_texts(cell, labels, subject.label, width) for cell in row] for row in rows]
    tall = [SIDE + GAP / 2 + max(height(len(cell), BODY) for cell in row) + 1.5 * GAP for row in texts]
    figure = Figure(figsize=(across, top + sum(tall)))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.text(GAP, GAP, "\n".join(caption), fontsize=HEAD + 1.5, fontweight="bold", va="top", linespacing=1.2)
    for column, head in enumerate(heads):
        axes.text(_left(column), top - GAP / 2, "\n".join(head), fontsize=HEAD, va="bottom", color=INK)
    for attack, row, lines, room in zip(attacks, rows, texts, tall, strict=True):
        shot = next((each.shot for each in told if _of(each, attack)), None)
        name = folded(shot.attack.label if shot else "as it is", HEAD, MARGIN - 2 * GAP, 3 if shot and not shot.within else 2)
        name += folded(shot.within, HEAD, MARGIN - 2 * GAP, 1) if shot and shot.within else []
        axes.text(GAP, top + SIDE / 2, "\n".join(name), fontsize=HEAD, va="center", color=INK)
        for column, (cell, said) in enumerate(zip(row, lines, strict=True)):
            _cell(axes, cell, said, subject, _left(column), top)
        top += room
    axes.set(xlim=(0, across), ylim=(top, 0), aspect="auto")
    return figure


def _of(told: Told, attack: str) -> bool:
    return (told.shot.attack.label if told.shot else "") == attack


def _left(column: int) -> float:
    return MARGIN + column * (SIDE + GAP / 2 + SMALL + GAP)


def _texts(cell: Sequence[Told], labels: Sequence[str], truth: int, room: float) -> list[tuple[str, str]]:
    """Lines with their colours: the answer to what is shown, then the one to the replayed image."""
    lines: list[tuple[str, str]] = []
    for told in reversed(cell):
        said = verdict(told.reply, truth)
        color = RIGHT if told.reply.predicted == truth else WRONG
        threat = f"{told.threat} " if told.name.defended and told.shot else ""
        lines += [(f"{threat}{said}", color), *((part, color) for part in folded(labels[told.reply.predicted], BODY, room))]
    return lines


def verdict(reply: Reply, truth: int) -> str:
    """'✓ 99 %'."""
    return f"{'✓' if reply.predicted == truth else '✗'} {100 * reply.confidence:.0f} %"


def _cell(axes: Axes, cell: Sequence[Told], said: Sequence[tuple[str, str]], subject: Subject, left: float, top: float) -> None:
    if not cell:
        return
    shot = cell[-1].shot
    _show(axes, subject.image if shot is None else shot.x_adv, left, top, SIDE)
    if shot is not None:
        _beside(axes, shot, subject, left + SIDE + GAP / 2, top)
    for number, (line, color) in enumerate(said):
        y = top + SIDE + GAP / 2 + height(number, BODY)
        axes.text(left, y, line, fontsize=BODY, va="top", color=color)


def _beside(axes: Axes, shot: Shot, subject: Subject, left: float, top: float) -> None:
    """The change, its factor, and how far it goes."""
    change = shot.x_adv - subject.image
    if not is_changed(change):
        axes.text(left, top, "unchanged" if shot.attacked else "not\nattacked", fontsize=NOTE, va="top", color=FAINT)
        return
    image, factor = seen(change)
    _show(axes, image, left, top, SMALL)
    axes.text(left, top + SMALL + 0.03, f"× {factor:,}\n{shot.far}", fontsize=NOTE, va="top", color=FAINT, linespacing=1.25)


def _show(axes: Axes, image: np.ndarray, left: float, top: float, side: float) -> None:
    """Within a square, in its proportions."""
    tall, wide = (side * each / max(image.shape[:2]) for each in image.shape[:2])
    drawn = image.mean(-1, keepdims=True) if image.shape[-1] == 2 else image[..., :3]
    pixels = np.broadcast_to(np.clip(drawn, 0, 1), (*image.shape[:2], 3))
    how = "nearest" if is_crisp(image.shape) else "hanning"
    axes.imshow(pixels, extent=(left, left + wide, top + tall, top), interpolation=how)
