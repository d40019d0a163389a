"""Where an attack came nearer to an image than a bound says that any can: an error where it is certified."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from advrun.certificates import Certificate
from advrun.flags import in_order
from advrun.geometry import DISTANCE_ROUNDING
from advrun.meanings import CONTRADICTED
from advrun.results import CLOSEST, WORST_CASE, Result


@dataclass(frozen=True)
class Contradiction:
    """Examples nearer to their images than a bound says that any can be. images: places in the evaluation order."""

    certificate: Certificate
    result: Result
    images: np.ndarray


def contradictions(certificates: Iterable[Certificate], results: Iterable[Result]) -> list[Contradiction]:
    """Every attack that came nearer than a bound on the same system in the same norm, sound or an estimate; worst cases left out."""
    measured = [result for result in results if result.row.norm and result.row.attack not in (WORST_CASE, CLOSEST)]
    return [
        Contradiction(certificate, result, images)
        for certificate in certificates
        if certificate.bounds_attacks
        for result in of_system(certificate, measured)
        if len(images := nearer(certificate, result))
    ]


def of_system(certificate: Certificate, results: Iterable[Result]) -> Iterator[Result]:
    """Those results that are about the same system in the same norm."""
    own = (certificate.model, certificate.defense, certificate.seed, certificate.norm)
    return (result for result in results if (result.row.model, result.row.defense, result.row.seed, result.row.norm) == own)


ERROR = 0.01
"""Of a system that votes: how probable it is at most that votes alone make a contradiction of any image of a row."""


def nearer(certificate: Certificate, result: Result) -> np.ndarray:
    """The images (k,) that fool the system from nearer than the bound says, by more than rounding.

    A system that votes is fooled where the true class has no majority, by more than chance in its votes: what it is certified to have.
    """
    n = min(certificate.n, result.row.n)
    radius = certificate.radius[:n] * (1 - DISTANCE_ROUNDING)
    fooled = ~result.correct[:n] if result.chance is None else ~result.correct[:n] & (result.chance[:n] < ERROR / n)
    return np.flatnonzero(fooled & (result.distances[:n] < radius))


def contradicted(results: Sequence[Result], certificates: Sequence[Certificate]) -> list[Result]:
    """The same results, with a flag where an example lies within a radius that was certified of the same system."""
    flags: dict[int, str] = {}
    for each in contradictions([certificate for certificate in certificates if certificate.sound], results):
        flags[id(each.result)] = f"{CONTRADICTED}: {each.certificate.bound}"

    def flagged(result: Result) -> Result:
        flag = flags.get(id(result))
        return replace(result, row=replace(result.row, flags=tuple(in_order({*result.row.flags, flag})))) if flag else result

    return list(map(flagged, results))
