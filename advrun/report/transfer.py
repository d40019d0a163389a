"""The matrices of what crosses over as tables, and in sentences: what transfers best, and whether models err alike."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

from advrun.report.accuracy import write_csv
from advrun.report.crossing import Crossing, Matrix, lead, matrices
from advrun.report.layout import MISSING, attack_and_norm, attack_label, ball_label, percent
from advrun.report.markdown import escape, pipes
from advrun.report.summary import Summary
from advrun.types import SystemName

HEADER = (
    *("attack", "norm", "eps", "aim", "settings", "source", "target", "threat", "seeds"),
    *("both_right", "transfer_share", "low", "high", "fooled_both"),
    *("same_class_share", "same_class_low", "same_class_high", "same_class_by_chance", "same_class_p", "beyond_chance"),
)
SHARES = "fooled, % of the images that source and target both got right, with the 95 % interval"
ALIKE = "the same wrong class, % of the images that fooled both"
CHANCE = (
    "Chance: one answer drawn from the source's wrong answers and one from the target's, apart from each other, are the same class. "
    "* More often than that (exact test, all places of the matrix together at 5 %)."
)
SEEDS = "Means over seeds, from one standard deviation below to one above in parentheses; wrong classes of all seeds together."


@lru_cache(maxsize=1)
def found(summary: Summary) -> list[Matrix]:
    """The matrices of a summary; none where nothing was shown to another system."""
    return matrices(summary)


def files(summary: Summary, title: str) -> dict[str, str]:
    """Content by file name; none without a matrix."""
    if not found(summary):
        return {}
    lines = [_csv_line(matrix, each) for matrix in found(summary) for each in matrix.crossings]
    return {"transfer.csv": write_csv([HEADER, *lines]), "transfer.md": _markdown(summary, title)}


def grids(summary: Summary) -> list[tuple[str, list[list[str]]]]:
    """Caption and lines of every table, the header first; a line per source, a column per target."""
    return [
        (f"{name(matrix)}: {said}", [["source", *map(str, matrix.targets)], *_lines(matrix, text)])
        for matrix in found(summary)
        for said, text in ((SHARES, _share_text), (ALIKE, _alike_text))
    ]


def notes(summary: Summary) -> str:
    """Below the tables."""
    return f"{CHANCE} {SEEDS}" if len(summary.seeds) > 1 else CHANCE


def name(matrix: Matrix) -> str:
    """`mifgsm, L∞ 8/255`; `cw, L2`."""
    within = "" if matrix.eps is None else ball_label(matrix.attack.norm, matrix.eps)
    return f"{attack_label(matrix.attack)}, {within}" if within else attack_and_norm(matrix.attack)


def sentences(summary: Summary) -> list[list[str]]:
    """A paragraph for each size of a change, the largest of each norm: what crosses over best between undefended models."""
    groups: dict[tuple[str, bool], list[Matrix]] = {}
    for matrix in found(summary):
        if matrix.carried is not None and not matrix.attack.target:
            groups.setdefault((matrix.attack.norm, matrix.eps is None), []).append(matrix)
    largest = [
        [each for each in group if each.eps == max(one.eps or 0.0 for one in group) or each.eps is None] for group in groups.values()
    ]
    return [list(_paragraph(sorted(group, key=lambda each: -(each.carried or 0.0)))) for group in largest]


def _paragraph(ranked: Sequence[Matrix]) -> Iterator[str]:
    best, *others = ranked
    pairs = [each for each in best.crossings if (each.source, each.target) in best.tries and each.share is not None]
    if not pairs:
        return
    most, least = max(pairs, key=_share), min(pairs, key=_share)
    images = max(map(len, best.tries.values()))
    spread = (
        f"from {percent(_share(least))} % ({_way(least)}) to {percent(_share(most))} % ({_way(most)})" if len(pairs) > 1 else _way(most)
    )
    within = f"within {ball_label(best.attack.norm, best.eps)}" if best.eps is not None else "as near as possible"
    yield (
        f"{attack_label(best.attack)} transfers best {within}: of the images that two models both get right, its examples of one fool the "
        f"other in {percent(best.carried or 0.0)} %, {spread} ({images:,} images)."
    )
    if others:
        yield f"After it {_listed([f'{attack_label(each.attack)} {percent(each.carried or 0.0)} %' for each in others])}."
        yield from _tie(best, others)
    yield from _defended(best)
    yield from _same(best, pairs)


def _tie(best: Matrix, others: Sequence[Matrix]) -> Iterator[str]:
    leads = [(attack_label(each.attack), lead(best, each)) for each in others]
    ties = [label for label, ahead in leads if ahead is not None and not ahead.apart]
    if ties:
        yield f"{_listed(ties)} cannot be told apart from it on these images."
    clear = [(label, ahead) for label, ahead in leads if ahead is not None and ahead.apart]
    if clear:
        said = [f"{label} by {percent(ahead.value)} points ({percent(ahead.low)} to {percent(ahead.high)})" for label, ahead in clear]
        yield f"It is ahead of {_listed(said)}, with 95 % intervals."


def _defended(best: Matrix) -> Iterator[str]:
    """The same examples on defended systems of other models."""
    shares = [
        each for each in best.crossings if each.target.defended and not each.source.defended and each.source.model != each.target.model
    ]
    known = [_share(each) for each in shares if each.share is not None]
    if known:
        reach = " to ".join(dict.fromkeys((percent(min(known)), percent(max(known)))))
        yield f"On defended systems of other models the same examples fool {reach} %."


def _same(best: Matrix, pairs: Sequence[Crossing]) -> Iterator[str]:
    both = sum(each.found.both for each in pairs)
    if not both:
        return
    same = sum(each.found.same for each in pairs) / both
    chance = sum((each.found.chance or 0.0) * each.found.both for each in pairs) / both
    beyond = sum(each.beyond for each in pairs)
    counted = "more than by chance" if beyond == len(pairs) == 1 else f"clearly more than by chance in {beyond} of {len(pairs)} pairs"
    counted = "not clearly more" if not beyond else counted
    yield (
        f"Where an example of {attack_label(best.attack)} fools both models, both name the same wrong class in {percent(same)} %; by "
        f"chance it would be {percent(chance)} % ({counted})."
    )


def _share(each: Crossing) -> float:
    return each.share or 0.0


def _way(each: Crossing) -> str:
    return f"{each.source} to {each.target}"


def _listed(names: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def _markdown(summary: Summary, title: str) -> str:
    parts = [f"# {escape(title)}: from model to model", *(escape(" ".join(paragraph)) for paragraph in sentences(summary))]
    for caption, lines in grids(summary):
        parts += [f"## {escape(caption)}", pipes(lines)]
    return "\n\n".join([*parts, escape(notes(summary))]) + "\n"


def _lines(matrix: Matrix, text: Callable[[Crossing], str]) -> list[list[str]]:
    def cell(source: SystemName, target: SystemName) -> str:
        crossing = matrix.at(source, target)
        return MISSING if crossing is None else text(crossing)

    return [[str(source), *(cell(source, target) for target in matrix.targets)] for source in matrix.sources]


def _share_text(each: Crossing) -> str:
    return "no image" if each.share is None else f"{percent(each.share)} ({percent(each.low)} to {percent(each.high)})"


def _alike_text(each: Crossing) -> str:
    same, chance = each.found.same_share, each.found.chance
    if each.source == each.target:
        return "="
    if same is None or chance is None:
        return "none fooled"
    return f"{percent(same)} of {each.found.both:,}; chance {percent(chance)}{' *' if each.beyond else ''}"


def _csv_line(matrix: Matrix, each: Crossing) -> list[object]:
    """Shares from 0 to 1, empty where they mean nothing."""
    attack, agreed = matrix.attack, each.found
    eps = "" if matrix.eps is None else matrix.eps
    settings = json.dumps(dict(matrix.settings), ensure_ascii=False, allow_nan=False)
    first = [attack.name, attack.norm, eps, attack.target, settings, str(each.source), str(each.target), each.threat, each.seeds]
    shares = [""] * 3 if each.share is None else [each.share, each.low, each.high]
    chance = [agreed.chance, agreed.p, each.beyond] if each.source != each.target else [""] * 3
    same = [agreed.same_share, agreed.same_low, agreed.same_high, *chance] if agreed.both else [""] * 6
    return [*first, agreed.n, *shares, agreed.both, *same]
