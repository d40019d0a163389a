"""How far no attack can reach, as typed data: one `Certificate` per system and bound, stored as `bounds/*.json`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from advrun.files import read_json
from advrun.flags import CONTRADICTED, in_order
from advrun.geometry import DISTANCE_ROUNDING, GEOMETRIES
from advrun.results import CLOSEST, WORST_CASE, Result


@dataclass(frozen=True, eq=False)
class Certificate:
    """A bound on the distance to the nearest adversarial example of each image, in evaluation order.

    model, defense, bound: labels from the YAML file. name: that of the bound's file. seed, norm, settings: as in `results.Row`.
    target: the class whose distance it is about, as in the YAML file; "" for the nearest.
    sound: True where no attack can come nearer, False for an estimate. about: the system that it is about, in words, where that is
        another one than the system of the row, such as a smoothed one; else "".
    refused: why there is none, or "". Then all radii are 0.
    gradients, queries: what was asked for each image. seconds: that it took.
    labels: (n,) int32. radius: (n,) float32, 0 where the system is wrong without any attack, or nothing is known.
    details: further numbers (n,) by name, such as "abstained"; NaN where there is none.
    """

    model: str
    defense: str
    bound: str
    name: str
    seed: int
    norm: str
    sound: bool
    labels: np.ndarray
    radius: np.ndarray
    target: str = ""
    about: str = ""
    refused: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    gradients: float = 0.0
    queries: float = 0.0
    seconds: float = 0.0
    details: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def n(self) -> int:
        """Images, those that the system gets wrong included."""
        return len(self.radius)

    @property
    def kind(self) -> str:
        """What the numbers are worth, in words."""
        return ("certified" if self.sound else "estimate") + (f", {self.about}" if self.about else "")

    @property
    def bounds_attacks(self) -> bool:
        """Whether it says how near the nearest wrong answer of the attacked system itself can be, of whatever class."""
        return not (self.about or self.target or self.refused)

    def beyond(self, eps: float) -> np.ndarray:
        """(n,) bool: the images that nothing within eps of them changes."""
        return self.radius > eps

    def to_json(self) -> str:
        content = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        content |= {name: content[name].tolist() for name in ("labels", "radius")}
        content["details"] = {name: [None if np.isnan(value) else float(value) for value in each] for name, each in self.details.items()}
        return json.dumps(content, separators=(",", ":"), default=str)

    @classmethod
    def read(cls, path: Path) -> Certificate:
        """What `to_json` wrote. Raises ValueError where the file holds anything else."""
        content = read_json(path)
        if not isinstance(content, dict) or content.keys() != {entry.name for entry in fields(cls)}:
            raise ValueError("no bounds")
        try:
            arrays = {"labels": np.asarray(content["labels"], np.int32), "radius": np.asarray(content["radius"], np.float32)}
            details = {str(name): np.array(each, np.float32) for name, each in content["details"].items()}
        except (ValueError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError("no bounds: numbers are missing, or of another type") from error
        n = len(arrays["radius"])
        if any(array.shape != (n,) for array in (*arrays.values(), *details.values())) or not (arrays["radius"] >= 0).all():
            raise ValueError("no bounds: numbers that do not belong to the images")
        words = ("model", "defense", "bound", "name", "norm", "target", "about", "refused")
        if not all(isinstance(content[name], str) for name in words) or content["norm"] not in GEOMETRIES:
            raise ValueError("no bounds: values that no bound has")
        if not isinstance(content["sound"], bool) or not isinstance(content["seed"], int) or not isinstance(content["settings"], dict):
            raise ValueError("no bounds: values that no bound has")
        return cls(**{**content, **arrays, "details": details})


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


def nearer(certificate: Certificate, result: Result) -> np.ndarray:
    """The images (k,) that fool the system from nearer than the bound says, by more than rounding."""
    n = min(certificate.n, result.row.n)
    radius = certificate.radius[:n] * (1 - DISTANCE_ROUNDING)
    return np.flatnonzero(~result.correct[:n] & (result.distances[:n] < radius))


def contradicted(results: Sequence[Result], certificates: Sequence[Certificate]) -> list[Result]:
    """The same results, with a flag where an example lies within a radius that was certified of the same system."""
    flags: dict[int, str] = {}
    for each in contradictions([certificate for certificate in certificates if certificate.sound], results):
        flags[id(each.result)] = f"{CONTRADICTED}: {each.certificate.bound}"

    def flagged(result: Result) -> Result:
        flag = flags.get(id(result))
        return replace(result, row=replace(result.row, flags=tuple(in_order({*result.row.flags, flag})))) if flag else result

    return list(map(flagged, results))
