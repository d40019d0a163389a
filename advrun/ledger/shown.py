"""What a ledger holds, in lines and as data; and whether it is what it says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from advrun.closest import Closest, Example
from advrun.verify.minutes import Minutes

if TYPE_CHECKING:
    from advrun.ledger.taken import Judge

NAMED = 3
"""So many names of a system are shown."""


def told(ledger: Closest) -> list[dict[str, Any]]:
    """Of each system and norm: how many images an example is known of, and how far they are."""
    found = []
    for system in ledger.systems:
        for norm in ledger.norms(system):
            distances = np.array([place.distance for place in ledger.places(system, norm).values()])
            if len(distances):
                numbers = {name: float(at(distances)) for name, at in (("nearest", np.min), ("median", np.median), ("farthest", np.max))}
                found.append({"system": system, "names": ledger.names(system), "norm": norm, "images": len(distances), **numbers})
    return found


def in_lines(entries: list[dict[str, Any]]) -> list[str]:
    """The same for people."""
    lines, last = [f"{'norm':<6}{'images':>8}{'nearest':>12}{'median':>12}{'farthest':>12}"], ""
    for each in entries:
        if each["system"] != last:
            last, names = each["system"], each["names"]
            more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            lines.append(f"{last}  {'; '.join(names[:NAMED])}{more}".rstrip())
        numbers = "".join(f"{each[name]:>12.5g}" for name in ("nearest", "median", "farthest"))
        lines.append(f"{each['norm']:<6}{each['images']:>8,}{numbers}")
    return lines


def merged(into: Closest, source: Closest, minutes: Minutes) -> int:
    """Take the examples of one ledger into another; returns how many are closer. What is false is found, and left out."""

    def whole(system: str, norm: str) -> Iterator[Example]:
        for place in source.files(system, norm):
            minutes.examples += 1
            try:
                yield source.read(place)
            except ValueError as error:
                minutes.find(str(source.root / place.name), error, "what its name says; left out")

    kept = 0
    for system in source.systems:
        for name in source.names(system):
            into.call(system, name)
        kept += sum(into.add(whole(system, norm)) for norm in source.norms(system))
    return kept


def check(ledger: Closest, judges: Mapping[str, Judge], minutes: Minutes) -> None:
    """Check every file: hash, image, box and distance, and, of systems that are given, the answers. judges: by who they are."""
    for name in ledger.odd():
        minutes.find(name, "something that no ledger has", "nothing; remove it")
    for system in ledger.systems:
        judge = judges.get(system)
        if judge is None:
            names = "; ".join(ledger.names(system)[:NAMED])
            minutes.note(f"system {system} ({names}) is not asked: give its file by --model")
        for norm in ledger.norms(system):
            waiting: list[tuple[str, Example]] = []
            for place in ledger.files(system, norm):
                minutes.examples += 1
                try:
                    waiting.append((place.name, ledger.read(place)))
                except ValueError as error:
                    minutes.find(place.name, error, "what its name says; remove it")
                if len(waiting) == BLOCK:
                    _ask(judge, waiting, minutes)
                    waiting = []
            _ask(judge, waiting, minutes)


BLOCK = 512
"""Examples that are asked about together."""


def _ask(judge: Judge | None, waiting: list[tuple[str, Example]], minutes: Minutes) -> None:
    """What a system says of examples that are whole."""
    if judge is None:
        return
    by_shape: dict[tuple[int, ...], list[tuple[str, Example]]] = {}
    for name, example in waiting:
        if all(side in (None, given) for side, given in zip(judge.classifier.image_shape, example.x.shape, strict=True)):
            by_shape.setdefault(example.x.shape, []).append((name, example))
        else:
            minutes.find(name, f"an image {example.x.shape}", f"one that its system takes, {judge.classifier.image_shape}; remove it")
    for group in by_shape.values():
        for (name, example), outcome in zip(group, judge.outcomes([example for _, example in group]), strict=True):
            if not (outcome.is_right and outcome.is_wrong) and outcome.is_sure:
                said = f"that the system calls it {example.y}, and something else when it is attacked"
                minutes.find(name, said, f"{outcome.before}, then {outcome.after}, which it says; remove it")
