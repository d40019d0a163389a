"""Reasons to doubt an accuracy: which there are, what each means and what to do about it, and when one is raised.

A flag is its name, and behind a colon what it is about: `static-wins`, `attacks-missing: pgd`. It is text in the rows of the report, and
is raised when the report is made: rows are stored without. (Carlini et al., 2019, On Evaluating Adversarial Robustness, arXiv:1902.06705)

That one attack is stronger than another where it must not be is found by an exact one-sided test on the images that both met, and counts
where the difference is more than SLACK. All tests of one report together raise a false flag in at most LEVEL of the reports (Holm, 1979).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from advrun.evidence import Suspicion, certain, suspected
from advrun.meanings import (
    BLACK_BOX_WINS,
    DRIFTED,
    FEWER_STEPS_WIN,
    GUESSES,
    MEANINGS,
    MORE_EPS_HELPS,
    OTHER,
    STATIC_WINS,
    TRANSFER_WINS,
    UNBROKEN,
    UNMOVED,
    ZERO_GRADIENTS,
    Meaning,
)
from advrun.paired import at_least, holm, one_sided
from advrun.results import CLEAN, Result, Row

LEVEL = 0.01
SLACK = 0.005
"""Differences of accuracy up to this are no reason for a flag, however sure."""
BLACK_BOX_SLACK = 0.002
"""The same where an attack without gradients is the stronger one."""
SHARE = 0.02
"""An attack may fail at this share of the images for reasons of its own."""
SKILL = 0.1
"""A model that is no guess closes at least this share of the gap between always naming the commonest class and being always right."""
PLACES = {name: place for place, name in enumerate(MEANINGS)}
REPLAYED = {"static": STATIC_WINS, "transfer": TRANSFER_WINS}
"""Threats whose examples know less of the system than adaptive ones."""
ITERATIVE = 10
"""An attack of so many gradients should beat one without any; a single step need not."""


def meaning(flag: str) -> Meaning:
    """What the flag says, its detail filled in."""
    name, _, detail = flag.partition(": ")
    found = MEANINGS.get(name, OTHER)
    return replace(found, seen=found.seen.replace("{detail}", detail)) if detail else found


def mark(flag: str) -> str:
    """The flag's footnote mark, the same everywhere: `†` for zero-gradients. "*" for flags that are not of this version."""
    return meaning(flag).mark


def marks(flags: Iterable[str]) -> str:
    """The marks of several flags, each once: `†‡`."""
    return "".join(dict.fromkeys(map(mark, in_order(flags))))


def explained(flag: str) -> str:
    """`static-wins: what was seen. Why. To do: what to run.`"""
    found = meaning(flag)
    return " ".join(filter(None, (f"{flag.partition(': ')[0]}:", found.seen, found.why, found.remedy and f"To do: {found.remedy}")))


def in_order(flags: Iterable[str]) -> list[str]:
    """Each flag once, in the order of MEANINGS, unknown ones last."""
    return sorted(set(flags), key=lambda flag: (PLACES.get(flag.partition(": ")[0], len(PLACES)), flag))


def flagged(results: Iterable[Result], promised: Mapping[tuple[str, str, int], float] | None = None) -> list[Result]:
    """The same results, with the flags that they raise by themselves and beside each other.

    promised: see `evidence.suspected`.
    """
    results = list(results)
    rivals: dict[tuple[object, ...], list[Result]] = defaultdict(list)
    for result in results:
        if not result.row.target:
            rivals[_met(result.row)].append(result)
    suspicions = [
        (place, *each)
        for place, result in enumerate(results)
        for each in (*_suspicions(result, rivals[_met(result.row)]), *suspected(result, promised or {}))
    ]
    raised = [{*result.row.flags, *_certain(result)} for result in results]
    for place, flag, _ in below(LEVEL, suspicions):
        raised[place].add(flag)
    return [replace(result, row=replace(result.row, flags=tuple(in_order(flags)))) for result, flags in zip(results, raised, strict=True)]


