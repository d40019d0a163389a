"""A comparison in words and as tables of text, the same for the terminal, Markdown and HTML; and as plain data for JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from advrun.compare.pairs import Against, Comparison, Pair
from advrun.compare.sides import PACKAGES, RowName, Side
from advrun.errors import printable
from advrun.flags import explained, in_order, mark, marks
from advrun.paired import LEVEL
from advrun.report.layout import ball_label, norm_label, percent
from advrun.results import CLEAN, CLOSEST, WORST_CASE, Result

METHODS = (
    "Differences are in points. Where the images are the same, rows are compared image by image: the interval of Tango (1998), and "
    "McNemar's exact test. Where they are not, or nobody knows, unpaired: the hybrid score interval of Newcombe (1998), and Fisher's "
    "exact test.",
    "Intervals are 95 % each, by themselves. The p of all tests are adjusted together (Holm, 1979): at a level of 5 %, that any one of the "
    "differences called better or worse is chance is no likelier than 1 in 20.",
)


def headline(each: Against, tests: int) -> str:
    """What got better, what worse, by how much, and whether it is more than chance."""
    who = f"{_folder(each.second)} against {_folder(each.first)}"
    if not each.pairs:
        return f"{who}: no row is in both, so nothing can be compared."
    total = f"{len(each.pairs):,} row{'s' * (len(each.pairs) > 1)}"
    same = sum(pair.same for pair in each.pairs)
    if same == len(each.pairs):
        return f"{who}: the same in all of {total}, image by image."
    better, worse = (sorted((p for p in each.pairs if p.verdict == verdict), key=_rank) for verdict in ("better", "worse"))
    alike = f"; {same:,} are the same image by image" if same else ""
    counts = [f"{len(found):,}" if found else "none" for found in (better, worse)]
    counted = f"of {total} {counts[0]} got better and {counts[1]} worse by more than chance (Holm over {tests:,} tests{alike})"
    if better or worse:
        said = [f"{name}: {_told(pair)}" for name, found in (("best gain", better), ("worst loss", worse)) for pair in found[:1]]
        return f"{who}: {counted}; {'; '.join(said)}."
    largest = min((pair for pair in each.pairs if not pair.same), key=_rank)
    return f"{who}: {counted}; the largest difference, which may be chance: {_told(largest)}."


def _rank(pair: Pair) -> tuple[bool, float]:
    """Worst cases against an attacker who knows the system first, then the largest difference."""
    return not (pair.name.attack == WORST_CASE and pair.name.threat == "adaptive"), -abs(pair.found.value)


def _told(pair: Pair) -> str:
    found = pair.found
    numbers = f"{number(pair.before)} to {number(pair.after)} %, {points(found.value)} points"
    flags = in_order(flag for result in (pair.before, pair.after) for flag in result.row.flags)
    doubt = f"; doubtful: {', '.join(flags)}" if flags else ""
    doubt += f"; not the same attack: {'; '.join(pair.settings)}" if pair.settings else ""
    return f"{' '.join(place(pair.name))} {numbers} (95 % interval {interval(pair)}, {_chance(found.p)}, {way(pair)}{doubt})"


def _folder(side: Side) -> str:
    return f"{side.letter} ({printable(str(side.folder))})"


def number(result: Result) -> str:
    """`45.0 †`."""
    return " ".join(filter(None, (percent(result.row.accuracy), marks(result.row.flags))))


def points(share: float) -> str:
    """0.071 -> '+7.1'."""
    return f"{round(100 * share, 1) + 0.0:+.1f}"


def interval(pair: Pair) -> str:
    """`3.2 to 11.0`."""
    return f"{points(pair.found.low)} to {points(pair.found.high)}"


def way(pair: Pair) -> str:
    """How it was tested: `1,000 pairs`, `unpaired`."""
    return f"{pair.found.common:,} pairs" if pair.found.paired else "unpaired"


def chance(p: float | None) -> str:
    """A p as text: three digits behind the point, down to `< 0.001`."""
    return "" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _chance(p: float) -> str:
    return f"p {chance(p)}" if p < 0.001 else f"p = {chance(p)}"


def system(name: RowName) -> str:
    """`lnet / hybrid`."""
    return printable(f"{name.model} / {name.defense}")


def attack(name: RowName) -> str:
    """`pgd (target 3)`, and where its images come from."""
    source = f" from {name.source}" if name.source else ""
    return printable(f"{name.attack}{f' (target {name.target})' if name.target else ''}{source}")


def ball(name: RowName) -> str:
    """`L∞ 8/255`; '' for clean images."""
    return norm_label(name.norm) if name.eps is None else ball_label(name.norm, name.eps)


def place(name: RowName) -> list[str]:
    """System, attack, ball, threat and seed as words."""
    threat = "" if name.attack == CLEAN else printable(name.threat)
    return list(filter(None, (f"{system(name)},", attack(name), "" if name.attack == CLOSEST else ball(name), threat, _seed(name))))


def _seed(name: RowName) -> str:
    return f"seed {name.seed}" if name.seed else ""


def heads(each: Against) -> list[str]:
    """Of the table of rows."""
    first, second = each.first.letter, each.second.letter
    numbers = (f"{first}, %", f"{second}, %", f"{second} - {first}", "95 % interval", "p", "p (Holm)", "compared")
    return ["attack", "within", "threat", "seed", *numbers, "verdict"]


def line(pair: Pair) -> list[str]:
    """One row of it."""
    name, found = pair.name, pair.found
    tested = ["0.0", "", "", ""] if pair.same else [points(found.value), interval(pair), chance(found.p), chance(pair.adjusted)]
    where = [attack(name), ball(name), "" if name.attack == CLEAN else printable(name.threat), str(name.seed)]
    return [*where, number(pair.before), number(pair.after), *tested, way(pair), pair.verdict]


def by_system(pairs: Iterable[Pair]) -> dict[str, list[Pair]]:
    """In the order of the rows."""
    found: dict[str, list[Pair]] = {}
    for pair in pairs:
        found.setdefault(system(pair.name), []).append(pair)
    return found


def notes(comparison: Comparison) -> list[tuple[str, str]]:
    """Marks of flags and what they mean; then the methods."""
    rows = [result.row for each in comparison.against for pair in each.pairs for result in (pair.before, pair.after)]
    flags = in_order(flag for row in rows for flag in row.flags)
    return [(mark(flag), explained(flag)) for flag in flags] + [("", text) for text in METHODS]


def alone(each: Against) -> list[str]:
    """Rows that are in one folder only."""
    pairs = ((each.first, each.gone), (each.second, each.new))
    return [f"only in {side.letter}: {' '.join(place(name))}" for side, names in pairs for name in names]


def settings(each: Against) -> list[str]:
    """Rows whose attack has other settings now."""
    return [f"{' '.join(place(pair.name))}: {'; '.join(pair.settings)}" for pair in each.pairs if pair.settings]


def remarks(comparison: Comparison) -> list[str]:
    """What is missing or damaged."""
    return [f"{side.letter}: {remark}" for side in comparison.sides for remark in side.remarks]


def changed(comparison: Comparison) -> list[list[str]]:
    """What was changed, the header first."""
    letters = [side.letter for side in comparison.sides]
    return [["", "what", *letters], *([each.kind, each.what, *each.values] for each in comparison.changes)]


def plain(comparison: Comparison) -> dict[str, Any]:
    """All of it as JSON has it."""
    return {
        "headline": [headline(each, comparison.tests) for each in comparison.against],
        "folders": {side.letter: _described(side) for side in comparison.sides},
        "changes": [{"kind": c.kind, "what": c.what, "values": list(c.values)} for c in comparison.changes],
        "level": LEVEL,
        "tests": comparison.tests,
        "against": [
            {
                "first": each.first.letter,
                "second": each.second.letter,
                "rows": [_as_plain(pair) for pair in each.pairs],
                "only first": [name._asdict() for name in each.gone],
                "only second": [name._asdict() for name in each.new],
            }
            for each in comparison.against
        ],
    }


def _described(side: Side) -> dict[str, Any]:
    packages = {name: " and ".join(side.versions.get(name, ())) for name in PACKAGES}
    return {"folder": str(side.folder), "rows": len(side.results), "packages": packages, "remarks": list(side.remarks)}


def _as_plain(pair: Pair) -> dict[str, Any]:
    found = pair.found
    tested = {"difference": found.value, "interval": [found.low, found.high], "p": found.p, "p_holm": pair.adjusted}
    ways = ("McNemar exact", "Tango") if found.paired else ("Fisher exact", "Newcombe hybrid score")
    test = {"paired_images": found.common, "test": ways[0], "interval_method": ways[1]}
    return {
        **pair.name._asdict(),
        "first": _measured(pair.before),
        "second": _measured(pair.after),
        **tested,
        **test,
        "settings": list(pair.settings),
        "verdict": pair.verdict,
    }


def _measured(result: Result) -> dict[str, Any]:
    row = result.row
    return {"accuracy": row.accuracy, "n": row.n, "interval": list(row.interval), "flags": list(row.flags)}
