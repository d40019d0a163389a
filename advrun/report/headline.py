"""What was found, in sentences: which defence is best, by how much, at what price, and what was found doubtful."""

from __future__ import annotations

from advrun.flags import meaning
from advrun.paired import Difference
from advrun.report import detection, transfer
from advrun.report.layout import accuracy_label, attack_and_norm, ball_label, distance_label, marked, percent
from advrun.report.ranking import Ranking, compare, doubts, ranking
from advrun.report.strengths import said
from advrun.report.summary import CLEAN_ATTACK, UNDEFENDED, Panel, Score, Summary, System


def headline(summary: Summary) -> list[str]:
    """A paragraph per norm and model, about the largest eps that leaves something; then what crosses over, and what detectors see."""
    return [" ".join(paragraph) for paragraph in sentences(summary)]


def sentences(summary: Summary) -> list[list[str]]:
    """The same by sentences.

    Where strengths were swept, the best of them; then the best system, paired tests of it, what it costs, what replayed examples claim,
    what is doubtful.
    """
    worst = [panel for panel in summary.panels if panel.attack.is_worst_case and not panel.minimal]
    found = [*said(summary), *(_Paragraph(summary, panel, model).sentences for panel in worst for model in summary.models)]
    usual = [each for each in found if each] or [each for model in summary.models if (each := _clean_alone(summary, model))]
    return [*usual, *transfer.sentences(summary), *detection.sentences(summary)]


LEFT = 0.05
"""An eps is worth a paragraph where the best system surely keeps this share of the images: beyond it all are equally broken."""


class _Paragraph:
    """About one model in one norm, at the largest eps where there is something left."""

    def __init__(self, summary: Summary, panel: Panel, model: str) -> None:
        self.summary, self.panel, self.model = summary, panel, model
        self.eps = max((eps for eps in panel.radii if self._left(eps, "low") >= LEFT), default=panel.radii[-1], key=panel.radii.index)
        self.ranking: Ranking = ranking(summary, panel, self.eps, model)
        self.place = f"the worst case within {ball_label(panel.attack.norm, self.eps)}"

    @property
    def sentences(self) -> list[str]:
        if not self.ranking.ranked:
            return self._nobody() if self.ranking.doubtful else []
        best, *others = self.ranking.ranked
        undefended = System(self.model, UNDEFENDED)
        without = [undefended] if undefended not in (best, *others[:1]) and self._cell(undefended) else []
        verdicts = [self._verdict(best, rival) for rival in (*others[:1], *without)]
        found = [self._best(best), *verdicts[:1], self._more_ties(best, others[1:]), *verdicts[1:]]
        return list(filter(None, (*found, self._price(best, undefended), self._claim(best), self._beyond(), self._doubtful())))

    def _left(self, eps: float | None, what: str) -> float:
        """Accuracy of the best system at an eps, or the lower end of its interval."""
        systems = (system for system in self.summary.systems if system.model == self.model)
        cells = (self.summary.cell(system, self.panel.attack, eps, "adaptive") for system in systems)
        return max((getattr(cell, what) for cell in cells if cell), default=0.0)

    def _cell(self, system: System, threat: str = "adaptive") -> Score | None:
        return self.summary.cell(system, self.panel.attack, self.eps, threat)

    def _number(self, system: System) -> str:
        """`hybrid 45.4 %`, with the marks of its doubts."""
        cell = self._cell(system)
        return f"{_name(system)} {accuracy_label(cell, self._doubts(system))}" if cell else _name(system)

    def _doubts(self, system: System) -> tuple[str, ...]:
        return doubts(self.summary, self.panel, self.eps, system)

    def _best(self, best: System) -> str:
        cell = self._cell(best)
        with_what = "without a defence" if best.undefended else f"with {best.defense}"
        return f"{self.model} {with_what}: {_right(cell)} in {self.place} ({_spread(cell)})." if cell else ""

    def _verdict(self, first: System, second: System) -> str:
        found = compare(self.summary, self.panel.attack, self.eps, first, second)
        if found.apart:
            by = f"by {percent(found.value)} ({_interval(found)})"
            return f"{self._number(first)} is better than {self._number(second)} {by}."
        by = f"difference {percent(found.value)}, {_interval(found)}"
        return f"{self._number(first)} and {self._number(second)} cannot be told apart ({by})."

    def _more_ties(self, best: System, rest: list[System]) -> str:
        ties = [system for system in rest if system in self.ranking.ties and not system.undefended]
        return f"Nor can {_listed([self._number(system) for system in ties])} be told apart from {_name(best)}." if ties else ""

    def _price(self, best: System, undefended: System) -> str:
        """What the clean accuracy cost."""
        own, before = self.summary.clean(best), self.summary.clean(undefended)
        if own is None:
            return ""
        name = "it" if best.undefended else best.defense
        if best.undefended or before is None:
            return f"On clean images {name} is right on {accuracy_label(own, own.flags)} ({_spread(own)})."
        found = compare(self.summary, CLEAN_ATTACK, None, best, undefended)
        change = f"{percent(abs(found.value))} {'lost' if found.value <= 0 else 'gained'}"
        chance = "" if found.apart else ", which can be chance"
        loss = f"{change}{chance}, {_interval(found, -1 if found.value <= 0 else 1)}"
        compared = f"no defence {accuracy_label(before, before.flags)}: {loss}"
        return f"On clean images {name} is right on {accuracy_label(own, own.flags)} ({compared})."

    def _claim(self, best: System) -> str:
        """What replayed examples say of the best defence; of all of them where none is better than no defence."""
        if not best.undefended and not self._as_good_without(best):
            static = self._cell(best, "static")
            return f"Replayed examples alone would have claimed {accuracy_label(static, static.flags)}." if static else ""
        others = [system for system in (*self.ranking.ranked, *self.ranking.doubtful) if not system.undefended]
        said = [(system, cell) for system in others if (cell := self._cell(system, "static")) and self._seems_to_help(system)]
        claims = _listed([f"{accuracy_label(cell, cell.flags)} for {system.defense}" for system, cell in said])
        though = f", though replayed examples alone would have claimed {claims}" if said else ""
        return f"So no defence truly helps here{though}." if others else ""

    def _seems_to_help(self, system: System) -> bool:
        """Whether replayed examples leave more than there is without a defence, by more than chance."""
        found = compare(self.summary, self.panel.attack, self.eps, system, System(self.model, UNDEFENDED), "static")
        return found.apart and found.value > 0

    def _as_good_without(self, best: System) -> bool:
        """Whether no defence at all cannot be told apart from the best."""
        return System(self.model, UNDEFENDED) in self.ranking.ties

    def _beyond(self) -> str:
        """What is left at the largest eps, where the paragraph is about a smaller one."""
        last = self.panel.radii[-1]
        if self.eps == last:
            return ""
        return f"Within {ball_label(self.panel.attack.norm, last)} none keeps more than {percent(self._left(last, 'accuracy'))} %."

    def _doubtful(self) -> str:
        numbers = [f"{self._number(system)} ({', '.join(self._doubts(system))})" for system in self.ranking.doubtful]
        return f"Not ranked, because doubtful: {_listed(numbers)}." if numbers else ""

    def _nobody(self) -> list[str]:
        systems = self.ranking.doubtful
        flags = dict.fromkeys(flag for system in systems for flag in self._doubts(system))
        remedies = dict.fromkeys(meaning(flag).remedy for flag in flags)
        every = "the only number is" if len(systems) == 1 else "every number is"
        numbers = _listed([self._number(system) for system in systems])
        todo = " ".join(filter(None, remedies))
        said = f"{self.model}: none can be called best in {self.place}, because {every} doubtful: {numbers}."
        return [said, f"To do: {todo}"] if todo else [said]


