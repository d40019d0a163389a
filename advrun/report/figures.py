"""Which figures a report has; how each looks is in `curves.py`, `mosaic.py` and `confusion.py`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain, count
from typing import TYPE_CHECKING, Any

from advrun.report.confusion import confusion, strongest
from advrun.report.curves import QUANTITIES, robustness, training
from advrun.report.findings import Findings, Gallery
from advrun.report.mosaic import mosaic
from advrun.report.style import Picture, picture
from advrun.report.summary import Summary, attack_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Drawing = tuple[str, str, Callable[[], tuple["Figure", str]]]
"""Kind, file name, and the function that draws."""


def pictures(findings: Findings, summary: Summary) -> list[Picture]:
    """All figures, in the order of the page."""
    taken: set[str] = set()
    plans = (*_robustness(summary), *_galleries(findings, summary), *_confusions(findings, summary), *_training(findings))
    return [picture(draw, file_name(name, taken), kind) for kind, name, draw in plans]


def _robustness(summary: Summary) -> Iterator[Drawing]:
    """Per model and attack that was run at some eps."""
    for model in summary.models:
        for panel in summary.panels:
            if not panel.minimal:
                name = "-".join(("robustness", model, panel.attack.name, panel.attack.norm, *_aim(panel.attack.target)))
                yield "robustness", name, partial(robustness, summary, panel, model)


def _galleries(findings: Findings, summary: Summary) -> Iterator[Drawing]:
    """Per model, defence and attack: the largest eps, adaptive rather than replayed, the first seed."""
    chosen: dict[tuple[str, ...], Gallery] = {}
    for gallery in sorted(filter(_has_images, findings.galleries), key=_eagerness):
        chosen.setdefault((gallery.model, gallery.defense, gallery.attack, gallery.norm, gallery.target), gallery)
    systems = [(system.model, system.defense) for system in summary.systems]
    attacks = [(attack.name, attack.norm, attack.target) for attack in summary.attacks]
    for key in sorted(chosen, key=lambda key: (_place(attacks, key[2:]), _place(systems, key[:2]))):
        *names, target = key
        yield "gallery", "-".join(("examples", *names, *_aim(target))), partial(mosaic, chosen[key], findings.class_names)


def _confusions(findings: Findings, summary: Summary) -> Iterator[Drawing]:
    """Per system: under the adaptive attack that leaves least."""
    for system in summary.systems:
        results = [
            result
            for result in summary.results
            if (result.row.model, result.row.defense) == (system.model, system.defense)
            and result.row.threat == "adaptive"
            and not attack_of(result.row).is_worst_case
        ]
        if results:
            name = f"confusion-{system.model}-{system.defense}"
            yield "confusion", name, partial(confusion, strongest(results), findings.class_names)


def _training(findings: Findings) -> Iterator[Drawing]:
    for label, history in findings.histories.items():
        if any(name.endswith(QUANTITIES) for name in history):
            yield "training", f"training-{label}", partial(training, label, history)


def _aim(target: str) -> tuple[str, ...]:
    return ("target", target) if target else ()


def _has_images(gallery: Gallery) -> bool:
    return len(gallery.x) > 0


def _eagerness(gallery: Gallery) -> tuple[Any, ...]:
    return -(gallery.eps or 0.0), gallery.threat != "adaptive", gallery.seed


def _place(known: Sequence[Any], value: Any) -> int:
    """Position in `known`, or behind all of it."""
    return known.index(value) if value in known else len(known)


def file_name(name: str, taken: set[str]) -> str:
    """A name of letters, digits, dashes and underscores that no earlier figure has."""
    safe = re.sub(r"\W+", "-", name, flags=re.ASCII).strip("-")
    free = next(name for name in chain([safe], (f"{safe}-{i}" for i in count(2))) if name not in taken)
    taken.add(free)
    return free
