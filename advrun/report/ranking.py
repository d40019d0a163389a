"""Which defence is best, whether it is better than another by more than chance, and which are too doubtful to be ranked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from advrun.paired import Difference, difference
from advrun.report.summary import CLEAN_ATTACK, AttackId, Panel, Summary, System


@dataclass(frozen=True)
class Ranking:
    """The systems of one model in one norm and ball, under the adaptive worst case.

    ranked: those without a flag, best first; ties in the order of the summary. ties: those of them that cannot be told apart from the
    best, itself aside. doubtful: those with a flag on this number or on the clean one, which are not ranked.
    """

    ranked: tuple[System, ...]
    ties: tuple[System, ...]
    doubtful: tuple[System, ...]

    @property
    def leaders(self) -> tuple[System, ...]:
        """What is set in bold: the best, and its ties; nothing where there is nothing to compare."""
        contested = len(self.ranked) + len(self.doubtful) > 1
        return (*self.ranked[:1], *self.ties) if contested else ()


@lru_cache(1000)
def ranking(summary: Summary, panel: Panel, eps: float | None, model: str) -> Ranking:
    """Rank the systems of a model."""
    systems = [system for system in summary.systems if system.model == model]
    scores = {system: cell for system in systems if (cell := summary.cell(system, panel.attack, eps, "adaptive"))}
    doubtful = tuple(system for system in scores if doubts(summary, panel, eps, system))
    ranked = sorted(scores.keys() - set(doubtful), key=lambda system: (-scores[system].accuracy, systems.index(system)))
    best = ranked[:1]
    ties = [other for other in ranked[1:] if not compare(summary, panel.attack, eps, best[0], other).apart]
    return Ranking(tuple(ranked), tuple(ties), doubtful)


def doubts(summary: Summary, panel: Panel, eps: float | None, system: System) -> tuple[str, ...]:
    """Flags on the system's number under attack and on its clean one."""
    cells = (summary.cell(system, panel.attack, eps, "adaptive"), summary.clean(system))
    return tuple(dict.fromkeys(flag for cell in cells if cell for flag in cell.flags))


def compare(summary: Summary, attack: AttackId, eps: float | None, first: System, second: System, threat: str = "adaptive") -> Difference:
    """The first system against the second on the images and seeds that both met; of clean images with CLEAN_ATTACK.

    threat: that of the first; the second's is adaptive.
    """
    threats = ("none", "none") if attack == CLEAN_ATTACK else (threat, "adaptive")
    one, other = (summary.outcomes(system, attack, eps, met) for system, met in zip((first, second), threats, strict=True))
    seeds = [seed for seed in one if seed in other]
    return difference([one[seed].correct for seed in seeds], [other[seed].correct for seed in seeds])
