"""The ROC curves of detectors as a figure: true positives against false ones, and where the threshold stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from advrun.report.curves import DASHES, OTHER_DASHES, SMALL, TITLE
from advrun.report.layout import attack_and_norm, attack_label, ball_label, percent
from advrun.report.lettering import folded, height
from advrun.report.style import COLUMN, FAINT
from advrun.report.summary import AttackId
from advrun.roc import Watched

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PLOT, LEFT, BOTTOM, LINE = 2.2, 0.46, 0.43, 0.15
"""Inches: the side of the axes, the space beside and below them, a line of the legend."""


def attack_id(each: Watched) -> AttackId:
    """Its attack, as the summary has it."""
    return AttackId(each.attack, each.norm, each.target)


def _title(each: Watched) -> str:
    """`pgd, L∞ 8/255 on lnet`."""
    attack = attack_id(each)
    size = f"{attack_label(attack)}, {ball_label(each.norm, each.eps)}" if each.eps is not None else attack_and_norm(attack)
    return f"{size} on {each.model}"


def operating(seen: Sequence[Watched], colors: Mapping[str, str]) -> tuple[Figure, str]:
    """A curve for each system and threat, of one model and attack; a dot where the threshold stands.

    Args:
        seen: with adversarial images each.
        colors: by defence.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    title = folded(_title(seen[0]), TITLE, COLUMN - 0.2, 3, "bold")
    legend = LINE * len(seen) + 0.1
    total = height(len(title), TITLE) + 0.1 + legend + PLOT + BOTTOM
    figure = Figure(figsize=(COLUMN, total))
    axes = figure.add_axes((LEFT / COLUMN, BOTTOM / total, (COLUMN - LEFT - 0.15) / COLUMN, PLOT / total))
    axes.set(xlim=(0, 100), ylim=(0, 100), xlabel="clean images rejected, %", ylabel="adversarial images rejected, %")
    axes.plot([0, 100], [0, 100], color=FAINT, linewidth=0.6, linestyle=":")
    handles = []
    for each in seen:
        style: dict[str, Any] = {"color": colors.get(each.defense, FAINT), "linestyle": DASHES.get(each.threat, OTHER_DASHES)}
        false, true = each.scored.curve()
        axes.plot(100 * false, 100 * true, clip_on=False, **style)
        place = (100 * each.scored.false_positives, 100 * (each.scored.detected or 0.0))
        axes.plot(*place, "o", color=style["color"], markeredgecolor="white", markeredgewidth=0.5, clip_on=False, zorder=4)
        handles.append(Line2D([], [], label="\n".join(folded(_name(each), SMALL, COLUMN - 0.8, 1)), **style))
    placed: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (0.02, 1 - (height(len(title), TITLE) + 0.05) / total)}
    figure.legend(handles=handles, borderaxespad=0.1, labelspacing=0.3, **placed)
    figure.text(0.1 / COLUMN, 1 - 0.05 / total, "\n".join(title), fontsize=TITLE, fontweight="bold", va="top")
    return figure, _caption(seen)


def _name(each: Watched) -> str:
    return f"{each.defense}, {each.threat}: AUROC {each.scored.auroc or 0.0:.3f}"


def _caption(seen: Sequence[Watched]) -> str:
    parts = "; ".join(
        f"{each.defense}, {each.threat}: {percent(each.scored.detected or 0.0)} % of {len(each.scored.adversarial):,} at "
        f"{percent(each.scored.false_positives)} % of {len(each.scored.clean):,} clean ones"
        for each in seen
    )
    return (
        f"{_title(seen[0])}: what detectors find of the images that fool the network, against what they reject of clean "
        f"ones, at every threshold. Dashed: the attack did not know the detector; solid: it did. Dots: the threshold from validation "
        f"images: {parts}."
    )
