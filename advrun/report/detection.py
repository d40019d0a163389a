"""What detectors see, as a table and in sentences: how many attacked images they find, known to the attacker and not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from advrun.flags import marks
from advrun.report.accuracy import write_csv
from advrun.report.layout import MISSING, accuracy_label, attack_and_norm, attack_label, ball_label, marked, percent
from advrun.report.markdown import escape, pipes
from advrun.report.summary import Summary, attack_of
from advrun.results import Row, binomial_interval

HEADER = (
    *("model", "defense", "attack", "norm", "eps", "target", "threat", "seed", "n", "accuracy_with_detection"),
    *("rejected_share", "false_positive_share", "network_fooled", "detected_share", "detected_low", "detected_high", "auroc", "flags"),
)
HEADS = (
    *("system", "attack", "threat", "AUROC", "found, % of what fools the network", "of", "false positives, %"),
    *("accuracy with detection, %", "rejected, %"),
)
NOTES = (
    "AUROC and the share found are of attacked images that the network by itself has right without the attack and wrong under it; the "
    "95 % interval is exact. False positives are clean test images that are rejected, at a threshold from validation images. "
    "Accuracy with detection (Tramèr, 2022, arXiv:2107.11630): clean images that are right and not rejected, and, under attack, right or "
    "rejected."
)
CLAIM, FALL = 0.2, 0.2
"""A detector is called broken that finds this much less of an attack that knows it, or whose accuracy with detection falls so far."""


def rows(summary: Summary) -> list[Row]:
    """Those of attacked images on systems with a detector, in order; none where there is no such system."""
    return [row for row in summary.rows if row.metrics.get("false_positive_share") is not None and row.threat != "none"]


def files(summary: Summary, title: str) -> dict[str, str]:
    """Content by file name; none without a detector."""
    found = rows(summary)
    if not found:
        return {}
    parts = [f"# {escape(title)}: what detectors see", *(escape(" ".join(each)) for each in sentences(summary))]
    text = "\n\n".join([*parts, pipes(lines(summary)), escape(NOTES)]) + "\n"
    return {"detection.md": text, "detection.csv": write_csv([HEADER, *map(_csv_line, found)])}


def lines(summary: Summary) -> list[list[str]]:
    """The table as text, the header first; nothing without a detector."""
    several = len(summary.seeds) > 1
    found = rows(summary)
    return [list(HEADS), *(_line(row, several) for row in found)] if found else []


def sentences(summary: Summary) -> list[list[str]]:
    """A paragraph for each system with a detector: what it finds of an attack that does not know it, and of one that does."""
    systems = dict.fromkeys((row.model, row.defense) for row in rows(summary))
    clean = {(row.model, row.defense): row for row in reversed(summary.rows) if row.threat == "none"}  # of the first seed
    told = (list(_paragraph([row for row in rows(summary) if (row.model, row.defense) == system], clean.get(system))) for system in systems)
    return [each for each in told if each]


def _paragraph(found: Sequence[Row], clean: Row | None) -> Iterator[str]:
    """Of one system: the attack for which it matters most whether the detector is known; without replays the strongest.

    clean: the row of all clean images.
    """
    first = [row for row in found if row.seed == found[0].seed and not row.target and row.norm]
    replayed = {_place(row): row for row in first if row.threat == "static"}

    def fall(row: Row) -> tuple[float, float]:
        return replayed[_place(row)].accuracy - row.accuracy if _place(row) in replayed else 0.0, -row.accuracy

    known = max((row for row in first if row.threat == "adaptive"), key=fall, default=None)
    if known is None:
        return
    static = replayed.get(_place(known))
    right = accuracy_label(known, known.flags)
    name = attack_label(attack_of(known)) + (f" within {ball_label(known.norm, known.eps)}" if known.eps is not None else "")
    system = f"{known.model} / {known.defense}"
    if static is None:
        yield f"{system} finds {_share(known)} of what {name} makes to fool it, and {right} is right or rejected."
    else:
        yield (
            f"{system} finds {_share(static)} of the examples of {name} that fool the network and do not know the detector, "
            f"and {_share(known)} of those that do; right or rejected are {accuracy_label(static, static.flags)} and {right}."
        )
        fewer = (static.metrics.get("detected_share") or 0.0) - (known.metrics.get("detected_share") or 0.0)
        if fewer > CLAIM or static.accuracy - known.accuracy > FALL:
            yield "Against somebody who knows the detector it does not hold: the second number is the one to believe."
    every = known if clean is None or clean.metrics.get("false_positive_share") is None else clean
    yield f"It rejects {percent(every.metrics['false_positive_share'] or 0.0)} % of the {every.n:,} clean test images."


def _place(row: Row) -> tuple[str, str, float | None, str]:
    return row.attack, row.norm, row.eps, repr(sorted(row.settings.items()))


def _share(row: Row) -> str:
    share = row.metrics.get("detected_share")
    return "none (none fools it)" if share is None else f"{percent(share)} %"


def _line(row: Row, several: bool) -> list[str]:
    share, count, auroc = row.metrics.get("detected_share"), int(row.metrics.get("network_fooled") or 0), row.metrics.get("auroc")
    attack = attack_of(row)
    named = f"{attack_label(attack)}, {ball_label(attack.norm, row.eps)}" if row.eps is not None else attack_and_norm(attack)
    low, high = _interval(row)
    return [
        f"{row.model} / {row.defense}" + (f" (seed {row.seed})" if several else ""),
        named,
        row.threat,
        MISSING if auroc is None else f"{auroc:.3f}",
        MISSING if share is None else f"{percent(share)} ({percent(low)} to {percent(high)})",
        f"{count:,}",
        percent(row.metrics["false_positive_share"] or 0.0),
        marked(percent(row.accuracy), row.flags),
        percent(row.metrics["rejected_share"] or 0.0),
    ]


def _interval(row: Row) -> tuple[float, float]:
    share, count = row.metrics.get("detected_share"), int(row.metrics.get("network_fooled") or 0)
    return (0.0, 1.0) if share is None or not count else binomial_interval(round(share * count), count)


def _csv_line(row: Row) -> list[object]:
    """Shares from 0 to 1, empty where they mean nothing."""
    metrics = row.metrics
    first = [row.model, row.defense, row.attack, row.norm, "" if row.eps is None else row.eps, row.target, row.threat, row.seed, row.n]
    found = [metrics.get(name) for name in ("rejected_share", "false_positive_share", "network_fooled", "detected_share")]
    reach = _interval(row) if metrics.get("detected_share") is not None else (None, None)
    return [*first, row.accuracy, *("" if value is None else value for value in (*found, *reach, metrics.get("auroc"))), marks(row.flags)]
