"""PARITY.md, SPEED.md and speed.svg, from what `compare.py` measured."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .matches import MATCHES, Match

LIBRARIES = ("ART", "Foolbox", "CleverHans", "torchattacks", "adv-lib", "AutoAttack")
IN_TENSORFLOW = ("ART", "Foolbox", "CleverHans")
POINTS, SHARE = 0.005, 0.01
"""By how much less strong we may be: 0.5 points of accuracy, 1 % of distance."""

PARITY = """# Strength: advrun beside its peers

Made by `make parity` on {date}: {environment}.
The same weights, images and budgets. Attacks inside a ball: accuracy after the attack, in percent of all images; those misclassified
before it stay wrong, whatever it does to them; after ±, the standard deviation over seeds, where several ran. Minimal-norm attacks:
mean distance of the images that were fooled, and in brackets the accuracy that is left where it is not 0. Lower is stronger. `=`: at
least as strong as every peer (up to 0.5 points, or two standard errors of the difference between means over seeds; up to 1 % of the
distance on the images that both fooled); otherwise the peer that is stronger is named. Blank: the library lacks it, or it was not
measured in this run; attacks without a row have not been measured on this victim yet. Weights go to PyTorch's CPU build for
torchattacks, adv-lib and AutoAttack.
"""
SPEED = """# Speed: advrun beside its peers

Made by `make bench` on {date}, on {cores} cores without a GPU: {environment}.
Seconds for all images in one batch; advrun's second call, and in brackets its first, which compiles. *floor*: the time of the bare
gradients and forward passes that the attack asked for, so 1.10 x means 10 % of overhead (below 1: a Jacobian shares its forward pass).
It takes each image's share of a full batch; where images are done early, the others are asked about in small batches, which take longer
for each image (on the L-net, gradients of 64 images take 1.3 times their share of 256, of 32 images 1.7 times, of 16 3 times).
Peers run once, in the same process and environment (oneDNN on); *fastest*: how many times as long the fastest peer takes. *as it comes*,
where measured: the same with TensorFlow's peers on TensorFlow as it comes, which leaves oneDNN off on some processors.

