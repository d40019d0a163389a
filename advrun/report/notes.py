"""What a reader must know to believe the numbers: n, seeds, budgets, what the words mean, why to doubt a number."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from advrun import registry
from advrun.flags import explained, mark
from advrun.optimality import COLUMN
from advrun.report.layout import FEW, MISSING, SAME, Entry, attack_and_norm, eps_label, measured_in, percent, tables
from advrun.report.summary import UNDEFENDED, Panel, Summary, once
from advrun.results import CLEAN, CLOSEST, DISAGREE, ONE_DRAW, WORST_CASE, Row

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

OPTIMALITY = (
    "how near an attack has come to the closest examples known, of the ledger and of this run (Cinà et al., AttackBench, 2025): without ε, "
    "of the area between their robustness-distance curve and none the share that its own curve has too; within ε, of the images that are "
    "known to fall, the share that it fooled."
)

KNOWN = {"gradients": "everything", "scores": "scores alone (black box)", "decisions": "labels alone (black box)", "blind": "nothing"}
"""What an attacker sees, in words."""


@dataclass(frozen=True)
class Note:
    """An explained term; `term` is a word of the tables or one of their marks, `anchor` its place on the page, if it has one."""

    term: str
    text: str
    anchor: str = ""


@once
def notes(summary: Summary) -> list[Note]:
    """All notes to the summary, in the order of reading."""
    return [*_measure(summary), *_words(summary), *_attacks(summary), *_marks(summary), *flag_notes(summary)]


def flag_notes(summary: Summary) -> list[Note]:
    """One note per flag that occurs, under its mark: what was seen, why that makes a number doubtful, what to do."""
    return [Note(mark(flag), explained(flag), anchor(flag)) for flag in summary.flags]


def anchor(flag: str) -> str:
    """Where the flag is explained on the page: `flag-static-wins`."""
    return "flag-" + re.sub(r"\W+", "-", flag.partition(": ")[0], flags=re.ASCII).strip("-")


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
    found = [Note(threat, _threat(threat)) for threat in threats if threat in registry.names("threats")]
    for name, text in WORST_NOTES.items():
        if any(panel.attack.name == name for panel in summary.panels):
            found.append(Note(name, text))
    targets = {panel.attack.target for panel in summary.panels} - {""}
    if targets:
        own = "; images of the target class itself are not attacked, but counted" if any(map(str.isdigit, targets)) else ""
        found.append(Note("target", f"wrong is every class but the true one, whether the target was reached or not{own}."))
    if any(row.metrics.get(COLUMN) is not None for row in summary.rows):
        found.append(Note(COLUMN, OPTIMALITY))
    found += _random(summary)
    return found + [Note(measured_in(norm), NORM_NOTES[norm]) for norm in norms if norm in NORM_NOTES]


def _random(summary: Summary) -> list[Note]:
    """Where a system is random: what its accuracy is of, and how much its answers vary."""
    rows = [row for row in summary.rows if row.metrics.get(ONE_DRAW) is not None]
    if not rows:
        return []
    names = ", ".join(dict.fromkeys(row.defense for row in rows))
    shares = [row.metrics.get(DISAGREE) or 0.0 for row in rows]
    differ = " to ".join(dict.fromkeys((percent(min(shares)), percent(max(shares)))))
    answers = "accuracy is of answers from several draws: the largest mean logit, or of smoothed systems most votes"
    text = f"random ({names}): {answers}; of single draws {differ} % answer otherwise"
    return [Note("draws", f"{text} (accuracy_one_draw in accuracy.csv is what somebody gets who asks once).")]


def _threat(name: str) -> str:
    """What its file says."""
    text = registry.get("threats", name).summary
    return text[:1].lower() + text[1:]


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
    known = dict.fromkeys(row.access for row in rows if row.threat == "adaptive" and row.access)
    parts += [f"of the system that it is crafted on it sees {' or '.join(KNOWN.get(each, each) for each in known)}"] if known else []
    if panel.minimal:
        parts.append("no ε; mean and median distance are over the images that fooled the system")
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
    entries = [entry for table in tables(summary) for line in table.lines for entry in line.entries]
    found = []
    if any(entry.span > 1 for entry in entries):
        text = f"no defence, nothing to adapt to: static and adaptive are one number, across both columns or after {SAME!r}."
        found.append(Note(UNDEFENDED, text))
    if any(entry.best for entry in entries):
        text = "the best number without a mark of doubt, and those that cannot be told apart from it on the same images (level 5 %)."
        found.append(Note("bold", text))
    if any(entry.few for entry in entries):
        found.append(Note("( )", f"in parentheses, on the page in grey: a distance over fewer than {FEW} images, no more than a hint."))
    if any(map(_unmeasured, entries)):
        found.append(
            Note(
                MISSING,
                "not measured: the cell failed, is damaged or not run (see log.jsonl), or the model does not give what the attack needs.",
            )
        )
    return found


def _unmeasured(entry: Entry) -> bool:
    return entry.number == MISSING


def _span(numbers: Iterable[int]) -> str:
    """'500', '256 to 500', or '' for none."""
    values = sorted(set(numbers))
    return " to ".join(f"{value:,}" for value in dict.fromkeys((values[0], values[-1]))) if values else ""
