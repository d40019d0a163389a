"""All systems of all models in one table, best first: what the worst case leaves, how near the closest examples are, by what attacks."""

from __future__ import annotations

from advrun.flags import in_order, marks
from advrun.report.accuracy import write_csv
from advrun.report.headline import LEFT
from advrun.report.layout import MISSING, ball_label, distance_label, measured_in, percent
from advrun.report.markdown import escape, pipes
from advrun.report.ranking import compare, doubts
from advrun.report.summary import Panel, Score, Summary, once

ADAPTIVE = "adaptive"
ATTACKED = "attacked"


@once
def lines(summary: Summary) -> list[list[str]]:
    """Header and a line for each system; nothing where there is but one model, or no worst case within an eps.

    Sorted by the adaptive worst case in the norm that is attacked first. A number with a flag, or beside a clean one with a flag, is
    not ranked.
    """
    places = _worst(summary)
    if len(summary.models) < 2 or not places:
        return []
    nearest = _nearest(summary)
    panel, eps = places[0]
    scores = {system: cell for system in summary.systems if (cell := summary.cell(system, panel.attack, eps, ADAPTIVE))}
    flags = {system: doubts(summary, panel, eps, system) for system in scores}
    order = sorted(scores, key=lambda system: (bool(flags[system]), -scores[system].accuracy))
    balls = [f"{ball_label(each.attack.norm, size)}, %" for each, size in places]
    medians = [f"median {measured_in(each.attack.norm)}" for each in nearest]
    header = ["rank", "model", "defence", "clean, %", *balls, *medians, "images", ATTACKED, "flags"]
    found = [header]
    for rank, system in enumerate(order, 1):
        others = [summary.cell(system, each.attack, size, ADAPTIVE) for each, size in places[1:]]
        distances = [summary.cell(system, each.attack, None, ADAPTIVE) for each in nearest]
        every = in_order([*flags[system], *(flag for cell in (*others, *distances) if cell for flag in cell.flags)])
        tied = rank > 1 and not flags[system] and not compare(summary, panel.attack, eps, order[0], system).apart
        place = MISSING if flags[system] else f"{rank} =" if tied else str(rank)
        shares = [_share(cell) for cell in (summary.clean(system), scores[system], *others)]
        by = summary.rows[scores[system].row].budget
        found.append([place, system.model, system.defense, *shares, *map(_median, distances), f"{scores[system].n:,}", by, marks(every)])
    return found


def notes(summary: Summary) -> list[str]:
    """What the table is sorted by, and what its marks mean."""
    panel, eps = _worst(summary)[0]
    return [
        f"Sorted by the adaptive worst case within {ball_label(panel.attack.norm, eps)}, image by image over all attacks. "
        f"= : cannot be told apart from the first (95 %). {MISSING} : not ranked, because it is flagged.",
    ]


def shown(summary: Summary) -> tuple[list[list[str]], list[str]]:
    """The table as the page has it, where it must be narrow, and its notes: what all lines say of the attacks is said once, below."""
    if not (table := lines(summary)):
        return [], []
    place = table[0].index(ATTACKED)
    by = {line[place] for line in table[1:]}
    table = [[text.replace(" ± ", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}") for text in line] for line in table]
    if len(by) > 1 or "" in by:
        return table, notes(summary)
    return [[*line[:place], *line[place + 1 :]] for line in table], [*notes(summary), f"All were attacked {by.pop()}."]


def files(summary: Summary, title: str) -> dict[str, str]:
    """Content by file name; none where there is no such table."""
    if not (table := lines(summary)):
        return {}
    text = "\n\n".join((f"# {escape(title)}", pipes(table), *map(escape, notes(summary)))) + "\n"
    return {"leaderboard.md": text, "leaderboard.csv": write_csv(table)}


def _worst(summary: Summary) -> list[tuple[Panel, float | None]]:
    """The worst cases, one of each norm, at the largest eps that surely leaves something."""
    panels = (panel for panel in summary.panels if panel.attack.is_worst_case and not panel.minimal)
    return [(panel, next((eps for eps in panel.radii[::-1] if _left(summary, panel, eps)), panel.radii[0])) for panel in panels]


def _left(summary: Summary, panel: Panel, eps: float | None) -> bool:
    cells = (summary.cell(system, panel.attack, eps, ADAPTIVE) for system in summary.systems)
    return any(cell.low >= LEFT for cell in cells if cell)


def _nearest(summary: Summary) -> list[Panel]:
    """Of each norm the closest example, or the one attack that looks for it."""
    found: dict[str, Panel] = {}
    for panel in summary.panels:
        if panel.minimal and panel.attack.norm:
            found.setdefault(panel.attack.norm, panel)
    return list(found.values())


def _share(cell: Score | None) -> str:
    if cell is None:
        return MISSING
    return percent(cell.accuracy) if cell.margin is None else f"{percent(cell.accuracy)} ± {percent(cell.margin)}"


def _median(cell: Score | None) -> str:
    return MISSING if cell is None or cell.median is None else distance_label(cell.median)