![How many times as long the peers take](speed.svg)
"""


def in_words(match: Match, outcome: Mapping[str, Any]) -> str:
    """One outcome, for the terminal."""
    if "error" in outcome:
        return f"failed ({outcome['error']})"
    return f"{entry(match, outcome)}, {outcome['seconds']:.2f} s"


def write(measured: Mapping[str, Mapping[str, Any]], environment: Mapping[str, str], folder: Path) -> int:
    """Write the three files; 1 when a peer is stronger anywhere."""
    versions = ", ".join(f"{name} {number}" for name, number in environment.items())
    facts = {"date": datetime.date.today().isoformat(), "environment": versions, "cores": os.cpu_count()}
    strength, speed = [PARITY.format(**facts)], [SPEED.format(**facts)]
    worse: list[str] = []
    for name, found in measured.items():
        matches = [match for match in MATCHES if "advrun" in found.get(match.key, {})]
        rows = [parity_row(match, found[match.key]) for match in matches]
        worse += [f"{name}: {row[0]}" for row in rows if row[-1] not in ("=", "")]
        strength.append(section(name, ["attack", "budget", "n", "advrun", *LIBRARIES, ""], rows))
        notes = [
            f"- {row[0]}, n = {row[2]}: {match.note}."
            for match, row in zip(matches, rows, strict=True)
            if row[-1] not in ("=", "") and match.note
        ]
        strength += [*notes, ""] if notes else []
        speed_rows = [speed_row(match, found[match.key]) for match in matches]
        heads = ["attack", "budget", "n", "advrun", "floor", *LIBRARIES, "fastest", "as it comes"]
        if not any(row[-1] for row in speed_rows):  # not measured
            heads, speed_rows = heads[:-1], [row[:-1] for row in speed_rows]
        speed.append(section(name, heads, speed_rows))
    (folder / "PARITY.md").write_text("\n".join(strength), encoding="utf-8")
    (folder / "SPEED.md").write_text("\n".join(speed), encoding="utf-8")
    figure(next(iter(measured.values())), folder / "speed.svg")
    for line in worse:
        print(f"a peer is stronger: {line}")
    return int(bool(worse))


def section(name: str, head: list[str], rows: list[list[str]]) -> str:
    lines = [f"## {name}", "", *("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)), ""]
    return "\n".join(lines)


def parity_row(match: Match, found: Mapping[str, Any]) -> list[str]:
    entries = [entry(match, found.get(library)) for library in LIBRARIES]
    met = [library for library in LIBRARIES if library in found and "error" not in found[library]]
    stronger = [library for library in met if is_stronger(match, found[library], found["advrun"])]
    verdict = (", ".join(stronger) or "=") if met else ""
    return [*title(match, found), entry(match, found["advrun"]), *entries, verdict]


def speed_row(match: Match, found: Mapping[str, Any]) -> list[str]:
    own = found["advrun"]
    floor = f"{own['seconds'] / own['floor']:.2f} x" if own["floor"] else ""
    entries = [f"{seconds:.2f}" if (seconds := found.get(library, {}).get("seconds")) else "" for library in LIBRARIES]
    ratios = [f"{ratio:.1f} x" if ratio else "" for ratio in (fastest(found), fastest(found, default=True))]
    return [*title(match, found), f"{own['seconds']:.2f} ({own['first']:.1f})", floor, *entries, *ratios]


def title(match: Match, found: Mapping[str, Any]) -> list[str]:
    return [label(match), match.budget, str(len(found["advrun"]["fooled"]))]


def label(match: Match) -> str:
    return f"{match.attack} {match.ball or ''}".strip()


def entry(match: Match, outcome: Mapping[str, Any] | None) -> str:
    """'19.53', or '0.6440 (12.5)' for a minimal-norm attack."""
    if outcome is None:
        return ""
    if "error" in outcome:
        return "fails"
    fooled = np.asarray(outcome["fooled"])
    left = f"{100 * (1 - fooled.mean()):.2f}"
    if not is_minimal(match) and outcome.get("spread") is not None:
        left += f" ± {100 * outcome['spread']:.1f}"
    note = f" [{outcome['outside']:g} outside]" if outcome["outside"] else ""
    if not is_minimal(match):
        return left + note
    mean = f"{np.asarray(outcome['distance'])[fooled > 0].mean():.4f}" if fooled.any() else "-"
    return f"{mean}{'' if fooled.all() else f' ({left})'}{note}"


def is_minimal(match: Match) -> bool:
    return match.ball is not None and not np.isfinite(match.ball.eps)


def is_stronger(match: Match, peer: Mapping[str, Any], own: Mapping[str, Any]) -> bool:
    """Whether the peer leaves clearly less accuracy (more than chance between seeds explains), or goes clearly less far on the images that
    both fooled.
    """
    theirs, ours = np.asarray(peer["fooled"]), np.asarray(own["fooled"])
    if theirs.mean() > ours.mean() + max(POINTS, 2 * standard_error(match, own, peer)):
        return True
    both = (theirs == 1) & (ours == 1)
    if not is_minimal(match) or not both.any():
        return False
    means = (np.asarray(outcome["distance"])[both].mean() for outcome in (own, peer))
    return bool(next(means) > (1 + SHARE) * next(means))


def standard_error(match: Match, *outcomes: Mapping[str, Any]) -> float:
    """Of the difference between two mean accuracies over seeds; 0 where a spread is not known."""
    spreads = [outcome.get("spread") for outcome in outcomes]
    return 0.0 if None in spreads else float(np.linalg.norm(spreads) / np.sqrt(match.seeds))


def fastest(found: Mapping[str, Any], *, default: bool = False) -> float | None:
    """The fastest peer's seconds over ours; None without a peer. default: on TensorFlow as it comes, None where that was not measured."""
    peers = {library: found[library] for library in LIBRARIES if "seconds" in found.get(library, {})}
    if not peers or (default and not any("default_seconds" in peer for peer in peers.values())):
        return None
    times = [peer.get("default_seconds" if default else "seconds") or peer["seconds"] for peer in peers.values()]
    return float(min(times) / found["advrun"]["seconds"])


def figure(found: Mapping[str, Any], path: Path) -> None:
    """For each attack, a dot for each peer: seconds over ours, on a logarithmic axis."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "advrun", "font.size": 9})
    from matplotlib import pyplot

    matches = [match for match in MATCHES if "advrun" in found.get(match.key, {}) and fastest(found[match.key])]
    matches.sort(key=lambda match: fastest(found[match.key]) or 0)
    drawing, axes = pyplot.subplots(figsize=(8, 1.2 + 0.22 * len(matches)))
    for library, marker in zip(LIBRARIES, "osD^vP", strict=True):
        rows = [i for i, match in enumerate(matches) if "seconds" in found[match.key].get(library, {})]
        ratios = [found[matches[i].key][library]["seconds"] / found[matches[i].key]["advrun"]["seconds"] for i in rows]
        axes.plot(ratios, rows, marker, markersize=5, label=library)
    axes.axvline(1, color="#333333", linewidth=1)
    axes.set(xscale="log", xlabel="seconds, as a multiple of advrun's", yticks=range(len(matches)))
    axes.set_yticklabels([f"{label(match)} {match.budget}" for match in matches])
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.legend(ncols=6, loc="lower center", bbox_to_anchor=(0.4, 1.0), frameon=False)
    drawing.savefig(path, bbox_inches="tight", metadata={"Date": None})
    pyplot.close(drawing)
