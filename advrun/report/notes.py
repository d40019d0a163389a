"""What a reader must know to believe the numbers: n, seeds, budgets, what the words mean, why to doubt a number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from advrun.report.layout import MISSING, SAME, Table, attack_and_norm, eps_label, marks, norm_label, percent, tables
from advrun.report.summary import UNDEFENDED, Panel, Summary, System
from advrun.results import CLEAN, CLOSEST, WORST_CASE, Row

THREAT_NOTES = {
    "static": "examples crafted on the undefended model and replayed against the defence, which they know nothing of.",
    "adaptive": "examples crafted against the whole system, defence included: the number to believe; a stronger attack may lower it.",
    "transfer": "examples crafted on another model.",
    "blackbox": "examples crafted from the system's answers alone, without gradients.",
}
NORM_NOTES = {
    "linf": "no pixel changes by more than ε; pixels run from 0 to 1, so 8/255 is eight grey levels.",
    "l1": "absolute changes of all pixels and channels, which run from 0 to 1, added up.",
    "l0": "how many values change; a value is one channel of one pixel.",
    "l2": "Euclidean length of the change over all pixels and channels, which run from 0 to 1.",
}

WORST_NOTES = {
    WORST_CASE: "an image counts as right only if it survives every attack of this norm up to this ε, one by one, and no attack without "
    "ε came as near as that; the adaptive worst case includes the replayed examples.",
    CLOSEST: "of all attacks of this norm, image by image: a bound, from above, to how far the nearest error is.",
}


@dataclass(frozen=True)
class Note:
    """An explained term; `term` is a word of the tables or one of their marks."""

    term: str
    text: str


def notes(summary: Summary, glossary: Mapping[str, str]) -> list[Note]:
    """All notes to the summary, in the order of reading. glossary: what each flag means."""
    return [*_measure(summary), *_words(summary), *_attacks(summary), *_marks(summary), *flag_notes(summary, glossary)]


def flag_notes(summary: Summary, glossary: Mapping[str, str]) -> list[Note]:
    """One note per flag that occurs, under its mark."""
    return [Note(mark, f"{flag}: {glossary[flag]}" if flag in glossary else f"{flag}.") for flag, mark in marks(summary).items()]


def headline(summary: Summary) -> list[str]:
    """In a sentence per norm and model: the best system at the largest eps, and what replayed examples would have said."""
    worst = [panel for panel in summary.panels if panel.attack.is_worst_case and not panel.minimal]
    sentences = (_sentence(summary, panel, model) for panel in worst for model in summary.models)
    return [sentence for sentence in sentences if sentence]


def _sentence(summary: Summary, panel: Panel, model: str) -> str:
    eps = panel.radii[-1]

    def accuracy(defense: str, threat: str = "adaptive") -> float | None:
        cell = summary.cell(System(model, defense), panel.attack, eps, threat)
        return cell.accuracy if cell else None

    scores = {system.defense: accuracy(system.defense) for system in summary.systems if system.model == model}
    known = {defense: score for defense, score in scores.items() if score is not None}
    if not known:
        return ""
    best = max(known, key=lambda defense: known[defense])
    place = f"worst case within {norm_label(panel.attack.norm)} {eps_label(panel.attack.norm, eps)}"
    if best == UNDEFENDED:
        better = "; no measured defence does better" if len(known) > 1 else ""
        return f"{model}: {percent(known[best])} % right in the {place} without a defence{better}."
    parts = [f"{model} with {best}: {percent(known[best])} % right in the {place}"]
    if UNDEFENDED in known:
        parts.append(f"{percent(known[UNDEFENDED])} % without a defence")
    static = accuracy(best, "static")
    claim = f" Replayed examples alone would have claimed {percent(static)} %." if static is not None else ""
    return ", against ".join(parts) + "." + claim


def _measure(summary: Summary) -> list[Note]:
    if len(summary.seeds) > 1:
        spread = f"mean and, after ±, standard deviation over {len(summary.seeds)} seeds"
    else:
        spread = "after ±, the distance to the farther end of the exact 95 % interval (Clopper and Pearson, 1934)"
    clean = _span(row.n for row in summary.rows if row.attack == CLEAN)
    size = f"; n = {clean} clean images" if clean else ""
    seeds = f"seed{'s' * (len(summary.seeds) > 1)} {', '.join(map(str, summary.seeds))}"
    by = summary.models[0] if len(summary.models) == 1 else "the model"
    return [Note("accuracy", f"percent of the images that {by} classifies right; {spread}{size}; {seeds}.")]


def _words(summary: Summary) -> list[Note]:
    threats = dict.fromkeys(threat for panel in summary.panels for threat in panel.threats)
    norms = dict.fromkeys(panel.attack.norm for panel in summary.panels)
    found = [Note(threat, THREAT_NOTES[threat]) for threat in threats]
    for name, text in WORST_NOTES.items():
        if any(panel.attack.name == name for panel in summary.panels):
            found.append(Note(name, text))
    targets = {panel.attack.target for panel in summary.panels} - {""}
    if targets:
        own = "; images of the target class itself are not attacked, but counted" if any(map(str.isdigit, targets)) else ""
        found.append(Note("target", f"wrong is every class but the true one, whether the target was reached or not{own}."))
    return found + [Note(norm_label(norm), NORM_NOTES[norm]) for norm in norms if norm in NORM_NOTES]


def _attacks(summary: Summary) -> list[Note]:
    return [Note(_name(panel), _budget(summary, panel)) for panel in summary.panels]


def _name(panel: Panel) -> str:
    return attack_and_norm(panel.attack)


def _budget(summary: Summary, panel: Panel) -> str:
    rows = [row for row in summary.rows if _is_of(row, panel)]
    radii: dict[str, list[str]] = {}
    for row in rows:
        if row.budget:
            radii.setdefault(row.budget, []).append(eps_label(row.norm, row.eps))
    several = len(radii) > 1 and not panel.minimal
    parts = [f"{', '.join(dict.fromkeys(each))}: {budget}" if several else budget for budget, each in radii.items()]
    parts += [f"n = {_span(row.n for row in rows)}"]
    if panel.minimal:
        parts.append("no ε; the mean distance is over the images that fooled the system")
    reached = [share for row in rows if row.target and (share := row.metrics.get("success")) is not None]
    if reached:
        shares = " to ".join(dict.fromkeys((percent(min(reached)), percent(max(reached)))))
        over = ", from row to row (success in accuracy.csv)" if " to " in shares else ""
        parts.append(f"the target was reached by {shares} % of the images that were right and of another class{over}")
    return "; ".join(parts) + "."


def _is_of(row: Row, panel: Panel) -> bool:
    attack = panel.attack
    return (row.attack, row.norm, row.target) == (attack.name, attack.norm, attack.target) and row.eps in panel.radii


def _marks(summary: Summary) -> list[Note]:
    shown = tables(summary)
    found = []
    if any(entry.span > 1 for table in shown for line in table.lines for entry in line.entries):
        text = f"no defence, nothing to adapt to: static and adaptive are one number, across both columns or after {SAME!r}."
        found.append(Note(UNDEFENDED, text))
    if any(_unmeasured(table) for table in shown):
        found.append(Note(MISSING, "not measured: the cell failed or has not run; log.jsonl says which."))
    return found


def _unmeasured(table: Table) -> bool:
    return any(entry.number == MISSING for line in table.lines for entry in line.entries)


def _span(numbers: Iterable[int]) -> str:
    """'500', '256 to 500', or '' for none."""
    values = sorted(set(numbers))
    return " to ".join(f"{value:,}" for value in dict.fromkeys((values[0], values[-1]))) if values else ""
