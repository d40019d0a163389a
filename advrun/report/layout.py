"""The summary as tables of text, the same for Markdown, LaTeX, HTML and the terminal; each of them only dresses it up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from advrun.flags import marks
from advrun.geometry import format_eps
from advrun.report.ranking import ranking
from advrun.report.summary import AttackId, Panel, Score, Summary, System, once
from advrun.results import Row

MISSING = "—"
SAME = "="
FEW = 10
"""A mean over fewer images is no more than a hint: grey on the page, in parentheses elsewhere."""
PERCENT = "accuracy, %"


@dataclass(frozen=True)
class Entry:
    """One place of a table.

    threat: what the column holds, "none" for clean images. number: the value as text. margin: what follows "±", or "".
    flags: reasons for doubt. span: columns covered. share: an accuracy, 0 to 1, or None. best: True for the best number
    without a flag, and those that cannot be told apart from it. few: True for a mean over fewer than FEW images.
    detail: the same in a few more words. row: the first of the rows behind it, as in `Score`, or None.
    """

    threat: str
    number: str = MISSING
    margin: str = ""
    flags: tuple[str, ...] = ()
    span: int = 1
    share: float | None = None
    best: bool = False
    few: bool = False
    detail: str = "not measured"
    row: int | None = None

    @property
    def marks(self) -> str:
        """Footnote marks of the flags."""
        return marks(self.flags)

    @property
    def text(self) -> str:
        """`45.2 ± 4.4 †`, `(0.31)`."""
        number = f"({self.number})" if self.few else self.number
        return " ".join(filter(None, (number, self.margin and f"± {self.margin}", self.marks)))


@dataclass(frozen=True)
class Group:
    """Neighbouring columns: heads under one title."""

    title: str
    heads: tuple[str, ...]


@dataclass(frozen=True)
class Line:
    """One system; its entries' spans add up to the number of columns."""

    system: System
    entries: tuple[Entry, ...]

    @property
    def places(self) -> list[Entry]:
        """One entry per column, for tables without merged places: SAME stands for what the next place holds."""
        return [place for entry in self.entries for place in [Entry(entry.threat, SAME)] * (entry.span - 1) + [entry]]

    @property
    def texts(self) -> list[str]:
        """The same as text."""
        return [place.text for place in self.places]


@dataclass(frozen=True)
class Table:
    """Systems by columns. headline: True for worst cases. unit: of all columns, "" where their heads have units of their own."""

    title: str
    unit: str
    headline: bool
    groups: tuple[Group, ...]
    lines: tuple[Line, ...]

    @property
    def caption(self) -> str:
        """`Worst case, L∞ (accuracy, %)`."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    @property
    def heads(self) -> list[str]:
        """One text per column: `ε = 8/255 static`."""
        return [f"{group.title} {head}".strip() for group in self.groups for head in group.heads]


@once
def tables(summary: Summary, widest: int | None = None) -> list[Table]:
    """One table per panel, the clean accuracy in the first; a table of clean accuracy alone when nothing was attacked.

    Args:
        summary: what to show.
        widest: at most so many eps side by side; the others follow in tables of their own.
    """
    panels = [piece for panel in summary.panels for piece in _split(panel, widest or len(panel.radii))]
    if not panels:
        lines = tuple(Line(system, (clean(summary, system),)) for system in summary.systems)
        return [Table("Clean images", PERCENT, False, (Group("", ("clean",)),), lines)]
    first, *others = panels
    return [_table(summary, first, with_clean=True), *(_table(summary, panel, with_clean=False) for panel in others)]


def clean(summary: Summary, system: System) -> Entry:
    """The accuracy of one system on clean images."""
    return _accuracy("none", summary.clean(system))


def attacked(summary: Summary, panel: Panel, system: System, eps: float | None) -> list[Entry]:
    """The accuracies of one system at one eps, under all threats of the panel.

    Without a defence, replaying an attack and adapting it are one thing: adaptive covers the static column too.
    """
    entries = [_accuracy(threat, summary.cell(system, panel.attack, eps, threat)) for threat in panel.threats]
    if panel.attack.is_worst_case and not panel.minimal and system in ranking(summary, panel, eps, system.model).leaders:
        entries = [replace(entry, best=entry.threat == "adaptive") for entry in entries]
    return _merged(entries, system)


def distances(summary: Summary, panel: Panel, system: System) -> list[list[Entry]]:
    """Mean distance, median distance, and the number of images that they are over, each under all threats of a panel without eps."""
    columns = [_distance(threat, summary.cell(system, panel.attack, None, threat)) for threat in panel.threats]
    return [_merged(list(column), system) for column in zip(*columns, strict=True)]


def percent(share: float) -> str:
    """0.4517 -> '45.2'."""
    return f"{round(100 * share, 1) + 0.0:.1f}"  # + 0.0: no minus before a zero


def marked(number: str, flags: Iterable[str]) -> str:
    """`45.2 †`."""
    return f"{number} {marks(flags)}".rstrip()


def accuracy_label(cell: Score | Row, flags: Iterable[str] = ()) -> str:
    """`45.2 % †`."""
    return marked(f"{percent(cell.accuracy)} %", flags)


def distance_label(distance: float) -> str:
    """Three digits: '0.0120', '7.87', '1234'."""
    return f"{distance:#.3g}".rstrip(".") if distance < 999.5 else f"{distance:.0f}"


def eps_label(norm: str, eps: float | None) -> str:
    """'8/255' in grey levels for Linf, '0.5' for other norms, 'any' without eps."""
    if eps is None:
        return "any"
    return format_eps(eps) if norm == "linf" else f"{eps:g}"


def norm_label(norm: str) -> str:
    """'linf' -> 'L∞', 'l2' -> 'L2', '' -> ''."""
    return norm.capitalize().replace("inf", "∞")


def measured_in(norm: str) -> str:
    """The norm in which distances are told: attacks without a norm are measured in L2."""
    return norm_label(norm or "l2")


def ball_label(norm: str, eps: float | None) -> str:
    """'L∞ 8/255'."""
    return f"{norm_label(norm)} {eps_label(norm, eps)}"


def attack_label(attack: AttackId) -> str:
    """The attack's name, and what it aims at."""
    return f"{attack.name} (target {attack.target})" if attack.target else attack.name