def below(level: float, suspicions: Sequence[tuple[int, str, float]]) -> Iterator[tuple[int, str, float]]:
    """Those that hold when all are tested together."""
    chances = holm([suspicion[-1] for suspicion in suspicions])
    yield from (suspicion for suspicion, chance in zip(suspicions, chances, strict=True) if chance <= level)


def _certain(result: Result) -> Iterator[str]:
    row = result.row
    yield from certain(row)
    if (row.metrics.get("zero_gradients") or 0.0) > SLACK:
        yield ZERO_GRADIENTS
    if (row.metrics.get("drift") or 0.0) > 0:
        yield DRIFTED
    commonest = np.bincount(result.labels).max() / row.n
    if row.attack == CLEAN and commonest < 1 and row.accuracy - commonest < SKILL * (1 - commonest):
        yield GUESSES


def _suspicions(result: Result, rivals: Sequence[Result]) -> Iterator[Suspicion]:
    """What may be wrong with the result, and how likely it is to look so by chance. rivals: what else met the same system in its norm."""
    row = result.row
    if row.threat != "adaptive" or row.target:
        return
    if row.norm and row.eps is None:
        yield UNBROKEN, _more_than(SHARE, result.correct)
    if row.eps is not None:
        yield UNMOVED, _more_than(SHARE, result.correct & (result.distances == 0))
    others = [other for other in rivals if other is not result]
    thirds = [other for other in others if (other.row.threat, other.row.eps) == ("adaptive", row.eps)]
    for flag, other in _contradictions(row, others):
        if not _settled(flag, other, row, thirds):
            yield flag, _stronger(other, result, BLACK_BOX_SLACK if flag == BLACK_BOX_WINS else SLACK)


def _contradictions(row: Row, others: Sequence[Result]) -> Iterator[tuple[str, Result]]:
    """The attacks that must not be stronger than that of the row."""
    for result in others:
        other = result.row
        same = other.attack == row.attack
        if other.threat in REPLAYED:
            if same and (other.settings, other.eps) == (row.settings, row.eps):
                yield REPLAYED[other.threat], result
        elif other.threat != "adaptive" or row.eps is None or other.eps is None:
            continue
        elif same and other.eps < row.eps:
            yield MORE_EPS_HELPS, result
        elif other.eps == row.eps and other.gradients == 0 and row.gradients >= ITERATIVE:
            yield BLACK_BOX_WINS, result
        elif other.eps == row.eps and 0 < other.gradients < row.gradients / 2:
            yield FEWER_STEPS_WIN, result


def _settled(flag: str, other: Result, row: Row, thirds: Sequence[Result]) -> bool:
    """Whether one of these, at the eps of the row and with gradients enough, leaves no more than `other`: then the attack is but weak."""
    least = {MORE_EPS_HELPS: row.gradients, BLACK_BOX_WINS: ITERATIVE, FEWER_STEPS_WIN: 2 * other.row.gradients}.get(flag)
    if least is None:
        return False
    return any(third is not other and third.row.gradients >= max(least, 1) and not _leaves_more(third, other) for third in thirds)


def _met(row: Row) -> tuple[object, ...]:
    """The same for attacks on the same system in the same norm."""
    return row.model, row.defense, row.seed, row.norm


def _leaves_more(one: Result, other: Result) -> bool:
    n = min(one.row.n, other.row.n)
    return bool(one.correct[:n].sum() > other.correct[:n].sum())


def _stronger(other: Result, result: Result, slack: float) -> float:
    """p that `other` leaves fewer images right by chance, on those that both attacked; 1 where the difference is within `slack`."""
    n = min(other.row.n, result.row.n)
    one, another = result.correct[:n], other.correct[:n]
    more, fewer = int((one & ~another).sum()), int((~one & another).sum())
    return one_sided(more, fewer) if more - fewer > slack * n else 1.0


def _more_than(share: float, found: np.ndarray) -> float:
    """p that so many of the images are found by chance, where no more than `share` should be."""
    return at_least(int(found.sum()), len(found), share)
