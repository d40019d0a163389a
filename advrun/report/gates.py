"""Gates for CI: numbers of the table that may not fall under a value.

    GATE  = WHERE [ "@" [NORM] EPS ] ":" ["optimality"] VALUE         hybrid/adaptive@8/255: 0.30      none/fmn: optimality 0.95
    WHERE = [MODEL ":"] DEFENCE [ "/" ATTACK ] [ "/" THREAT ]

MODEL, DEFENCE and ATTACK are labels of the configuration; no defence is `none`, and images without an attack are the attack `clean`.
Without ATTACK it is the worst case, without THREAT adaptive, without MODEL all models, without NORM and EPS all of them. VALUE is a share
(0.30) or a percentage (30 %). A gate holds where every number that it names is at least VALUE; over several seeds a number is their mean,
as in the table. Of an attack, its optimality may be asked for in place of the accuracy (`optimality.py`): it falls where the attack became
weaker. One that names nothing is refused: a gate that checks nothing must not pass.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from advrun.config.yamlfile import NUMBER, scalar
from advrun.console import Console
from advrun.errors import ConfigError, GateError, did_you_mean, printable
from advrun.flags import in_order, marks
from advrun.geometry import GEOMETRIES
from advrun.optimality import COLUMN
from advrun.report import markdown, step
from advrun.report.headline import headline
from advrun.report.layout import ball_label, eps_label, norm_label, percent, tables
from advrun.report.notes import notes
from advrun.report.summary import Score, Summary
from advrun.results import CLEAN, CLOSEST, WORST_CASE

if TYPE_CHECKING:
    from advrun.report.findings import Findings

OPTION = "--fail-under"
ADAPTIVE = "adaptive"
FORM = "[MODEL:]DEFENCE[/ATTACK][/THREAT][@[NORM] EPS]: [optimality] VALUE, such as 'hybrid/adaptive@8/255: 0.30'"
BALL = re.compile(rf"(?:({'|'.join(GEOMETRIES)})\s+)?({NUMBER})", re.IGNORECASE)
VALUE = re.compile(rf"(?:({COLUMN})\s+)?({NUMBER})\s*(%?)")
SLACK = 1e-9
"""A share and its decimal form are not quite the same number."""


class Spot(NamedTuple):
    """Where a number stands in the table."""

    model: str
    defense: str
    attack: str
    norm: str
    eps: float | None
    threat: str

    @property
    def names(self) -> list[str]:
        """All forms of WHERE that name it."""
        if self.attack == CLEAN:
            what = [f"/{CLEAN}"]
        else:
            what = [f"/{self.attack}/{self.threat}"]
            what += [f"/{self.threat}"] * (self.attack == WORST_CASE) + [f"/{self.attack}"] * (self.threat == ADAPTIVE)
            what += [""] * (self.attack == WORST_CASE and self.threat == ADAPTIVE)
        return [f"{system}{each}" for system in (self.defense, f"{self.model}:{self.defense}") for each in what]

    def __str__(self) -> str:
        """`lnet / hybrid, worst case L∞ 8/255, adaptive`."""
        ball = norm_label(self.norm) if self.eps is None else ball_label(self.norm, self.eps)
        attack = self.attack if self.attack == CLOSEST else f"{self.attack} {ball}".strip()
        return printable(", ".join([f"{self.model} / {self.defense}", attack, *([self.threat] * (self.attack != CLEAN))]))


@dataclass(frozen=True)
class Gate:
    """text: as it was given. where, norm, eps: what it names; None for any. least: the share that must be left, 0 to 1.

    optimality: whether it is about that, and not about accuracy.
    """

    text: str
    where: str
    norm: str | None
    eps: float | None
    least: float
    optimality: bool = False

    def value(self, score: Score) -> float | None:
        """The number that it is about; None where that was not measured."""
        return score.optimality if self.optimality else score.accuracy

    @property
    def place(self) -> str:
        """What errors begin with."""
        return printable(f"{OPTION} {self.text!r}")

    def of(self, spots: Iterable[Spot]) -> list[Spot]:
        """Those that it names. Raises ConfigError, with the remedy, where there are none, or its words have two meanings."""
        spots = list(spots)
        meant = [spot for spot in spots if self.where in spot.names]
        if not meant:
            raise ConfigError(f"{self.place}: the configuration has no {self.where!r}{did_you_mean(self.where, _names(spots))}")
        if len({(spot.defense, spot.attack, spot.threat) for spot in meant}) > 1:
            raise ConfigError(
                f"{self.place}: {self.where!r} has several meanings ({'; '.join(map(str, meant[:2]))}); name attack and threat"
            )
        found = [spot for spot in meant if self._within(spot)]
        if not found:
            known = ", ".join(dict.fromkeys(f"{spot.norm} {eps_label(spot.norm, spot.eps)}" if spot.norm else "no eps" for spot in meant))
            raise ConfigError(f"{self.place}: {self.where!r} has no number at this eps; known: {known}")
        return found

    def _within(self, spot: Spot) -> bool:
        if self.norm is not None and spot.norm != self.norm:
            return False
        return self.eps is None or (spot.eps is not None and math.isclose(spot.eps, self.eps, rel_tol=1e-6))


def _names(spots: Iterable[Spot]) -> list[str]:
    """The shortest form for each, for messages."""
    return sorted({min(spot.names, key=len) for spot in spots})


def parse(text: str) -> Gate:
    """Read a gate. Raises ConfigError, which names the part that is wrong."""
    shown = printable(f"{OPTION} {text!r}")
    before, colon, last = text.rpartition(":")
    if not colon or not before.strip():
        raise ConfigError(f"{shown}: expected {FORM}")
    value = VALUE.fullmatch(last.strip())
    number, is_optimality = (scalar(value[2]), bool(value[1])) if value else (None, False)
    least = float(number) / (100 if value and value[3] else 1) if isinstance(number, (int, float)) else math.nan
    if not 0 <= least <= 1:
        raise ConfigError(f"{shown}: got {printable(repr(last.strip()))} behind the last colon; expected a share from 0 to 1, or 30 %")
    where, at, ball = before.rpartition("@")
    if not at:
        return Gate(text, before.strip(), None, None, least, is_optimality)
    found = BALL.fullmatch(ball.strip())
    eps = scalar(found[2]) if found else None
    if not where.strip():
        raise ConfigError(f"{shown}: nothing before @; expected {FORM}")
    if not isinstance(eps, (int, float)) or not eps > 0 or found is None:
        raise ConfigError(f"{shown}: got {printable(repr(ball.strip()))} behind @; expected an eps, such as 8/255 or l2 0.5")
    return Gate(text, where.strip(), found[1].lower() if found[1] else None, float(eps), least, is_optimality)


@dataclass(frozen=True)
class Verdict:
    """What became of a gate. numbers: those that it names, as the table has them."""

    gate: Gate
    numbers: tuple[tuple[Spot, Score], ...]
    broken: tuple[tuple[Spot, Score], ...]
    missing: str = ""

    @property
    def holds(self) -> bool:
        return not self.broken and not self.missing

    @property
    def said(self) -> str:
        """The number that decides, in words."""
        if self.missing:
            return self.missing
        value, spot, score = min(
            ((self.gate.value(score) or 0.0, spot, score) for spot, score in self.broken or self.numbers), key=itemgetter(0)
        )
        what = COLUMN if self.gate.optimality else ""
        number = " ".join(filter(None, (what, f"{percent(value)} %", marks(score.flags))))
        under = value < self.gate.least - SLACK
        why = f"is under {percent(self.gate.least)} %" if under else f"is flagged ({', '.join(score.flags)})" if self.broken else "holds"
        more = f"; {len(self.broken) - 1} more are broken" if len(self.broken) > 1 else ""
        return f"{spot}: {number} {why} (n = {score.n:,}){more}"


@dataclass(frozen=True)
class Demands:
    """What CI asks of a report: gates; whether flagged numbers fail; a file for a summary in Markdown, None for the environment's."""

    gates: tuple[Gate, ...] = ()
    fail_on_flags: bool = False
    summary: Path | None = None

    def check(self, spots: Iterable[Spot]) -> None:
        """Before anything is computed: refuse gates that name nothing of the plan. Raises ConfigError, a line for each."""
        known, problems = list(spots), []
        for gate in self.gates:
            try:
                gate.of(known)
            except ConfigError as error:
                problems.append(str(error))
        if problems:
            raise ConfigError("\n".join(problems))

    def judge(self, summary: Summary) -> list[Verdict]:
        """What became of each gate; a number that is not there breaks it."""
        return [self._judged(gate, dict(numbers(summary))) for gate in self.gates]

    def _judged(self, gate: Gate, known: dict[Spot, Score]) -> Verdict:
        try:
            found = tuple((spot, known[spot]) for spot in gate.of(known))
        except ConfigError:
            return Verdict(gate, (), (), "nothing was measured there")
        found = tuple(each for each in found if gate.value(each[1]) is not None)
        if not found:
            return Verdict(gate, (), (), "nothing was measured there; an attack has an optimality where a ledger is named")
        return Verdict(gate, found, tuple(each for each in found if self._breaks(gate, each[1])))

    def _breaks(self, gate: Gate, score: Score) -> bool:
        return (gate.value(score) or 0.0) < gate.least - SLACK or (self.fail_on_flags and bool(score.flags))

    def close(self, findings: Findings, summary: Summary, console: Console) -> GateError | None:
        """Say what became of the gates, and append the summary for CI. Returns the error that the command shall end with."""
        verdicts, flagged = self.judge(summary), self._flagged(summary)
        for each in verdicts:
            if console.as_json:
                console.event("gate", gate=each.gate.text, holds=each.holds, text=each.said)
            elif each.holds:
                console.result(printable(f"{OPTION} {each.gate.text!r}: {each.said}"))
        step.add(in_markdown(findings, summary, verdicts, flagged), self.summary, console.warn)
        broken = [f"{each.gate.place}: {each.said}" for each in verdicts if not each.holds] + flagged
        return GateError("\n".join(broken)) if broken else None

    def _flagged(self, summary: Summary) -> list[str]:
        """Where no gate says which numbers matter, all of them do."""
        found = [score for _, score in numbers(summary) if score.flags]
        if not self.fail_on_flags or self.gates or not found:
            return []
        flags = in_order(flag for score in found for flag in score.flags)
        return [printable(f"--fail-on-flags: {len(found)} of {len(list(numbers(summary)))} numbers are flagged ({', '.join(flags)})")]