def attack_and_norm(attack: AttackId) -> str:
    """'pgd, L∞'; 'spatial' for an attack without a norm."""
    return f"{attack_label(attack)}, {norm_label(attack.norm)}" if attack.norm else attack_label(attack)


def _split(panel: Panel, widest: int) -> list[Panel]:
    starts = range(0, len(panel.radii), widest)
    return [replace(panel, radii=panel.radii[start : start + widest]) for start in starts]


def _table(summary: Summary, panel: Panel, with_clean: bool) -> Table:
    norm = measured_in(panel.attack.norm)
    titles = [f"ε = {eps_label(panel.attack.norm, eps)}" for eps in panel.radii]
    minimal = [PERCENT, f"mean {norm}", f"median {norm}", "images fooled"]
    groups = [Group(title, panel.threats) for title in (minimal if panel.minimal else titles)]
    if with_clean:
        groups.insert(0, Group("", ("clean, %" if panel.minimal else "clean",)))

    def line(system: System) -> Line:
        entries = [clean(summary, system)] if with_clean else []
        entries += [entry for eps in panel.radii for entry in attacked(summary, panel, system, eps)]
        return Line(system, (*entries, *chain(*(distances(summary, panel, system) if panel.minimal else ()))))

    name = attack_and_norm(panel.attack)
    name = name[0].upper() + name[1:] if panel.attack.is_worst_case else name
    unit = "" if panel.minimal else PERCENT
    return Table(name, unit, panel.attack.is_worst_case, tuple(groups), tuple(map(line, summary.systems)))


def _merged(entries: list[Entry], system: System) -> list[Entry]:
    threats = [entry.threat for entry in entries]
    if not system.undefended or not {"static", "adaptive"} <= set(threats):
        return entries
    entries[threats.index("adaptive")] = replace(entries[threats.index("adaptive")], span=2)
    return [entry for entry in entries if entry.threat != "static"]


def _accuracy(threat: str, cell: Score | None) -> Entry:
    if cell is None:
        return Entry(threat)
    reach = "95 % interval" if cell.seeds == 1 else f"mean of {cell.seeds} seeds, one standard deviation"
    return Entry(
        threat,
        number=percent(cell.accuracy),
        margin="" if cell.margin is None else percent(cell.margin),
        flags=cell.flags,
        share=cell.accuracy,
        detail=f"{reach}: {percent(cell.low)} to {percent(cell.high)}; n = {cell.n:,}",
        row=cell.row,
    )


def _distance(threat: str, cell: Score | None) -> tuple[Entry, Entry, Entry]:
    if cell is None:
        return Entry(threat), Entry(threat), Entry(threat)
    if cell.distance is None:
        none = Entry(threat, number="none", detail="no image fooled the system", row=cell.row)
        return none, none, Entry(threat, number="0", detail=none.detail, row=cell.row)
    few = is_few(cell.fooled)
    count = "an unknown number of" if cell.fooled is None else f"{cell.fooled:,}"
    shown = [MISSING if value is None else distance_label(value) for value in (cell.distance, cell.median)]
    mean, median = (Entry(threat, number=text, few=few and text != MISSING, detail=f"over {count} images", row=cell.row) for text in shown)
    number = MISSING if cell.fooled is None else f"{cell.fooled:,}"
    return mean, median, Entry(threat, number=number, detail="images fooled", row=cell.row)


def is_few(images: float | None) -> bool:
    """Whether a mean over so many images is no more than a hint; not where their number is unknown."""
    return images is not None and images < FEW


def aligned(lines: Sequence[Sequence[str]], right: Iterable[int] = ()) -> list[str]:
    """Lines of equal length in columns; those in `right` to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    to_right = set(right)
    return [
        "  ".join(
            text.rjust(width) if place in to_right else text.ljust(width)
            for place, (text, width) in enumerate(zip(each, widths, strict=True))
        ).rstrip()
        for each in lines
    ]
