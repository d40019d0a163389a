"""A defence at several strengths: which gives back most of what an attack takes, and what is left of that when the attack knows of it.

The best strength is chosen by the replayed (static) examples, as the studies of such filters do, and measured on the same images: of
several strengths the best looks a little better than it is. Its adaptive accuracy, at that same strength, was not chosen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from advrun.config import Sweep
from advrun.config.yamlfile import number
from advrun.paired import Difference, difference
from advrun.report.layout import accuracy_label, ball_label, eps_label, marked, norm_label, percent
from advrun.report.ranking import compare
from advrun.report.summary import CLEAN_ATTACK, UNDEFENDED, Panel, Score, Summary, System

HEADER = (
    *("model", "defence", "setting", "attack", "ε", "best", "no defence, %", "static, %", "given back", "95 % interval"),
    *("adaptive, %", "left", "95 % interval", "clean, %", "clean without, %"),
)


@dataclass(frozen=True)
class Strength:
    """A defence at the strength that gives back most at one eps. Differences are to the undefended model under the same attack.

    value: of the setting. back, left: of the static and the adaptive accuracy; cost: of the clean one.
    """

    summary: Summary
    sweep: Sweep
    panel: Panel
    eps: float
    value: float
    system: System
    back: Difference
    left: Difference
    cost: Difference

    def score(self, threat: str, system: System | None = None) -> Score | None:
        """Accuracy at this eps; clean for "none"."""
        system = system or self.system
        return self.summary.clean(system) if threat == "none" else self.summary.cell(system, self.panel.attack, self.eps, threat)

    def label(self, threat: str, system: System | None = None) -> str:
        """`45.2 % †`."""
        score = self.score(threat, system)
        return accuracy_label(score, score.flags) if score else ""


def panels(summary: Summary) -> list[Panel]:
    """Those over which strengths are compared: the worst case in each norm."""
    return [panel for panel in summary.panels if panel.attack.is_worst_case and not panel.minimal]


def systems_of(summary: Summary, sweep: Sweep, model: str) -> list[tuple[float, System]]:
    """The measured systems of a sweep, the smallest value first."""
    known = set(summary.systems)
    return [(value, system) for value, label in sorted(sweep.points) if (system := System(model, label)) in known]


def best_value(summary: Summary, panel: Panel, eps: float | None, systems: list[tuple[float, System]], threat: str) -> float | None:
    """The value with the highest accuracy, the smallest of equals; of those without a flag, where there are any."""
    scores = [(value, cell) for value, system in systems if (cell := summary.cell(system, panel.attack, eps, threat))]
    sound = [(value, cell) for value, cell in scores if not cell.flags] or scores
    return max(sound, key=lambda each: each[1].accuracy)[0] if sound else None


def strengths(summary: Summary, sweep: Sweep, model: str, panel: Panel) -> list[Strength]:
    """The best strength at each eps."""
    systems = systems_of(summary, sweep, model)
    undefended = System(model, UNDEFENDED)
    found = []
    for eps in panel.radii:
        value = best_value(summary, panel, eps, systems, "static")
        if value is None or eps is None or not summary.cell(undefended, panel.attack, eps, "adaptive"):
            continue
        system = dict(systems)[value]
        if not summary.cell(system, panel.attack, eps, "adaptive"):
            continue
        before = summary.outcomes(undefended, panel.attack, eps, "adaptive")
        static = summary.outcomes(system, panel.attack, eps, "static")
        seeds = [seed for seed in static if seed in before]
        back = difference([static[seed].correct for seed in seeds], [before[seed].correct for seed in seeds])
        left = compare(summary, panel.attack, eps, system, undefended)
        cost = compare(summary, CLEAN_ATTACK, None, system, undefended)
        found.append(Strength(summary, sweep, panel, eps, value, system, back, left, cost))
    return found


def best_of(summary: Summary, sweep: Sweep, model: str, panel: Panel) -> Strength | None:
    """The strength and the eps at which a defence gives back most."""
    return max(strengths(summary, sweep, model, panel), key=lambda each: each.back.value, default=None)


def shown(summary: Summary, model: str) -> list[System]:
    """The systems of a model that figures show side by side: of a sweep the strength that gives back most, of everything else all."""
    return [system for system in summary.systems if system.model == model and system.defense not in hidden(summary, model)]


def hidden(summary: Summary, model: str) -> set[str]:
    """The labels of those that they leave out."""
    swept = {label for sweep in summary.sweeps for _, label in sweep.points}
    found = [best for sweep in summary.sweeps for panel in panels(summary) if (best := best_of(summary, sweep, model, panel))]
    return swept - {best.system.defense for best in found} if found else set()


def said(summary: Summary) -> list[list[str]]:
    """A paragraph per norm and model: a sentence or two for each sweep, that which gives back most first."""
    paragraphs = []
    for panel in panels(summary):
        for model in summary.models:
            best = [found for sweep in summary.sweeps if (found := best_of(summary, sweep, model, panel))]
            best.sort(key=lambda each: -each.back.value)
            if best:
                paragraphs.append([_sentence(each) for each in best])
    return paragraphs


def lines(summary: Summary) -> list[list[str]]:
    """HEADER, and a line for each sweep, model, norm and eps."""
    return [list(HEADER), *(_line(each) for each in _all(summary))]


def over(panel: Panel, summary: Summary) -> str:
    """The attacks of a worst case: `fgsm`, `fgsm, pgd`."""
    rows = [row for row in summary.rows if (row.attack, row.norm) == (panel.attack.name, panel.attack.norm)]
    return ", ".join(dict.fromkeys(name for row in rows for name in row.settings.get("over", ())))


def _all(summary: Summary) -> Iterator[Strength]:
    for panel in panels(summary):
        for model in summary.models:
            for sweep in summary.sweeps:
                yield from strengths(summary, sweep, model, panel)


def _sentence(best: Strength) -> str:
    undefended = System(best.system.model, UNDEFENDED)
    where = f"under {over(best.panel, best.summary)} within {ball_label(best.panel.attack.norm, best.eps)}"
    at = f"{best.sweep.defense} at {best.sweep.setting} = {number(best.value)}"
    before, static, adaptive = best.label("adaptive", undefended), best.label("static"), best.label("adaptive")
    price = f"clean images: {best.label('none')}, {_points(best.cost)} to no defence"
    if best.back.value <= 0 or not best.back.apart:
        return f"{best.sweep.defense} gives back nothing that is more than chance: at best {_points(best.back)} {where}, {at}; {price}."
    back = f"{at} gives back {_points(best.back)} {where}, static: {before} without a defence, {static} with it"
    left = f"against somebody who knows of it {adaptive} are right, {_points(best.left)} to no defence"
    return f"{back}; {left}; {price}."


def _points(found: Difference) -> str:
    """`+12.3 points (95 % interval 10.1 to 14.5)`."""
    return f"{100 * found.value:+.1f} points (95 % interval {percent(found.low)} to {percent(found.high)})"


def _line(best: Strength) -> list[str]:
    undefended = System(best.system.model, UNDEFENDED)
    attack = f"{over(best.panel, best.summary)}, {norm_label(best.panel.attack.norm)}"
    scores = [
        best.score("adaptive", undefended),
        best.score("static"),
        best.score("adaptive"),
        best.score("none"),
        best.score("none", undefended),
    ]
    before, static, adaptive, clean, plain = ["" if score is None else marked(percent(score.accuracy), score.flags) for score in scores]
    return [
        *(
            best.system.model,
            best.sweep.defense,
            best.sweep.setting,
            attack,
            eps_label(best.panel.attack.norm, best.eps),
            number(best.value),
        ),
        *(before, static, f"{100 * best.back.value:+.1f}", f"{percent(best.back.low)} to {percent(best.back.high)}"),
        *(adaptive, f"{100 * best.left.value:+.1f}", f"{percent(best.left.low)} to {percent(best.left.high)}", clean, plain),
    ]
