"""Which figures a report has; how each looks is in `curves.py`, `sweeping.py`, `heatmap.py`, `mosaic.py` and `confusion.py`."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain, count
from typing import TYPE_CHECKING, Any

from advrun.fonts import fonts_for
from advrun.report import transfer
from advrun.report.beside import Easel
from advrun.report.confusion import confusion, telling
from advrun.report.curves import QUANTITIES, robustness, training
from advrun.report.findings import Findings, Gallery
from advrun.report.growth import growth
from advrun.report.heatmap import heatmap
from advrun.report.layout import eps_label
from advrun.report.mosaic import mosaic
from advrun.report.operating import attack_id, operating
from advrun.report.sandwich import grouped, sandwich
from advrun.report.stickers import Signs, stickers
from advrun.report.strengths import hidden, panels, shown, systems_of
from advrun.report.style import Picture, look
from advrun.report.summary import AttackId, Summary, attack_of
from advrun.report.sweeping import sweeping
from advrun.roc import Watched

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)
MANY, SOME = 100, 12
"""A report of more figures than so many shows some of each kind, about so many in all: nobody looks at more, and drawing takes its time."""

Drawing = tuple[str, str, Callable[[], tuple["Figure", str]]]
"""Kind, file name, and the function that draws."""


def pictures(findings: Findings, summary: Summary) -> list[Picture]:
    """All figures, in the order of the page."""
    with drawn(findings, summary) as made:
        return list(made)


def drawn(findings: Findings, summary: Summary) -> Easel:
    """The same, as they are being drawn."""
    taken: set[str] = set()
    plans = [
        *_sweeps(summary),
        *_robustness(summary),
        *_sandwiches(findings, summary),
        *_transfer(summary),
        *_detection(findings, summary),
        *_galleries(findings, summary),
        *_signs(findings),
        *_confusions(findings, summary),
        *_training(findings),
        *_growth(findings),
    ]
    plans = [(kind, file_name(name, taken), draw) for kind, name, draw in _chosen(plans)]
    return Easel(plans, _families(findings) if plans else [])


def _chosen(plans: list[Drawing]) -> list[Drawing]:
    """All of them, or, where they are too many to be looked at, some of each kind: worst cases first, else from all places of the list."""
    if len(plans) <= MANY:
        return plans
    kinds: dict[str, list[int]] = {}
    for place, (kind, _, _) in enumerate(plans):
        kinds.setdefault(kind, []).append(place)
    share, chosen = max(SOME // len(kinds), 1), set[int]()
    for places in kinds.values():
        worst = [place for place in places if "worst" in plans[place][1]] or places
        chosen.update(worst[:: -(-len(worst) // share)])
    log.warning("%d of %d figures are drawn; name fewer models, attacks or seeds by --set for the others", len(chosen), len(plans))
    return [plans[place] for place in sorted(chosen)]


def _families(findings: Findings) -> list[str]:
    """Fonts for all names in the figures; one line in the log where the fonts that are installed lack characters."""
    rows = [result.row for result in findings.results]
    names = [text for row in rows for text in (row.model, row.defense, row.attack, row.target)]
    fonts, lacking = fonts_for([*findings.class_names, *findings.histories, *dict.fromkeys(names)])
    if lacking:
        some = "".join(sorted(lacking))[:20]
        log.warning("no font has %s: figures show class numbers instead of such names; install one, such as Noto Sans CJK", some)
    return [font.family for font in fonts]


def _sweeps(summary: Summary) -> Iterator[Drawing]:
    """Per model, norm and defence that was measured at several strengths."""
    for model in summary.models:
        for panel in panels(summary):
            for sweep in summary.sweeps:
                if len(systems_of(summary, sweep, model)) > 1:
                    name = "-".join(("strength", model, sweep.defense, sweep.setting, panel.attack.norm))
                    yield "strength", name, partial(sweeping, summary, sweep, panel, model)


def _robustness(summary: Summary) -> Iterator[Drawing]:
    """Per model and attack that was run at some eps."""
    for model in summary.models:
        for panel in summary.panels:
            if not panel.minimal:
                name = "-".join(("robustness", model, panel.attack.name, panel.attack.norm, *_aim(panel.attack.target)))
                yield "robustness", name, partial(robustness, summary, panel, model)


def _sandwiches(findings: Findings, summary: Summary) -> Iterator[Drawing]:
    """Per model and bound: all systems of which it says something."""
    for group in grouped(findings):
        first = group[0]
        name = "-".join(("sandwich", first.model, first.bound, first.norm, *_aim(first.target)))
        yield "sandwich", name, partial(sandwich, summary, group)


def _transfer(summary: Summary) -> Iterator[Drawing]:
    """Per attack and eps whose examples met other models."""
    for matrix in transfer.found(summary):
        size = [] if matrix.eps is None else [eps_label(matrix.attack.norm, matrix.eps)]
        yield "transfer", "-".join(("transfer", matrix.attack.name, matrix.attack.norm, *size)), partial(heatmap, matrix)


def _detection(findings: Findings, summary: Summary) -> Iterator[Drawing]:
    """Per model and attack, at its largest eps and of the first seed: all detectors that saw an image that fools the network."""
    groups: dict[tuple[str, AttackId], list[Watched]] = {}
    seen = [each for each in findings.watched if len(each.scored.adversarial) and each.seed == findings.watched[0].seed]
    for each in seen:
        groups.setdefault((each.model, attack_id(each)), []).append(each)
    colors = {name: style["color"] for name, style in look([system.defense for system in summary.systems]).items()}
    for (model, attack), group in groups.items():
        largest = [each for each in group if each.eps == max(one.eps or 0.0 for one in group) or each.eps is None]
        name = "-".join(("detection", model, attack.name, attack.norm, *_aim(attack.target)))
        yield "detection", name, partial(operating, largest, colors)


def _galleries(findings: Findings, summary: Summary) -> Iterator[Drawing]:
    """Per model and attack: all defences in one figure, adaptive rather than replayed, the first seed."""
    groups: dict[tuple[str, ...], list[Gallery]] = {}
    left_out = {(model, defense) for model in summary.models for defense in hidden(summary, model)}
    for gallery in filter(_has_images, findings.galleries):
        if (gallery.model, gallery.defense) in left_out:
            continue
        groups.setdefault((gallery.model, gallery.attack, gallery.norm, gallery.target), []).append(gallery)
    colors = {name: style["color"] for name, style in look([system.defense for system in summary.systems]).items()}
    attacks = [(attack.name, attack.norm, attack.target) for attack in summary.attacks]
    defenses = [system.defense for system in summary.systems]
    for key in sorted(groups, key=lambda key: (_place(summary.models, key[0]), _place(attacks, key[1:]))):
        rows = sorted(one_each(groups[key]), key=lambda gallery: _place(defenses, gallery.defense))
        *names, target = key
        yield "gallery", "-".join(("examples", *names, *_aim(target))), partial(mosaic, rows, findings.class_names, colors)


def _signs(findings: Findings) -> Iterator[Drawing]:
    """Per model, defence and attack with stickers, the first seed."""
    first: dict[tuple[str, str, str], Signs] = {}
    for signs in findings.signs:
        first.setdefault((signs.model, signs.defense, signs.attack), signs)
    for key, signs in first.items():
        yield "sticker", "-".join(("sticker", *key)), partial(stickers, signs)


def one_each(galleries: Sequence[Gallery]) -> list[Gallery]:
    """One gallery per defence: at the largest eps that all have, else at its own largest; adaptive first, then the first seed."""
    radii: dict[str, set[float]] = {}
    for gallery in galleries:
        radii.setdefault(gallery.defense, set()).add(gallery.eps or 0.0)
    common = max(set.intersection(*radii.values()), default=None)

    def eagerness(gallery: Gallery) -> tuple[Any, ...]:
        eps = gallery.eps or 0.0
        return eps != common, -eps, gallery.threat != "adaptive", gallery.seed

    chosen: dict[str, Gallery] = {}
    for gallery in sorted(galleries, key=eagerness):
        chosen.setdefault(gallery.defense, gallery)
    return list(chosen.values())


def _confusions(findings: Findings, summary: Summary) -> Iterator[Drawing]:
    """Per system: under the adaptive attack that says most."""
    for system in (system for model in summary.models for system in shown(summary, model)):
        results = [
            result
            for result in summary.results
            if (result.row.model, result.row.defense) == (system.model, system.defense)
            and result.row.threat == "adaptive"
            and not attack_of(result.row).is_worst_case
        ]
        if results:
            name = f"confusion-{system.model}-{system.defense}"
            yield "confusion", name, partial(confusion, telling(results), findings.class_names)


def _training(findings: Findings) -> Iterator[Drawing]:
    for label, history in findings.histories.items():
        if any(name.endswith(QUANTITIES) for name in history):
            yield "training", f"training-{label}", partial(training, label, history)


def _growth(findings: Findings) -> Iterator[Drawing]:
    for label, images in findings.growth.items():
        yield "growth", f"growth-{label}", partial(growth, label, images)


def _aim(target: str) -> tuple[str, ...]:
    return ("target", target) if target else ()


def _has_images(gallery: Gallery) -> bool:
    return len(gallery.x) > 0


def _place(known: Sequence[Any], value: Any) -> int:
    """Position in `known`, or behind all of it."""
    return known.index(value) if value in known else len(known)


def file_name(name: str, taken: set[str]) -> str:
    """A name of letters, digits, dashes and underscores that no earlier figure has."""
    safe = re.sub(r"\W+", "-", name, flags=re.ASCII).strip("-")
    free = next(name for name in chain([safe], (f"{safe}-{i}" for i in count(2))) if name not in taken)
    taken.add(free)
    return free
