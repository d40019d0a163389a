"""Stickers on signs: one photograph at every distance and angle, and how often it succeeds there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from advrun.report.style import INK
from advrun.survey import BARE, NOISE, STICKER, Survey

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Signs:
    """A survey, and whose it is: labels of the model, the defence and the attack."""

    model: str
    defense: str
    attack: str
    seed: int
    survey: Survey


def stickers(signs: Signs) -> tuple[Figure, str]:
    """The figure and its caption."""
    from matplotlib.figure import Figure

    survey = signs.survey
    rows, columns = survey.grid.shape[1:3]
    figure = Figure(figsize=(0.9 * columns + 0.6, 1.12 * rows + 0.35))
    axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw={"hspace": 0.32, "wspace": 0.08})
    figure.subplots_adjust(left=0.13, right=0.99, top=0.93, bottom=0.03)
    share = survey.reached(survey.grid[STICKER]).mean(-1)
    for i in range(rows):
        for j in range(columns):
            place = axes[i, j]
            place.imshow(survey.pictures[i, j].squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            place.set(xticks=[], yticks=[])
            place.grid(visible=False)
            place.set_xlabel(f"{100 * share[i, j]:.0f} %", color=INK, labelpad=1)
            if i == 0:
                place.set_title(f"{survey.angles[j]:.0f}°", loc="center")
        axes[i, 0].set_ylabel(f"{survey.distances[i]:.2g} ×", color=INK)
    return figure, caption(signs)


def caption(signs: Signs) -> str:
    """What is seen, and the numbers with their exact 95 % intervals."""
    survey = signs.survey
    system = signs.model if signs.defense == "none" else f"{signs.model} with {signs.defense}"
    goal = "reach their target" if survey.targeted else "leave their class"
    covered = 100 * float(survey.cover.max())
    said = [f"{signs.attack} against {system}: one photograph from larger and larger distances (rows) and angles (columns)."]
    said.append(f"Below each, the share of {len(survey.aims)} held-out photographs that {goal} there, all else of the view at random.")
    said.append(f"The sticker covers {covered:.1f} % of the sign.")
    for name, predictions in (("As they are", survey.plain), ("Under a held-out view each", survey.moved)):
        parts = ", ".join(f"{_percent(survey, predictions[kind])} {what}" for kind, what in KINDS)
        said.append(f"{name}: {parts}.")
    return " ".join(said)


KINDS = ((STICKER, "with the sticker"), (NOISE, "with random colours in its shape"), (BARE, "with none"))


def _percent(survey: Survey, predictions: np.ndarray) -> str:
    share, low, high = survey.success(predictions)
    return f"{100 * share:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


HEADER = ["model", "defense", "attack", "seed", "shown", "view", "distance", "angle", "n", "success", "low", "high"]


def lines(signs: Sequence[Signs]) -> list[list[str]]:
    """Of each sticker, of noise and of nothing in its place, the success under each kind of view, with its exact 95 % interval."""
    return [
        [each.model, each.defense, each.attack, str(each.seed), shown, *view, str(len(each.survey.aims)), *numbers]
        for each in signs
        for kind, shown in ((STICKER, "sticker"), (NOISE, "noise"), (BARE, "none"))
        for view, predictions in _views(each.survey, kind)
        for numbers in [[f"{value:.6g}" for value in each.survey.success(predictions)]]
    ]


def _views(survey: Survey, kind: int) -> Iterator[tuple[list[str], np.ndarray]]:
    yield ["as it is", "", ""], survey.plain[kind]
    yield ["at random", "", ""], survey.moved[kind]
    for i, distance in enumerate(survey.distances):
        for j, angle in enumerate(survey.angles):
            yield ["grid", f"{distance:.4g}", f"{angle:.4g}"], survey.grid[kind, i, j]