def _clean_alone(summary: Summary, model: str) -> list[str]:
    """Where nothing was attacked within a ball."""
    known = [(system, cell) for system in summary.systems if system.model == model and (cell := summary.clean(system))]
    numbers = [f"{_name(system)} {accuracy_label(cell, cell.flags)} ({_spread(cell)})" for system, cell in known]
    leading = {panel.attack.norm: panel for panel in reversed(summary.panels) if panel.minimal}  # the closest example, where there is one
    nearest = [_nearest(summary, panel, model) for panel in leading.values()]
    clean = [f"{model} on clean images: {_listed(numbers)}."] if numbers else []
    return [*clean, *(filter(None, nearest) if leading else ["Nothing was attacked."])] if known else []


def _nearest(summary: Summary, panel: Panel, model: str) -> str:
    """`Under cw, L2, half of the fooled images lie within 0.47 for no defence (191 images).`"""
    systems = [system for system in summary.systems if system.model == model]
    cells = [(system, cell) for system in systems if (cell := summary.cell(system, panel.attack, None, "adaptive"))]
    said = [f"{_median(cell)} for {_name(system)} ({cell.fooled or 0:,} images)" for system, cell in cells if cell.median is not None]
    return f"Under {attack_and_norm(panel.attack)}, half of the fooled images lie within {_listed(said)}." if said else ""


def _median(cell: Score) -> str:
    return marked(distance_label(cell.median or 0.0), cell.flags)


def _name(system: System) -> str:
    return "no defence" if system.undefended else system.defense


def _right(cell: Score) -> str:
    return f"{percent(cell.accuracy)} % right"


def _spread(cell: Score) -> str:
    if cell.seeds == 1:
        return f"95 % interval {percent(cell.low)} to {percent(cell.high)}; {cell.n:,} images"
    return f"mean of {cell.seeds} seeds, standard deviation {percent(cell.margin or 0.0)}; {cell.n:,} images each"


def _interval(found: Difference, sign: int = 1) -> str:
    """`95 % interval -0.6 to 3.0; 1,000 images`; `sign` -1 tells it of the loss instead of the gain."""
    low, high = sorted((sign * found.low, sign * found.high))
    seeds = "" if found.seeds == 1 else f" and {found.seeds} seeds"
    uncertain = not found.apart and found.p is not None and not found.low <= 0 <= found.high
    test = f", but p = {found.p:.2f} in McNemar's exact test" if uncertain else ""
    return f"95 % interval {percent(low)} to {percent(high)}{test}; {found.n:,} images{seeds}"


def _listed(names: list[str]) -> str:
    """`a, b and c`."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