def numbers(summary: Summary) -> Iterator[tuple[Spot, Score]]:
    """The accuracies of the table. Of one attack with several targets, the lowest."""
    lowest: dict[Spot, Score] = {}
    for (system, attack, eps, threat), score in summary.cells.items():
        spot = Spot(system.model, system.defense, attack.name, attack.norm, eps, threat)
        if spot not in lowest or score.accuracy < lowest[spot].accuracy:
            lowest[spot] = score
    yield from lowest.items()


def in_markdown(findings: Findings, summary: Summary, verdicts: Sequence[Verdict], flagged: Sequence[str]) -> str:
    """Headline, gates, tables with their flags, notes."""
    text = (
        markdown.summary(findings.title, headline(summary), tables(summary), notes(summary))
        if summary.results
        else "Nothing is measured yet.\n"
    )
    lines = [["gate", "", "number"], *([each.gate.text, "holds" if each.holds else "broken", each.said] for each in verdicts)]
    told = [f"- **broken** {markdown.escape(line)}" for line in flagged]
    gates = markdown.pipes(lines, {(number, 1) for number, each in enumerate(verdicts, 1) if not each.holds})
    parts = ["## Gates"] * bool(verdicts or flagged) + [gates] * bool(verdicts) + ["\n".join(told)] * bool(told)
    title, _, rest = text.partition("\n\n")
    return "\n\n".join(filter(None, (title.rstrip("\n"), *parts, rest)))
