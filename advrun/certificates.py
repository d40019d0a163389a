"""How far no attack can reach, as typed data: one `Certificate` per system and bound, stored as `bounds/*.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from advrun.files import read_json
from advrun.geometry import GEOMETRIES


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
    details: further numbers (n,) by name, such as "abstained"; NaN where there is none. "no_gradient", 1 where all gradients that an
        estimate is made of are zero, is a reason to doubt it.
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
